"""The vectors of items: each item's own, and the mean of those of its attributes added to it.

V vocabulary size   A attributes of an item, at most   D width
"""

import torch
from torch import Tensor, nn

from sparkrec.models.initial import small_table
from sparkrec.models.shape import ModelShape
from sparkrec.tables import PAD

SHORTEST = 1e-12
"""Vectors that are shorter are not brought to length one."""


class Items(nn.Module):
    """Vectors of items, of length one where scores are cosines."""

    attributes_VA: Tensor
    """Numbers of every item's attributes from 1 on, padded with PAD."""
    attribute_keys: Tensor
    """What the numbers stand for, a hash of the attribute's name, so that another vocabulary can be matched."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.temperature = shape.temperature
        self.own = nn.Embedding(shape.vocabulary_size, shape.width, padding_idx=PAD)
        small_table(self.own.weight)
        self.has_attributes = shape.num_attributes > 0
        if self.has_attributes:
            self.attributes = nn.EmbeddingBag(1 + shape.num_attributes, shape.width, mode="mean", padding_idx=PAD)
            small_table(self.attributes.weight)
            per_item = torch.zeros(shape.vocabulary_size, shape.max_attributes, dtype=torch.long)
            self.register_buffer("attributes_VA", per_item)
            self.register_buffer("attribute_keys", torch.zeros(1 + shape.num_attributes, dtype=torch.long))

    def forward(self, item_idxs: Tensor) -> Tensor:
        """Return the vectors that encoders read, (…, D). In: item indices of any shape."""
        vectors: Tensor = self.own(item_idxs)
        if not self.has_attributes:
            return vectors
        told = self.attributes_VA[item_idxs.reshape(-1)]
        of_attributes: Tensor = self.attributes(told)
        return vectors + of_attributes.view_as(vectors)

    def scored(self, item_idxs: Tensor) -> Tensor:
        """Return the vectors whose inner products with states are scores, (…, D)."""
        return self._on_sphere(self(item_idxs))

    def matrix(self) -> Tensor:
        """Return `scored` of all items, (V, D)."""
        if not self.has_attributes:
            return self._on_sphere(self.own.weight)
        return self.scored(torch.arange(len(self.own.weight), device=self.own.weight.device))

    def as_states(self, encoded: Tensor) -> Tensor:
        """Return states, (…, D), from what an encoder found."""
        if self.temperature is None:
            return encoded
        return on_sphere(encoded) / self.temperature

    def _on_sphere(self, vectors: Tensor) -> Tensor:
        return vectors if self.temperature is None else on_sphere(vectors)


def on_sphere(vectors: Tensor) -> Tensor:
    """Return the vectors with length one, (…, D) in float32; a vector of zeros stays one.

    As `functional.normalize`, in fewer passes over all vectors on the way back.
    """
    vectors = vectors.float()
    return vectors * vectors.square().sum(dim=-1, keepdim=True).clamp(min=SHORTEST**2).rsqrt()

"""What every model offers: states for all positions, a matrix of items, and scores by inner product.

B users   L positions   D width   V vocabulary size
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from sparkrec.tables import FIRST_ITEM

PAIR_ITEMS = 1024
"""Items whose pairs with some users are scored at a time."""


@dataclass(frozen=True)
class ModelShape:
    """Everything that fixes the size of a model's tensors and its dropout."""

    vocabulary_size: int
    length: int
    width: int
    num_blocks: int
    num_heads: int
    dropout: float


class SequenceModel(nn.Module):
    """A model of users' pasts. Items that `is_known_V` leaves out are never scored."""

    inputs: ClassVar[tuple[str, ...]] = ("item_idxs",)
    """Columns of `windows` that `states` wants, each (B, L)."""

    item_tables: ClassVar[tuple[str, ...]] = ("items.weight",)
    """Parameters with a row per item, (V, …): they grow with the vocabulary."""

    scores_pairs: ClassVar[bool] = False
    """Whether the best items by inner product are put in order by `pair_scores`."""

    is_known_V: Tensor

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.shape = shape
        self.register_buffer("is_known_V", torch.zeros(shape.vocabulary_size, dtype=torch.bool))

    def states(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return (B, L, D); the state of a position depends on that position and those before it only."""
        raise NotImplementedError

    def last_state(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return (B, D), the state of the last position; an architecture may find it without all the others."""
        return self.states(inputs)[:, -1]

    def pair_scores(self, state_BD: Tensor, items_BM: Tensor) -> Tensor:
        """Return (B, M), scores of pairs of a state and an item; the higher, the better. Only with `scores_pairs`."""
        raise NotImplementedError

    def item_matrix(self) -> Tensor:
        """Return (V, D)."""
        raise NotImplementedError

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        return self.states(inputs)

    def scores(self, state_BD: Tensor) -> Tensor:
        """Return (B, V) in float32: inner products, or what `pair_scores` gives; -inf for what is not an item or not
        known."""
        if self.scores_pairs:
            items = torch.split(torch.arange(len(self.is_known_V), device=state_BD.device), PAIR_ITEMS)
            parts = [self.pair_scores(state_BD, some.expand(len(state_BD), -1)).float() for some in items]
            scores_BV = torch.cat(parts, dim=1)
        else:
            scores_BV = state_BD.float() @ self.item_matrix().float().T
        can_score_V = self.is_known_V.clone()
        can_score_V[:FIRST_ITEM] = False
        return scores_BV.masked_fill_(~can_score_V, -torch.inf)

"""Item-to-item nearest neighbours: what others turned to after the newest items of a past (Sarwar et al., WWW 2001).

The second opinion of the other models (see `neighbours`), alone, from 0 to 1. Items that are nobody's neighbour stand
below, by popularity.

B users   L positions   V vocabulary size
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from sparkrec.models.counted import Counted
from sparkrec.models.neighbours import Neighbours
from sparkrec.models.shape import ModelShape

LEAST = 1e-6
"""What the most popular item has before any neighbour speaks for it."""


class ItemKNN(Counted):
    popularity_V1: Tensor

    def __init__(self, shape: ModelShape) -> None:
        super().__init__(shape)
        self.neighbours = Neighbours(shape.vocabulary_size, shape.num_neighbours)
        self.neighbours.counts.fill_(1.0)
        self.register_buffer("popularity_V1", torch.zeros(shape.vocabulary_size, 1))

    def states(self, inputs: Mapping[str, Tensor]) -> Tensor:
        return torch.ones(*inputs["item_idxs"].shape, 1, device=self.is_known_V.device)

    def item_vectors(self, item_idxs: Tensor) -> Tensor:
        return self.popularity_V1[item_idxs]

    def item_matrix(self) -> Tensor:
        return self.popularity_V1


def least_of(counts_V: Tensor) -> Tensor:
    """Return (V, 1): up to LEAST, the more the more events an item has."""
    logs_V = counts_V.float().log1p()
    return LEAST * (logs_V / logs_V.max().clamp(min=1))[:, None]

"""Item-to-item nearest neighbours: what others turned to after the newest items of a past (Sarwar et al., WWW 2001).

The second opinion of the other models (see `neighbours`), alone. Items that are nobody's neighbour score nothing.

B users   L positions   V vocabulary size
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from sparkrec.models.counted import Counted
from sparkrec.models.neighbours import Neighbours
from sparkrec.models.shape import ModelShape


class ItemKNN(Counted):
    def __init__(self, shape: ModelShape) -> None:
        super().__init__(shape)
        self.neighbours = Neighbours(shape.vocabulary_size, shape.num_neighbours)
        self.neighbours.counts.fill_(1.0)

    def states(self, inputs: Mapping[str, Tensor]) -> Tensor:
        return torch.zeros(*inputs["item_idxs"].shape, 1, device=self.is_known_V.device)

    def item_vectors(self, item_idxs: Tensor) -> Tensor:
        return torch.zeros(*item_idxs.shape, 1, device=self.is_known_V.device)

    def item_matrix(self) -> Tensor:
        return torch.zeros(len(self.is_known_V), 1, device=self.is_known_V.device)

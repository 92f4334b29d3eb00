"""Most popular: the same list for everybody, by events of all time.

B users   L positions   V vocabulary size
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from sparkrec.models.counted import Counted
from sparkrec.models.shape import ModelShape


class Popular(Counted):
    events_V1: Tensor

    def __init__(self, shape: ModelShape) -> None:
        super().__init__(shape)
        self.register_buffer("events_V1", torch.zeros(shape.vocabulary_size, 1))

    def states(self, inputs: Mapping[str, Tensor]) -> Tensor:
        return torch.ones(*inputs["item_idxs"].shape, 1, device=self.events_V1.device)

    def item_vectors(self, item_idxs: Tensor) -> Tensor:
        return self.events_V1[item_idxs]

    def item_matrix(self) -> Tensor:
        return self.events_V1

"""ITE: from implicit to explicit feedback, a baseline of the CNN hybrid's paper. Neural matrix factorisation finds
interest (NeuMF: He et al., WWW 2017, arXiv 1708.05031), and with `train.heads=[purchase]` a network on top of what it
found the purchase given interest.

NeuMF is a product of the user's and the item's vectors beside a network over both; here each has one vector for both
halves.

B users   L positions   D width   M items of a user   H hidden numbers of a pair
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from sparkrec.models.pairs import NARROW, LongTerm, PairNetwork
from sparkrec.models.shape import ModelShape


class ITE(LongTerm):
    def __init__(self, shape: ModelShape) -> None:
        super().__init__(shape)
        self.network = PairNetwork(2, shape.width)

    @property
    def num_known_of_pair(self) -> int:
        return self.shape.width + NARROW

    def hidden(self, parts: Sequence[Tensor], item_BMD: Tensor) -> Tensor:
        (user_B1D,) = parts
        return torch.cat([user_B1D * item_BMD, self.network(user_B1D, item_BMD)], dim=-1)

"""The CNN hybrid's filters alone: short-term preference without the user's own vector (see `cnn_hybrid`).

B users   L positions   D width   M items of a user   H hidden numbers of a pair
"""

from collections.abc import Sequence

from torch import Tensor

from sparkrec.models.cnn_hybrid import ShortTerm
from sparkrec.models.pairs import PairModel, PairNetwork
from sparkrec.models.sequence_model import Past
from sparkrec.models.shape import ModelShape


class CNNOnly(PairModel):
    def __init__(self, shape: ModelShape) -> None:
        super().__init__(shape)
        self.short_term = ShortTerm(shape)
        self.network = PairNetwork(1, shape.width)

    def encode(self, past: Past) -> Tensor:
        state_BLD: Tensor = self.short_term(past)
        return state_BLD

    def hidden(self, parts: Sequence[Tensor], item_BMD: Tensor) -> Tensor:
        (short_B1D,) = parts
        hidden_BMH: Tensor = self.network(short_B1D * item_BMD)
        return hidden_BMH

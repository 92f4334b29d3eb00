"""The CNN hybrid's long-term half alone: the user's own vector, without any look at what the user did (see
`cnn_hybrid`). Its product with the candidate's vector takes the place of the filters' one.

B users   L positions   D width   M items of a user   H hidden numbers of a pair
"""

from collections.abc import Sequence

from torch import Tensor

from sparkrec.models.pairs import LongTerm, PairNetwork
from sparkrec.models.shape import ModelShape


class LongOnly(LongTerm):
    def __init__(self, shape: ModelShape) -> None:
        super().__init__(shape)
        self.network = PairNetwork(1, shape.width)

    def hidden(self, parts: Sequence[Tensor], item_BMD: Tensor) -> Tensor:
        (user_B1D,) = parts
        hidden_BMH: Tensor = self.network(user_B1D * item_BMD)
        return hidden_BMH

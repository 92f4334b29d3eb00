"""Models that are counted or solved for, not learnt step by step."""

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn

from sparkrec.models.neighbours import Neighbours
from sparkrec.models.sequence_model import SequenceModel
from sparkrec.models.shape import ModelShape


class Counted(SequenceModel):
    """Has no parameters; `states` and `item_matrix` are the architecture's own."""

    learns: ClassVar[bool] = False
    item_tables: tuple[str, ...] = ()

    def __init__(self, shape: ModelShape) -> None:
        nn.Module.__init__(self)
        self._begin(shape)
        self.neighbours: Neighbours | None = None
        self.purchase, self.actions = None, nn.ModuleDict()

    @property
    def inputs(self) -> tuple[str, ...]:
        return ("item_idxs",)

    def last_state(self, inputs: Mapping[str, Tensor]) -> Tensor:
        return self.states(inputs)[:, -1]

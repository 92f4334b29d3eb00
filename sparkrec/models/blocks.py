"""Models that are a stack of blocks, each of which reads the states of a position and those before it.

B users   L positions   Q positions that are asked for, the last ones   D width
"""

from torch import Tensor, nn

from sparkrec.models.attention import may_see
from sparkrec.models.dropout import Dropout
from sparkrec.models.initial import small_maps
from sparkrec.models.sequence_model import Past, SequenceModel
from sparkrec.models.shape import ModelShape


class Blocks(SequenceModel):
    """An architecture names its block: a module that takes states, (B, L, D), and which positions read which,
    (B, 1, Q, L), and returns (B, Q, D)."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__(shape)
        self.norm = nn.LayerNorm(shape.width)
        self.dropout = Dropout(shape.dropout)
        self.blocks = nn.ModuleList(self.block(shape) for _ in range(shape.num_blocks))
        self.apply(small_maps)

    def block(self, shape: ModelShape) -> nn.Module:
        raise NotImplementedError

    def encode(self, past: Past) -> Tensor:
        return self._through_blocks(past, past.is_event_BL.shape[1])

    def encode_last(self, past: Past) -> Tensor:
        # Nobody reads the other positions of the last block.
        return self._through_blocks(past, 1)[:, -1]

    def _through_blocks(self, past: Past, num_asked: int) -> Tensor:
        may_see_B1LL = may_see(past.is_event_BL)
        state_BLD = self.dropout(self.norm(past.vector_BLD))
        for block in self.blocks[:-1]:
            state_BLD = block(state_BLD, may_see_B1LL)
        state_BQD: Tensor = self.blocks[-1](state_BLD, may_see_B1LL[:, :, -num_asked:])
        return state_BQD


def network(shape: ModelShape) -> nn.Sequential:
    """Return the position-wise network of a block, four times as wide within."""
    return nn.Sequential(
        nn.Linear(shape.width, 4 * shape.width),
        nn.GELU(),
        Dropout(shape.dropout),
        nn.Linear(4 * shape.width, shape.width),
    )

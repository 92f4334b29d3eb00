"""SASRec: self-attention over the items of a user's past (Kang, McAuley, ICDM 2018; arXiv 1808.09781).

Differences from the paper: what else is known of an event is added to the item's vector; attention knows distances in
place of positions (see `attention`); a layer norm stands after each part, and the network within a block is four times
as wide, with GELU.

B users   L positions   Q positions that are asked for, the last ones   D width
"""

from torch import Tensor, nn

from sparkrec.models.attention import RelativeAttention
from sparkrec.models.blocks import Blocks, network
from sparkrec.models.dropout import Dropout
from sparkrec.models.shape import ModelShape


class SASRec(Blocks):
    def block(self, shape: ModelShape) -> nn.Module:
        return Block(shape)


class Block(nn.Module):
    """Attention, then a position-wise network; a residual around each, and a layer norm after it."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.attention = RelativeAttention(shape)
        self.attention_norm = nn.LayerNorm(shape.width)
        self.network = network(shape)
        self.network_norm = nn.LayerNorm(shape.width)
        self.dropout = Dropout(shape.dropout)

    def forward(self, state_BLD: Tensor, may_see_B1QL: Tensor) -> Tensor:
        """Return (B, Q, D) for the positions that `may_see` has a row for."""
        asked_BQD = state_BLD[:, -may_see_B1QL.shape[2] :]
        state_BQD: Tensor = self.attention_norm(asked_BQD + self.dropout(self.attention(state_BLD, may_see_B1QL)))
        state_BQD = self.network_norm(state_BQD + self.dropout(self.network(state_BQD)))
        return state_BQD

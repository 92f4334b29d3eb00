"""eSASRec: SASRec with LiGR blocks (Tikhonovich et al., RecSys 2025, arXiv 2508.06450; blocks of arXiv 2502.03417).

What a block adds is weighed by a gate that its own input opens, norms come before, and the network within is SwiGLU
(Shazeer 2020, arXiv 2002.05202). The paper's sampled softmax is `train.loss=sampled_softmax`.

B users   L positions   Q positions that are asked for, the last ones   D width
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from sparkrec.models.attention import RelativeAttention
from sparkrec.models.blocks import Blocks
from sparkrec.models.dropout import Dropout
from sparkrec.models.shape import ModelShape


class ESASRec(Blocks):
    def block(self, shape: ModelShape) -> nn.Module:
        return LiGRBlock(shape)


class LiGRBlock(nn.Module):
    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        width = shape.width
        self.attention_norm, self.network_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = RelativeAttention(shape)
        self.opened, self.shut = nn.Linear(width, 4 * width), nn.Linear(width, 4 * width)
        self.narrow = nn.Linear(4 * width, width)
        self.attention_gate, self.network_gate = nn.Linear(width, width), nn.Linear(width, width)
        self.dropout = Dropout(shape.dropout)

    def forward(self, state_BLD: Tensor, may_see_B1QL: Tensor) -> Tensor:
        """Return (B, Q, D) for the positions that `may_see` has a row for."""
        normed_BLD = self.attention_norm(state_BLD)
        num = may_see_B1QL.shape[2]
        gate_BQD = torch.sigmoid(self.attention_gate(normed_BLD[:, -num:]))
        added_BQD = gate_BQD * self.attention(normed_BLD, may_see_B1QL)
        state_BQD: Tensor = state_BLD[:, -num:] + self.dropout(added_BQD)
        normed_BQD = self.network_norm(state_BQD)
        wide = functional.silu(self.shut(normed_BQD)) * self.opened(normed_BQD)
        added_BQD = torch.sigmoid(self.network_gate(normed_BQD)) * self.narrow(self.dropout(wide))
        state_BQD = state_BQD + self.dropout(added_BQD)
        return state_BQD

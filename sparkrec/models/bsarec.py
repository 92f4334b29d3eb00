"""BSARec: attention mixed with a filter that weighs slow and fast changes of interest (Shin et al., AAAI 2024,
arXiv 2312.10325).

The paper splits slow from fast by a Fourier transform of the whole past, which lets a position see what comes after it,
and so can only learn from a past's last position. Here the slow part is the mean of the newest events up to the
position, the fast one what is left; every position is learnt from.

B users   L positions   Q positions that are asked for, the last ones   D width
"""

import torch
from torch import Tensor, nn

from sparkrec.models.attention import RelativeAttention, distances
from sparkrec.models.blocks import Blocks, network
from sparkrec.models.dropout import Dropout
from sparkrec.models.shape import ModelShape

FILTER_SHARE = 0.7
"""The paper's alpha on Amazon Beauty."""
SLOW_EVENTS = 5
"""Events that the slow part is the mean of."""


class BSARec(Blocks):
    def block(self, shape: ModelShape) -> nn.Module:
        return BSABlock(shape)


class BSABlock(nn.Module):
    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.attention, self.filter = RelativeAttention(shape), Filter(shape)
        self.attention_norm, self.network_norm = nn.LayerNorm(shape.width), nn.LayerNorm(shape.width)
        self.network = network(shape)
        self.dropout = Dropout(shape.dropout)

    def forward(self, state_BLD: Tensor, may_see_B1QL: Tensor) -> Tensor:
        """Return (B, Q, D) for the positions that `may_see` has a row for."""
        asked_BQD = state_BLD[:, -may_see_B1QL.shape[2] :]
        attended_BQD = self.attention_norm(asked_BQD + self.dropout(self.attention(state_BLD, may_see_B1QL)))
        filtered_BQD = self.filter(state_BLD, may_see_B1QL)
        state_BQD: Tensor = FILTER_SHARE * filtered_BQD + (1 - FILTER_SHARE) * attended_BQD
        state_BQD = self.network_norm(state_BQD + self.dropout(self.network(state_BQD)))
        return state_BQD


class Filter(nn.Module):
    """The slow part of the states, and the fast one times a learnt weight for every number of the width."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.fast_weight_D = nn.Parameter(torch.randn(shape.width))
        self.norm, self.dropout = nn.LayerNorm(shape.width), Dropout(shape.dropout)

    def forward(self, state_BLD: Tensor, may_see_B1QL: Tensor) -> Tensor:
        num, length = may_see_B1QL.shape[2:]
        asked_BQD = state_BLD[:, -num:]
        is_near_BQL = may_see_B1QL[:, 0] & (distances(num, length, state_BLD.device) < SLOW_EVENTS)
        slow_BQD = is_near_BQL.to(state_BLD.dtype) @ state_BLD / is_near_BQL.sum(dim=-1, keepdim=True)
        filtered_BQD: Tensor = slow_BQD + self.fast_weight_D**2 * (asked_BQD - slow_BQD)
        filtered_BQD = self.norm(asked_BQD + self.dropout(filtered_BQD))
        return filtered_BQD

"""HSTU: attention without a softmax, gated point by point (Zhai et al., ICML 2024, arXiv 2402.17152).

Weights are SiLU(logits) over the number of events that are read, so how much of an interest a past holds is not
normalised away. Distances in events add to the logits; the paper adds those in time, too.

B users   L positions   Q positions that are asked for, the last ones   D width   H heads
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from sparkrec.models.attention import by_distance
from sparkrec.models.blocks import Blocks
from sparkrec.models.dropout import Dropout
from sparkrec.models.shape import ModelShape


class HSTU(Blocks):
    def block(self, shape: ModelShape) -> nn.Module:
        return HSTUBlock(shape)


class HSTUBlock(nn.Module):
    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.num_heads = shape.num_heads
        self.norm, self.mixed_norm = nn.LayerNorm(shape.width), nn.LayerNorm(shape.width)
        self.keys_values = nn.Linear(shape.width, 2 * shape.width)
        self.queries_gates = nn.Linear(shape.width, 2 * shape.width)
        self.mix_heads = nn.Linear(shape.width, shape.width)
        self.by_distance_HL = nn.Parameter(torch.zeros(shape.num_heads, shape.length))
        self.dropout = Dropout(shape.dropout)

    def forward(self, state_BLD: Tensor, may_see_B1QL: Tensor) -> Tensor:
        """Return (B, Q, D) for the positions that `may_see` has a row for."""
        batch, length, width = state_BLD.shape
        num, size = may_see_B1QL.shape[2], width // self.num_heads
        normed_BLD = self.norm(state_BLD)
        told = functional.silu(self.keys_values(normed_BLD)).view(batch, length, 2, self.num_heads, size)
        key_BHL, value_BHL = told.permute(2, 0, 3, 1, 4)
        query_BQD, gate_BQD = functional.silu(self.queries_gates(normed_BLD[:, -num:])).chunk(2, dim=-1)
        query_BHQ = query_BQD.view(batch, num, self.num_heads, size).transpose(1, 2)
        bias_HQL = by_distance(self.by_distance_HL, num, length)
        logit_BHQL = query_BHQ @ key_BHL.transpose(-1, -2) + bias_HQL
        weight_BHQL = torch.where(may_see_B1QL, functional.silu(logit_BHQL), 0.0)
        mixed = (weight_BHQL @ value_BHL) / may_see_B1QL.sum(dim=-1, keepdim=True)
        mixed_BQD = self.mixed_norm(mixed.transpose(1, 2).reshape(batch, num, width)) * gate_BQD
        added_BQD: Tensor = self.dropout(self.mix_heads(mixed_BQD))
        return state_BLD[:, -num:] + added_BQD

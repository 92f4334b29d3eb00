"""SASRec: self-attention over the items of a user's past (Kang, McAuley, ICDM 2018; arXiv 1808.09781).

Differences from the paper: layer norm before each part instead of after, the kind of event is added to the item's
vector, and positions are counted from the newest event, as windows are padded on the left.

B users   L positions   D width   V vocabulary size
"""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from sparkrec.models.sequence_model import ModelShape, SequenceModel
from sparkrec.tables import EVENT_CODES, PAD


class SASRec(SequenceModel):
    inputs: ClassVar[tuple[str, ...]] = ("item_idxs", "event_types")

    def __init__(self, shape: ModelShape) -> None:
        super().__init__(shape)
        self.items = nn.Embedding(shape.vocabulary_size, shape.width, padding_idx=PAD)
        self.kinds = nn.Embedding(len(EVENT_CODES) + 1, shape.width, padding_idx=PAD)
        self.positions = nn.Parameter(torch.empty(shape.length, shape.width))
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.num_blocks))
        self.norm = nn.LayerNorm(shape.width)
        self.dropout = nn.Dropout(shape.dropout)
        for weight in (self.items.weight, self.kinds.weight, self.positions):
            nn.init.normal_(weight, std=0.02)
        with torch.no_grad():
            self.items.weight[PAD] = 0
            self.kinds.weight[PAD] = 0

    def states(self, inputs: Mapping[str, Tensor]) -> Tensor:
        state_BLD, may_see_B1LL = self._embed(inputs)
        for block in self.blocks:
            state_BLD = block(state_BLD, may_see_B1LL)
        states_BLD: Tensor = self.norm(state_BLD)
        return states_BLD

    def last_state(self, inputs: Mapping[str, Tensor]) -> Tensor:
        state_BLD, may_see_B1LL = self._embed(inputs)
        for block in self.blocks[:-1]:
            state_BLD = block(state_BLD, may_see_B1LL)
        # Nobody reads the other positions of the last block.
        last_BD: Tensor = self.norm(self.blocks[-1](state_BLD, may_see_B1LL[:, :, -1:], last=1))[:, -1]
        return last_BD

    def item_matrix(self) -> Tensor:
        return self.items.weight

    def _embed(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        items_BL = inputs["item_idxs"]
        is_event_BL = items_BL != PAD
        length = items_BL.shape[1]
        vector_BLD = self.items(items_BL) * self.shape.width**0.5 + self.kinds(inputs["event_types"])
        state_BLD = self.dropout(vector_BLD + self.positions[-length:])
        causal_LL = torch.ones(length, length, dtype=torch.bool, device=items_BL.device).tril()
        itself_LL = torch.eye(length, dtype=torch.bool, device=items_BL.device)
        # A padded position attends to itself, for a softmax over nothing is not a number.
        return state_BLD, ((causal_LL & is_event_BL[:, None, :]) | itself_LL)[:, None]


class Block(nn.Module):
    """Attention, then a position-wise network; both with a residual around them."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.num_heads = shape.num_heads
        self.drop_share = shape.dropout
        self.attention_norm = nn.LayerNorm(shape.width)
        self.queries_keys_values = nn.Linear(shape.width, 3 * shape.width)
        self.mix_heads = nn.Linear(shape.width, shape.width)
        self.network_norm = nn.LayerNorm(shape.width)
        self.network = nn.Sequential(
            nn.Linear(shape.width, shape.width),
            nn.ReLU(),
            nn.Dropout(shape.dropout),
            nn.Linear(shape.width, shape.width),
        )
        self.dropout = nn.Dropout(shape.dropout)

    def forward(self, state_BLD: Tensor, may_see_B1LL: Tensor, last: int | None = None) -> Tensor:
        """Return the block's states, or only those of the `last` positions; `may_see` has a row for each of them."""
        num = last or state_BLD.shape[1]
        mixed_BLD = self._attend(self.attention_norm(state_BLD), may_see_B1LL, num)
        state_BLD = state_BLD[:, -num:] + self.dropout(mixed_BLD)
        state_BLD = state_BLD + self.dropout(self.network(self.network_norm(state_BLD)))
        return state_BLD

    def _attend(self, state_BLD: Tensor, may_see_B1LL: Tensor, num: int) -> Tensor:
        batch, length, width = state_BLD.shape
        size = width // self.num_heads
        if num == length:
            split = (batch, length, 3, self.num_heads, size)
            query, key, value = self.queries_keys_values(state_BLD).view(split).permute(2, 0, 3, 1, 4)
        else:
            weight, bias = self.queries_keys_values.weight, self.queries_keys_values.bias
            asked = functional.linear(state_BLD[:, -num:], weight[:width], bias[:width])
            query = asked.view(batch, num, self.num_heads, size).transpose(1, 2)
            told = functional.linear(state_BLD, weight[width:], bias[width:])
            key, value = told.view(batch, length, 2, self.num_heads, size).permute(2, 0, 3, 1, 4)
        drop = self.drop_share if self.training else 0.0
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=may_see_B1LL, dropout_p=drop)
        mixed_BLD: Tensor = self.mix_heads(mixed.transpose(1, 2).reshape(batch, num, width))
        return mixed_BLD

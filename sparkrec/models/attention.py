"""Causal attention that knows how far back an event lies, not where it stands in the window.

So what is learnt from an early event of a past holds for a late one, too: a past of n events gives n - 1 samples of the
same kind, as if every beginning of it were a past of its own, for the price of one.

B users   L positions   Q positions that ask, the last ones   D width   H heads
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from sparkrec.models.shape import ModelShape


class RelativeAttention(nn.Module):
    """Attention with several heads and a learnt number per head and distance, added to the logits.

    (Shaw, Uszkoreit, Vaswani 2018, arXiv 1803.02155, in the scalar form of Raffel et al. 2020, arXiv 1910.10683, with a
    number for every distance.)
    """

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.num_heads, self.drop_share = shape.num_heads, shape.dropout
        self.queries = nn.Linear(shape.width, shape.width)
        self.keys_values = nn.Linear(shape.width, 2 * shape.width)
        self.mix_heads = nn.Linear(shape.width, shape.width)
        self.by_distance_HL = nn.Parameter(torch.zeros(shape.num_heads, shape.length))

    def forward(self, state_BLD: Tensor, may_see_B1QL: Tensor) -> Tensor:
        """Return (B, Q, D) for the positions that `may_see` has a row for."""
        batch, length, width = state_BLD.shape
        num, size = may_see_B1QL.shape[2], width // self.num_heads
        query_BHQ = self.queries(state_BLD[:, -num:]).view(batch, num, self.num_heads, size).transpose(1, 2)
        told = self.keys_values(state_BLD).view(batch, length, 2, self.num_heads, size)
        key_BHL, value_BHL = told.permute(2, 0, 3, 1, 4)
        bias_HQL = by_distance(self.by_distance_HL, num, length)
        bias_BHQL = torch.where(may_see_B1QL, bias_HQL, -torch.inf)
        drop = self.drop_share if self.training else 0.0
        mixed = functional.scaled_dot_product_attention(
            query_BHQ, key_BHL, value_BHL, attn_mask=bias_BHQL.to(query_BHQ.dtype), dropout_p=drop
        )
        mixed_BQD: Tensor = self.mix_heads(mixed.transpose(1, 2).reshape(batch, num, width))
        return mixed_BQD


def by_distance(numbers_HL: Tensor, num: int, length: int) -> Tensor:
    """Return (H, Q, L): the numbers of the distances between the last `num` positions and all `length` of them."""
    distance_QL = distances(num, length, numbers_HL.device)
    # Several times quicker on a GPU than indexing, on the way back above all.
    return numbers_HL.index_select(1, distance_QL.reshape(-1)).view(-1, *distance_QL.shape)


def distances(num: int, length: int, device: torch.device) -> Tensor:
    """Return (Q, L): how far before each of the last `num` positions the others lie, 0 for those after it."""
    place_L = torch.arange(length, device=device)
    return (place_L[-num:, None] - place_L[None, :]).clamp(min=0)


def may_see(is_event_BL: Tensor) -> Tensor:
    """Return (B, 1, L, L): which positions read which, themselves and the events before them.

    A padded position reads itself, for a softmax over nothing is not a number.
    """
    length = is_event_BL.shape[1]
    causal_LL = torch.ones(length, length, dtype=torch.bool, device=is_event_BL.device).tril()
    itself_LL = torch.eye(length, dtype=torch.bool, device=is_event_BL.device)
    return ((causal_LL & is_event_BL[:, None, :]) | itself_LL)[:, None]

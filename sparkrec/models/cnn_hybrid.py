"""CNN hybrid: filters over the newest events for short-term, and the user's own vector for long-term preference; the
product of what the filters found and the candidate's vector goes, beside the user's, through a network.

After paper C ("a CNN hybrid for long- and short-term preference"). Its two stages, interest and then a purchase given
interest, are this model with `train.heads=[purchase]`. Differences: items have one vector in both halves, users share
theirs by hash, and every position is learnt from.

B users   L positions   D width   M items of a user   H hidden numbers of a pair
"""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from sparkrec.models.convolution import Newest
from sparkrec.models.dropout import Dropout
from sparkrec.models.pairs import PairModel, PairNetwork
from sparkrec.models.sequence_model import Past
from sparkrec.models.shape import ModelShape

NUM_EVENTS, HEIGHTS, FILTERS, VERTICAL = 5, (1, 2, 3, 4), 50, 4
"""Newest events that are read, heights of the horizontal filters and how many of each (the paper's), vertical filters
(the paper names no number; nor of events)."""


class ShortTerm(nn.Module):
    """What filters find in the newest events, as a vector."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.newest = Newest(shape.width, NUM_EVENTS, HEIGHTS, FILTERS, VERTICAL)
        self.dropout = Dropout(shape.dropout)
        self.condense = nn.Linear(self.newest.num_found, shape.width)

    def forward(self, past: Past) -> Tensor:
        """Return (B, L, D)."""
        found_BLD: Tensor = self.condense(self.dropout(self.newest(past.vector_BLD)))
        return found_BLD


class CNNHybrid(PairModel):
    reads_user: bool = True
    num_parts: ClassVar[int] = 2

    def __init__(self, shape: ModelShape) -> None:
        super().__init__(shape)
        self.short_term = ShortTerm(shape)
        self.network = PairNetwork(2, shape.width)

    def encode(self, past: Past) -> Tensor:
        assert past.user_BD is not None
        short_BLD = self.short_term(past)
        return torch.cat([short_BLD, past.user_BD[:, None].expand_as(short_BLD)], dim=2)

    def hidden(self, parts: Sequence[Tensor], item_BMD: Tensor) -> Tensor:
        short_B1D, user_B1D = parts
        hidden_BMH: Tensor = self.network(short_B1D * item_BMD, user_B1D)
        return hidden_BMH

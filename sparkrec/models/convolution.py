"""Filters over the newest events of every position (Tang, Wang, WSDM 2018, arXiv 1809.07426).

B users   L positions   D width   S newest events   F filters
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class Newest(nn.Module):
    """Reads the S newest events of a position as an S x D picture: horizontal filters of several heights see some
    neighbouring events whole, and their largest answer counts; vertical ones weigh the events of the picture."""

    def __init__(self, width: int, num_events: int, heights: Sequence[int], filters: int, vertical: int) -> None:
        super().__init__()
        self.num_events, self.heights = num_events, heights
        self.horizontal = nn.ModuleList(nn.Conv1d(width, filters, height) for height in heights)
        self.vertical = nn.Linear(num_events, vertical, bias=False)
        self.num_found = len(heights) * filters + vertical * width

    def forward(self, vector_BLD: Tensor) -> Tensor:
        """Return (B, L, F). In: vectors of events, zeros at padding."""
        before_BDL = functional.pad(vector_BLD.transpose(1, 2), (self.num_events - 1, 0))
        found = []
        for height, conv in zip(self.heights, self.horizontal, strict=True):
            answer_BFL = functional.relu(conv(before_BDL))
            found.append(functional.max_pool1d(answer_BFL, self.num_events - height + 1, stride=1).transpose(1, 2))
        weighed_BDLF = self.vertical(before_BDL.unfold(2, self.num_events, 1))
        return torch.cat([*found, weighed_BDLF.transpose(1, 2).flatten(2)], dim=2)


class CausalConvolutions(nn.Module):
    """Filters of several heights over the events up to a position, with gaps of `spread` events between those seen."""

    def __init__(self, width: int, heights: Sequence[int], filters: int, spread: int) -> None:
        super().__init__()
        self.heights, self.spread = heights, spread
        self.filters = nn.ModuleList(nn.Conv1d(width, filters, height, dilation=spread) for height in heights)
        self.num_found = len(heights) * filters

    def forward(self, vector_BLD: Tensor) -> Tensor:
        """Return (B, L, F). In: vectors of events, zeros at padding."""
        vector_BDL = vector_BLD.transpose(1, 2)
        found = []
        for height, conv in zip(self.heights, self.filters, strict=True):
            before_BDL = functional.pad(vector_BDL, ((height - 1) * self.spread, 0))
            found.append(functional.relu(conv(before_BDL)))
        return torch.cat(found, dim=1).transpose(1, 2)

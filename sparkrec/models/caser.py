"""Caser: filters over the newest events as over a picture, and the user's own vector (Tang, Wang, WSDM 2018,
arXiv 1809.07426).

Differences from the paper: every position is learnt from, by any loss of `train.loss`, and the two parts are mixed into
one state, so that items have one vector.

B users   L positions   D width   F filters
"""

import torch
from torch import Tensor, nn

from sparkrec.models.convolution import Newest
from sparkrec.models.dropout import Dropout
from sparkrec.models.sequence_model import Past, SequenceModel
from sparkrec.models.shape import ModelShape

NUM_EVENTS, HEIGHTS, FILTERS, VERTICAL = 5, (1, 2, 3, 4, 5), 16, 4
"""The paper's L = 5 newest events, filters of each height, and vertical filters."""


class Caser(SequenceModel):
    reads_user: bool = True

    def __init__(self, shape: ModelShape) -> None:
        super().__init__(shape)
        self.newest = Newest(shape.width, NUM_EVENTS, HEIGHTS, FILTERS, VERTICAL)
        self.dropout = Dropout(shape.dropout)
        self.condense = nn.Linear(self.newest.num_found, shape.width)
        self.mix = nn.Linear(2 * shape.width, shape.width)

    def encode(self, past: Past) -> Tensor:
        found_BLD = torch.relu(self.condense(self.dropout(self.newest(past.vector_BLD))))
        assert past.user_BD is not None
        user_BLD = past.user_BD[:, None].expand_as(found_BLD)
        state_BLD: Tensor = self.mix(torch.cat([self.dropout(found_BLD), user_BLD], dim=2))
        return state_BLD

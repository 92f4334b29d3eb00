"""Convolutions with temporal attention: two paths of filters, fine for what is short-lived and coarse for what lasts,
and past events weighed by how recent and how relevant they are.

After "CNN-driven sequential representation learning and temporal user behaviour optimisation", of which no figures are
published. What the paper calls temporal markers are `train.side_inputs`; its ranking-aware loss is
`train.loss=pairwise`.

B users   L positions   D width   F filters
"""

import torch
from torch import Tensor, nn

from sparkrec.models.attention import RelativeAttention, may_see
from sparkrec.models.convolution import CausalConvolutions
from sparkrec.models.dropout import Dropout
from sparkrec.models.sequence_model import Past, SequenceModel
from sparkrec.models.shape import ModelShape

FINE, COARSE, SPREAD_EVENTS = (1, 2, 3), (3, 5), 3
"""Heights of both paths' filters, and how many events lie between those that the coarse ones see."""


class CNNAttention(SequenceModel):
    def __init__(self, shape: ModelShape) -> None:
        super().__init__(shape)
        self.norm, self.dropout = nn.LayerNorm(shape.width), Dropout(shape.dropout)
        self.fine = CausalConvolutions(shape.width, FINE, shape.width // 2, spread=1)
        self.coarse = CausalConvolutions(shape.width, COARSE, shape.width // 2, spread=SPREAD_EVENTS)
        self.condense = nn.Linear(self.fine.num_found + self.coarse.num_found, shape.width)
        self.attention, self.attended_norm = RelativeAttention(shape), nn.LayerNorm(shape.width)
        self.predict = nn.Sequential(
            nn.Linear(2 * shape.width, 2 * shape.width),
            nn.ReLU(),
            Dropout(shape.dropout),
            nn.Linear(2 * shape.width, shape.width),
        )

    def encode(self, past: Past) -> Tensor:
        event_BLD = self.dropout(self.norm(past.vector_BLD)) * past.is_event_BL[:, :, None]
        found_BLF = torch.cat([self.fine(event_BLD), self.coarse(event_BLD)], dim=2)
        found_BLD = event_BLD + self.dropout(self.condense(found_BLF))
        attended_BLD = self.attention(self.attended_norm(found_BLD), may_see(past.is_event_BL))
        state_BLD: Tensor = self.predict(torch.cat([found_BLD, self.dropout(attended_BLD)], dim=2))
        return state_BLD

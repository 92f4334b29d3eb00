"""Hybrid DFNN + LSTM: what is known of a user without regard to order, and the order of events, fused.

After "hybrid deep neural network for e-commerce clickstreams", whose figures are for the class of the next action; here
the states score items like any other model's.

B users   L positions   D width
"""

import torch
from torch import Tensor, nn

from sparkrec.models.dfnn import Context
from sparkrec.models.dropout import Dropout
from sparkrec.models.lstm import Behaviour
from sparkrec.models.sequence_model import Past, SequenceModel
from sparkrec.models.shape import ModelShape


class DFNNLSTM(SequenceModel):
    reads_user: bool = True

    def __init__(self, shape: ModelShape) -> None:
        super().__init__(shape)
        self.context, self.behaviour = Context(shape), Behaviour(shape)
        self.fuse = nn.Sequential(
            Dropout(shape.dropout),
            nn.Linear(2 * shape.width, shape.width),
            nn.ReLU(),
            nn.Linear(shape.width, shape.width),
        )

    def encode(self, past: Past) -> Tensor:
        state_BLD: Tensor = self.fuse(torch.cat([self.context(past), self.behaviour(past)], dim=2))
        return state_BLD

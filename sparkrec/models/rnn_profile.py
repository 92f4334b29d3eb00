"""RNN + profile: an LSTM over the events of a past beside what is known of the user, a baseline of the CNN hybrid.

The profile is the user's own vector and the mean of the past so far.

B users   L positions   D width
"""

import torch
from torch import Tensor, nn

from sparkrec.models.dfnn import mean_so_far
from sparkrec.models.dropout import Dropout
from sparkrec.models.lstm import Behaviour
from sparkrec.models.sequence_model import Past, SequenceModel
from sparkrec.models.shape import ModelShape


class RNNProfile(SequenceModel):
    reads_user: bool = True

    def __init__(self, shape: ModelShape) -> None:
        super().__init__(shape)
        self.behaviour = Behaviour(shape)
        self.to_items = nn.Sequential(Dropout(shape.dropout), nn.Linear(3 * shape.width, shape.width))

    def encode(self, past: Past) -> Tensor:
        assert past.user_BD is not None
        user_BLD = past.user_BD[:, None].expand_as(past.vector_BLD)
        profile_BLD = torch.cat([user_BLD, mean_so_far(past.vector_BLD, past.is_event_BL)], dim=2)
        state_BLD: Tensor = self.to_items(torch.cat([self.behaviour(past), profile_BLD], dim=2))
        return state_BLD

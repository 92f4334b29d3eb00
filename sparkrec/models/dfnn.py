"""DFNN: a deep network over what is known of a user without regard to order; the static half of the hybrid DFNN + LSTM
(see `dfnn_lstm`), alone.

The paper feeds embeddings of user and category with aggregated price and session duration. Here these are the user's
own vector and the mean of the vectors of the events so far, which hold category (`train.attributes`), price and time
(`train.side_inputs`).

B users   L positions   D width
"""

import torch
from torch import Tensor, nn

from sparkrec.models.dropout import Dropout
from sparkrec.models.sequence_model import Past, SequenceModel
from sparkrec.models.shape import ModelShape


class Context(nn.Module):
    """Three layers over the user's vector and the mean of the past so far."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(2 * shape.width)
        layers: list[nn.Module] = []
        for wide, narrow in ((2, 2), (2, 1), (1, 1)):
            layers += [Dropout(shape.dropout), nn.Linear(wide * shape.width, narrow * shape.width), nn.ReLU()]
        self.layers = nn.Sequential(*layers)

    def forward(self, past: Past) -> Tensor:
        """Return (B, L, D)."""
        assert past.user_BD is not None
        mean_BLD = mean_so_far(past.vector_BLD, past.is_event_BL)
        user_BLD = past.user_BD[:, None].expand_as(mean_BLD)
        found_BLD: Tensor = self.layers(self.norm(torch.cat([user_BLD, mean_BLD], dim=2)))
        return found_BLD


class DFNN(SequenceModel):
    reads_user: bool = True

    def __init__(self, shape: ModelShape) -> None:
        super().__init__(shape)
        self.context = Context(shape)
        self.to_items = nn.Linear(shape.width, shape.width)

    def encode(self, past: Past) -> Tensor:
        state_BLD: Tensor = self.to_items(self.context(past))
        return state_BLD


def mean_so_far(vector_BLD: Tensor, is_event_BL: Tensor) -> Tensor:
    """Return (B, L, D): at every position the mean of the events up to it. In: zeros at padding."""
    num_BL1 = is_event_BL.cumsum(dim=1).clamp(min=1)[:, :, None]
    return vector_BLD.cumsum(dim=1) / num_BL1

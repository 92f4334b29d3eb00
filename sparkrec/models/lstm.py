"""LSTM over the events of a past: the behaviour half of the hybrid DFNN + LSTM, alone (see `dfnn_lstm`).

B users   L positions   D width
"""

from torch import Tensor, nn

from sparkrec.models.dropout import Dropout
from sparkrec.models.recurrent import over_events
from sparkrec.models.sequence_model import Past, SequenceModel
from sparkrec.models.shape import ModelShape


class Behaviour(nn.Module):
    """The last hidden state of an LSTM over events, at every position."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        between = shape.dropout if shape.num_blocks > 1 else 0.0
        self.norm, self.dropout = nn.LayerNorm(shape.width), Dropout(shape.dropout)
        self.unit = nn.LSTM(shape.width, shape.width, shape.num_blocks, batch_first=True, dropout=between)

    def forward(self, past: Past) -> Tensor:
        """Return (B, L, D)."""
        return over_events(self.unit, self.dropout(self.norm(past.vector_BLD)), past.is_event_BL)


class LSTM(SequenceModel):
    def __init__(self, shape: ModelShape) -> None:
        super().__init__(shape)
        self.behaviour = Behaviour(shape)
        self.to_items = nn.Sequential(Dropout(shape.dropout), nn.Linear(shape.width, shape.width))

    def encode(self, past: Past) -> Tensor:
        state_BLD: Tensor = self.to_items(self.behaviour(past))
        return state_BLD

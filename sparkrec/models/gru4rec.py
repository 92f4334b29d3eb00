"""GRU4Rec: a gated recurrent unit over the items of a past (Hidasi et al., ICLR 2016, arXiv 1511.06939).

Differences from the paper: pasts of users in place of sessions, and any loss of `train.loss`.

B users   L positions   D width
"""

from torch import Tensor, nn

from sparkrec.models.dropout import Dropout
from sparkrec.models.recurrent import over_events
from sparkrec.models.sequence_model import Past, SequenceModel
from sparkrec.models.shape import ModelShape


class GRU4Rec(SequenceModel):
    def __init__(self, shape: ModelShape) -> None:
        super().__init__(shape)
        between = shape.dropout if shape.num_blocks > 1 else 0.0
        self.unit = nn.GRU(shape.width, shape.width, shape.num_blocks, batch_first=True, dropout=between)
        self.norm = nn.LayerNorm(shape.width)
        self.dropout = Dropout(shape.dropout)
        self.to_items = nn.Linear(shape.width, shape.width)

    def encode(self, past: Past) -> Tensor:
        state_BLD = over_events(self.unit, self.dropout(self.norm(past.vector_BLD)), past.is_event_BL)
        found_BLD: Tensor = self.to_items(self.dropout(state_BLD))
        return found_BLD

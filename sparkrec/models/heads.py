"""What any model can be asked beside which item comes next: whether that is a purchase, and what kind of event comes
next (`train.heads`).

F numbers that are known of a pair or a state   D width   E kinds of events, padding included
"""

from torch import Tensor, nn

from sparkrec.models.dropout import Dropout
from sparkrec.models.shape import ModelShape
from sparkrec.tables import EVENT_CODES

PURCHASE, NEXT_ACTION, OWN_ACTION = "purchase", "next_action", "own_action"


class PurchaseHead(nn.Module):
    """The explicit half of reading users in two stages: first interest in an item, then a purchase given interest: that
    the next event, if it is on this item, is a purchase."""

    def __init__(self, num_known: int, shape: ModelShape) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            Dropout(shape.dropout), nn.Linear(num_known, shape.width), nn.ReLU(), nn.Linear(shape.width, 1)
        )

    def forward(self, known: Tensor) -> Tensor:
        """Return the log odds of a purchase, (…). In: (…, F), what is known of pairs."""
        logits: Tensor = self.layers(known).squeeze(-1)
        return logits


class ActionHead(nn.Module):
    """The kind of an event: of the next one, or of the one that the state has seen, which is no prediction."""

    def __init__(self, num_known: int, shape: ModelShape) -> None:
        super().__init__()
        num_kinds = 1 + max(EVENT_CODES.values())
        self.layers = nn.Sequential(
            Dropout(shape.dropout), nn.Linear(num_known, shape.width), nn.ReLU(), nn.Linear(shape.width, num_kinds)
        )

    def forward(self, known: Tensor) -> Tensor:
        """Return (…, E), logits by event code. In: (…, F), what is known of states."""
        logits: Tensor = self.layers(known)
        return logits

"""The vector of an event: its item's, and those of what else is known of it.

B users   L positions   D width
"""

from collections.abc import Mapping

from torch import Tensor, nn

from sparkrec.models.initial import small_table
from sparkrec.models.items import Items
from sparkrec.models.shape import ModelShape
from sparkrec.sequences import MAX_GAP_BUCKET, MAX_PRICE_BUCKET
from sparkrec.tables import EVENT_CODES, PAD

NUM_VALUES = {
    "event_types": 1 + len(EVENT_CODES),
    "gap_buckets": 1 + MAX_GAP_BUCKET,
    "session_starts": 2,
    "price_buckets": 1 + MAX_PRICE_BUCKET,
}
"""How many values each side input has, padding included."""


class Events(nn.Module):
    """Vectors of events, with a share of them dropped while training."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.sides = nn.ModuleDict(
            {name: nn.Embedding(NUM_VALUES[name], shape.width, padding_idx=PAD) for name in shape.side_inputs}
        )
        for side in self.sides.values():
            small_table(side.weight)  # type: ignore[arg-type]

    def forward(self, items: Items, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return (B, L, D); zero at padding."""
        vector_BLD: Tensor = items(inputs["item_idxs"])
        for name, side in self.sides.items():
            vector_BLD = vector_BLD + side(inputs[name])
        return vector_BLD

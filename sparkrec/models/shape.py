"""What fixes the tensors of a model."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ModelShape:
    """Everything that fixes the size of a model's tensors, its dropout, and how it scores."""

    vocabulary_size: int
    length: int
    width: int
    num_blocks: int
    num_heads: int
    dropout: float
    temperature: float | None = None
    """Scores are cosines over this, or inner products (None)."""
    side_inputs: tuple[str, ...] = ("event_types",)
    """Columns of `windows` that are read beside the items."""
    num_users: int = 1
    """Vectors that users have of their own, where an architecture gives them any; shared by hash."""
    num_neighbours: int = 0
    """Neighbours of an item that give a second opinion."""
    num_attributes: int = 0
    """Different attributes that items have."""
    max_attributes: int = 0
    """Attributes of one item, at most."""

    heads: tuple[str, ...] = ()
    """What the model is asked beside the next item, see `heads`."""
    num_members: int = 1
    """Models side by side, each of this width, see `ensemble`."""

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> "ModelShape":
        """Return the shape that was written as JSON."""
        tuples = {name: tuple(told.get(name, getattr(cls, name))) for name in ("side_inputs", "heads")}
        return cls(**{**told, **tuples})

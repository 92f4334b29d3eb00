"""What counts beside a model's own scores: the neighbours of what a user did, and what is popular lately."""

from dataclasses import dataclass

FADES = 0.8
"""How much each event of a past counts of the one after it, unless validation says otherwise."""


@dataclass(frozen=True)
class SecondOpinion:
    """How much counts of it, which validation says."""

    counts: float = 0.0
    """What the best neighbour of a past adds to its score, in units of logits; see `neighbours`."""
    fades: float = FADES
    """How much each event of a past counts of the one after it; 1 is all the same."""
    lately: float = 0.0
    """What the logarithm of one more than an item's events of the last days adds; see `lately`."""

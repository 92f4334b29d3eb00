"""What the pasts of a night look like as a whole, and how far that is from the night before."""

import math
from collections.abc import Iterable, Mapping

import numpy as np
import pyarrow as pa

from sparkrec.sequences import flatten
from sparkrec.tables import EVENT_CODES

LENGTHS = (1, 2, 4, 8, 16, 32, 64, 128)
"""Lower ends of the classes of histories by length."""
SMOOTHING = 1e-4
"""A class that is empty on one of two nights counts as this share; else one event of a new kind would be infinite."""


def shape_of(people: pa.Table) -> dict[str, int]:
    """Return how many events are of every kind, and how many pasts of every class of length: {'kind_view': 12, …}."""
    kinds, starts, ends = flatten(people.column("event_types").combine_chunks())
    per_kind = np.bincount(kinds, minlength=len(EVENT_CODES) + 1)
    classes = np.searchsorted(LENGTHS, ends - starts, side="right")
    per_length = np.bincount(classes, minlength=len(LENGTHS) + 1)
    return {
        **{f"kind_{kind}": int(per_kind[code]) for kind, code in EVENT_CODES.items()},
        **{f"length_{least}": int(num) for least, num in zip((0, *LENGTHS), per_length, strict=True)},
    }


def shares(shapes: Iterable[Mapping[str, int]]) -> dict[str, float]:
    """Return the sum of the groups' shapes as shares: those of kinds sum to 1, those of lengths likewise."""
    total: dict[str, int] = {}
    for shape in shapes:
        for name, num in shape.items():
            total[name] = total.get(name, 0) + num
    of_all = {word: max(1, sum(num for name, num in total.items() if name.startswith(word))) for word in _WORDS}
    return {name: num / of_all[name[: name.index("_") + 1]] for name, num in total.items()}


def drift(now: Mapping[str, float], before: Mapping[str, float]) -> float | None:
    """Return the population stability index, the larger of kinds' and lengths'; None where nothing is known of before.

    The index is the sum of (share - share before) x ln(share / share before) over the classes (Siddiqi, Credit Risk
    Scorecards, 2006); below 0.1 is usually called stable, above 0.25 a shift.
    """
    found = []
    for word in _WORDS:
        names = [name for name in now if name.startswith(word) and name in before]
        pairs = [(max(now[name], SMOOTHING), max(before[name], SMOOTHING)) for name in names]
        if pairs:
            found.append(sum((share - earlier) * math.log(share / earlier) for share, earlier in pairs))
    return max(found) if found else None


_WORDS = ("kind_", "length_")

"""Popular items for users whom the model cannot fill a list for."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sparkrec.sequences import Ints
from sparkrec.tables import FIRST_ITEM


@dataclass(frozen=True)
class Step:
    """One step of the ladder: items, most popular first, and how often each occurred."""

    source: str
    item_idxs: Ints
    counts: Ints


def popular_step(source: str, counts: Ints, may_offer: npt.NDArray[np.bool_], how_many: int, least: int) -> Step:
    """Return the most popular items that may be offered and occurred at least `least` times, ties by index."""
    offered = np.flatnonzero(may_offer & (counts >= least))
    offered = offered[offered >= FIRST_ITEM]
    order = np.lexsort((offered, -counts[offered]))[:how_many]
    return Step(source, offered[order], counts[offered[order]])


def fill_up(
    taken: list[int], bought: frozenset[int], ladder: tuple[Step, ...], top_n: int
) -> list[tuple[int, float, str]]:
    """Return (item, score, source) for the places that are still free, down the ladder."""
    added: list[tuple[int, float, str]] = []
    used = set(taken) | bought
    for step in ladder:
        for item, count in zip(step.item_idxs.tolist(), step.counts.tolist(), strict=True):
            if len(taken) + len(added) >= top_n:
                return added
            if item not in used:
                used.add(item)
                added.append((item, float(count), step.source))
    return added

"""Laws that negatives are drawn from: how likely every item is, over the catalogue or within a category.

V vocabulary size   G groups (categories)   M draws
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sparkrec.sequences import NO_CATEGORY, Ints
from sparkrec.tables import FIRST_ITEM

Words = npt.NDArray[np.uint64]
NO_GROUP = NO_CATEGORY


@dataclass(frozen=True)
class Law:
    """Items group after group, ascending within each, and the weights summed up to and with each."""

    item_idxs: Ints
    cumulated: npt.NDArray[np.float64]
    group_starts: Ints
    """Where each group begins in `item_idxs`, and where the last one ends; (G + 1,)."""
    group_of_item: Ints
    """Group by item index, NO_GROUP for none; (V,)."""

    def draw(self, groups: Ints, words: Words) -> Ints:
        """Return an item per draw, within its group; (M,). In: 64 random bits per draw."""
        low, high = self.group_starts[groups], self.group_starts[groups + 1]
        below = np.where(low > 0, self.cumulated[low - 1], 0.0)
        uniform = (words >> np.uint64(11)).astype(np.float64) * 2.0**-53
        place = np.searchsorted(self.cumulated, below + uniform * (self.cumulated[high - 1] - below), side="right")
        return self.item_idxs[np.clip(place, low, high - 1)]


def law_of(counts: Ints, min_item_events: int, power: float, groups: Ints | None = None) -> Law:
    """Return the law: probability proportional to events to the `power` (0 is uniform) among items common enough.

    In   counts: events by item index. groups: group by item index, any number, NO_GROUP for none; without it all
         items are one group. Items without a group are never drawn.
    """
    item_idxs = known_items(counts, min_item_events)
    of_item = np.zeros(len(item_idxs), dtype=np.int64) if groups is None else groups[item_idxs]
    item_idxs, of_item = item_idxs[of_item != NO_GROUP], of_item[of_item != NO_GROUP]
    order = np.argsort(of_item, kind="stable")
    item_idxs = item_idxs[order]
    _, starts, dense = np.unique(of_item[order], return_index=True, return_inverse=True)
    group_of_item = np.full(len(counts), NO_GROUP, dtype=np.int64)
    group_of_item[item_idxs] = dense
    cumulated = np.cumsum(counts[item_idxs].astype(np.float64) ** power)
    return Law(item_idxs, cumulated, np.append(starts, len(item_idxs)).astype(np.int64), group_of_item)


def known_items(counts: Ints, min_item_events: int) -> Ints:
    """Return the indices of items that occur often enough to be learnt, ascending."""
    common = np.flatnonzero(counts >= max(min_item_events, 1))
    return common[common >= FIRST_ITEM]


def known_mask(counts: Ints, min_item_events: int) -> npt.NDArray[np.bool_]:
    """Return by item index whether the model may know the item; (V,)."""
    mask = np.zeros(len(counts), dtype=bool)
    mask[known_items(counts, min_item_events)] = True
    return mask

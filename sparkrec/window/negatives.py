"""Draw negatives: items that a user did not touch, from a stated law, the same wherever the rows lie.

N rows   L positions   K negatives per target   V vocabulary size
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sparkrec.sequences import Ints
from sparkrec.tables import FIRST_ITEM, PAD

Words = npt.NDArray[np.uint64]
MAX_TRIES = 16


@dataclass(frozen=True)
class Law:
    """The items that can be drawn, ascending, and the cumulated probability up to and with each."""

    item_idxs: Ints
    cumulated: npt.NDArray[np.float64]


def law_of(counts: Ints, min_item_events: int, power: float) -> Law:
    """Return the law: probability proportional to events to the `power` (0 is uniform) among items common enough."""
    item_idxs = known_items(counts, min_item_events)
    weights = counts[item_idxs].astype(np.float64) ** power
    return Law(item_idxs, np.cumsum(weights) / weights.sum())


def known_items(counts: Ints, min_item_events: int) -> Ints:
    """Return the indices of items that occur often enough to be learnt, ascending."""
    common = np.flatnonzero(counts >= max(min_item_events, 1))
    return common[common >= FIRST_ITEM]


def draw_negatives(
    window_ids: Ints,
    target_idxs_NL: Ints,
    users: Ints,
    own_keys: Ints,
    vocabulary_size: int,
    law: Law,
    k: int,
    seed: int,
) -> Ints:
    """Return (N, L x K) negatives, PAD where there is no target.

    `own_keys` holds user * V + item of everything a user touched, ascending; `users` is the user of each row. Every
    number comes from the window's id, its place in the window and the seed, so partitions and order change nothing.
    A draw that hits an own item is repeated; after MAX_TRIES the next item that is not the user's own is taken, and
    PAD where the user knows them all.
    """
    num_rows, length = target_idxs_NL.shape
    rows, positions = np.nonzero(target_idxs_NL != PAD)
    negatives = np.full((num_rows, length, k), PAD, dtype=np.int64)
    row = np.repeat(rows, k)
    place = np.repeat(positions, k) * k + np.tile(np.arange(k), len(rows))
    base = mix(window_ids.astype(np.uint64)[row] ^ mix(place.astype(np.uint64) + np.uint64(seed << 32)))
    drawn = np.full(len(row), PAD, dtype=np.int64)
    open_ = np.arange(len(row))
    for attempt in range(MAX_TRIES):
        choice = _choose(law, mix(base[open_] + np.uint64(attempt)))
        drawn[open_] = law.item_idxs[choice]
        open_ = open_[_is_own(own_keys, users[row[open_]] * vocabulary_size + drawn[open_])]
        if not len(open_):
            break
    for index in open_:
        drawn[index] = _next_other(law, own_keys, int(users[row[index]]) * vocabulary_size, int(drawn[index]))
    negatives[row, np.repeat(positions, k), np.tile(np.arange(k), len(rows))] = drawn
    return negatives.reshape(num_rows, length * k)


def mix(words: Words) -> Words:
    """Return 64-bit words without visible order: the finaliser of SplitMix64 (Steele, Lea, Flood 2014)."""
    with np.errstate(over="ignore"):
        words = words + np.uint64(0x9E3779B97F4A7C15)
        words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def _choose(law: Law, words: Words) -> Ints:
    uniform = (words >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return np.minimum(np.searchsorted(law.cumulated, uniform, side="right"), len(law.item_idxs) - 1)


def _is_own(own_keys: Ints, keys: Ints) -> npt.NDArray[np.bool_]:
    found = np.minimum(np.searchsorted(own_keys, keys), len(own_keys) - 1)
    is_own: npt.NDArray[np.bool_] = own_keys[found] == keys
    return is_own


def _next_other(law: Law, own_keys: Ints, user_key: int, drawn: int) -> int:
    start = int(np.searchsorted(law.item_idxs, drawn))
    in_turn = np.roll(law.item_idxs, -start)
    others = in_turn[~_is_own(own_keys, user_key + in_turn)]
    return int(others[0]) if len(others) else PAD

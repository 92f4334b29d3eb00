"""Draw negatives: items that a user did not touch, from stated laws, the same wherever the rows lie.

U users   N rows   L positions   K negatives per target   M draws (targets x K)   V vocabulary size
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sparkrec.sequences import Ints, is_in
from sparkrec.tables import PAD
from sparkrec.window.laws import NO_GROUP, Law, Words, law_of

MAX_TRIES = 16
STRATEGIES = ("uniform", "popularity", "category", "viewed")
CHOOSE = np.uint64(1 << 20)
"""Added to a draw's word to choose its strategy; tries count from 0, those of the fallback from MAX_TRIES."""


@dataclass(frozen=True)
class Laws:
    """Where negatives come from: a share for every strategy in use, and its law."""

    shares: tuple[tuple[str, float], ...]
    fallback: Law
    """By popularity; for draws that their own law cannot serve."""
    by_strategy: dict[str, Law]


@dataclass(frozen=True)
class Own:
    """What users touched, as sorted numbers user * V + item, so that one search finds any of them."""

    vocabulary_size: int
    keys: Ints
    """Everything a user touched or bought: never drawn, but for 'viewed'."""
    viewed: Ints
    """Known items viewed before the held-out ones and never bought."""


def laws_of(counts: Ints, categories: Ints, min_item_events: int, power: float, shares: Mapping[Any, float]) -> Laws:
    """Return the laws of a mixture. In: events and category (any number, NO_GROUP for none) by item index, (V,)."""
    popularity = law_of(counts, min_item_events, power)
    all_laws = {
        "uniform": lambda: law_of(counts, min_item_events, 0.0),
        "popularity": lambda: popularity,
        "category": lambda: law_of(counts, min_item_events, power, categories),
    }
    total = sum(shares.values())
    # In a fixed order, so that the order in which settings are written decides nothing.
    used = tuple((name, shares[name] / total) for name in STRATEGIES if shares.get(name, 0) > 0)
    return Laws(used, popularity, {name: all_laws[name]() for name, _ in used if name in all_laws})


def draw_negatives(
    window_ids: Ints, target_idxs_NL: Ints, users: Ints, own: Own, laws: Laws, k: int, seed: int
) -> Ints:
    """Return (N, L x K) negatives, PAD where there is no target.

    `users` is the user of each row. Every number comes from the window's id, its place in the window and the seed, so
    partitions and order change nothing. A draw that hits an own item is repeated; after MAX_TRIES it is made by
    popularity, and after as many again the next item that is not the user's own is taken; PAD where the user knows
    them all.
    """
    num_rows, length = target_idxs_NL.shape
    rows, positions = np.nonzero(target_idxs_NL != PAD)
    place = (positions[:, None] * k + np.arange(k)).astype(np.uint64)
    words = mix(window_ids.astype(np.uint64)[rows][:, None] ^ mix(place + np.uint64(seed << 32))).reshape(-1)
    targets, of_user = np.repeat(target_idxs_NL[rows, positions], k), np.repeat(users[rows], k)
    drawn = np.full(len(words), PAD, dtype=np.int64)
    open_ = np.arange(len(words))
    left = []
    for name, chosen in _by_strategy(laws, words, open_):
        if name == "viewed":
            left.append(_draw_viewed(drawn, chosen, words, targets, of_user, own))
        else:
            law = laws.by_strategy[name]
            groups = law.group_of_item[targets] if name == "category" else np.zeros(len(targets), dtype=np.int64)
            left.append(_draw(law, drawn, chosen, words, groups, of_user, own, 0))
    open_ = np.concatenate(left) if left else open_
    one_group = np.zeros(len(targets), dtype=np.int64)
    open_ = _draw(laws.fallback, drawn, open_, words, one_group, of_user, own, MAX_TRIES)
    for index in open_:
        drawn[index] = _next_other(laws.fallback, own, int(of_user[index]), int(drawn[index]))
    negatives = np.full((num_rows, length, k), PAD, dtype=np.int64)
    negatives[rows, positions] = drawn.reshape(-1, k)
    return negatives.reshape(num_rows, length * k)


def mix(words: Words) -> Words:
    """Return 64-bit words without visible order: the finaliser of SplitMix64 (Steele, Lea, Flood 2014)."""
    with np.errstate(over="ignore"):
        words = words + np.uint64(0x9E3779B97F4A7C15)
        words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def _by_strategy(laws: Laws, words: Words, draws: Ints) -> list[tuple[str, Ints]]:
    if len(laws.shares) == 1:
        return [(laws.shares[0][0], draws)]
    uniform = (mix(words + CHOOSE) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    ends = np.cumsum([share for _, share in laws.shares])[:-1]
    chosen = np.searchsorted(ends, uniform, side="right")
    return [(name, draws[chosen == number]) for number, (name, _) in enumerate(laws.shares)]


def _draw(
    law: Law, drawn: Ints, draws: Ints, words: Words, groups: Ints, of_user: Ints, own: Own, first_try: int
) -> Ints:
    """Fill `drawn` at `draws`; return those that still hold an own item, or have no group to be drawn from."""
    left = draws[groups[draws] == NO_GROUP]
    open_ = draws[groups[draws] != NO_GROUP]
    for attempt in range(first_try, first_try + MAX_TRIES):
        if not len(open_):
            break
        drawn[open_] = law.draw(groups[open_], mix(words[open_] + np.uint64(attempt)))
        open_ = open_[is_in(own.keys, of_user[open_] * own.vocabulary_size + drawn[open_])]
    return np.concatenate([left, open_])


def _draw_viewed(drawn: Ints, draws: Ints, words: Words, targets: Ints, of_user: Ints, own: Own) -> Ints:
    """Likewise, from what the user viewed and never bought, the target apart; every such item as likely as another."""
    starts = np.searchsorted(own.viewed, of_user[draws] * own.vocabulary_size)
    ends = np.searchsorted(own.viewed, (of_user[draws] + 1) * own.vocabulary_size)
    target = np.searchsorted(own.viewed, of_user[draws] * own.vocabulary_size + targets[draws])
    holds_target = is_in(own.viewed, of_user[draws] * own.vocabulary_size + targets[draws])
    sizes = ends - starts - holds_target
    can = sizes > 0
    place = starts + (mix(words[draws]) % np.maximum(sizes, 1).astype(np.uint64)).astype(np.int64)
    place += holds_target & (place >= target)
    drawn[draws[can]] = own.viewed[place[can]] % own.vocabulary_size
    return draws[~can]


def _next_other(law: Law, own: Own, user: int, drawn: int) -> int:
    start = int(np.searchsorted(law.item_idxs, drawn))
    in_turn = np.roll(law.item_idxs, -start)
    others = in_turn[~is_in(own.keys, user * own.vocabulary_size + in_turn)]
    return int(others[0]) if len(others) else PAD

"""Random items to rank among, as papers do that cannot afford all: the same for the same case and seed.

Sampled figures can put models in another order than the full ranking (Krichene, Rendle, KDD 2020): they stand beside
it.

C cases   M items per case
"""

from collections.abc import Sequence

import numpy as np

from sparkrec.sequences import SPAN, Ints, is_in
from sparkrec.tables import FIRST_ITEM, PAD

SPARE = 1.3
"""So many times M numbers are drawn at first; some fall twice, or on items of the user."""


def draw_items(seed_C: Sequence[Sequence[int]], own_keys: Ints, num: int, vocabulary_size: int) -> Ints:
    """Return (C, M): `num` different items, each as likely as any other that is not the case's own; where a catalogue
    is smaller, all that there are, and PAD after them.

    In   seed_C: numbers that are a case's alone. own_keys: see `Cases`.
    """
    own_keys = own_keys[own_keys % SPAN < vocabulary_size]
    num_items = vocabulary_size - FIRST_ITEM
    drawn_CM = np.full((len(seed_C), num), PAD)
    for case, numbers in enumerate(seed_C):
        first, end = np.searchsorted(own_keys, [case * SPAN, (case + 1) * SPAN])
        random = np.random.default_rng(numbers)
        drawn = _draw(random, own_keys[first:end] % SPAN, min(num, num_items - (end - first)), num_items)
        drawn_CM[case, : len(drawn)] = drawn
    return drawn_CM


def _draw(random: np.random.Generator, own: Ints, num: int, num_items: int) -> Ints:
    if SPARE * num + len(own) > num_items / 2:
        items = FIRST_ITEM + random.permutation(num_items)
        return items[~is_in(own, items)][:num]
    found = np.zeros(0, dtype=np.int64)
    while len(found) < num:
        items = np.concatenate([found, FIRST_ITEM + random.integers(0, num_items, int(SPARE * num))])
        items = items[np.sort(np.unique(items, return_index=True)[1])]
        found = items[~is_in(own, items)]
    return found[:num]

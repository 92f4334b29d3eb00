"""Popular items for places that the model cannot fill: of the last category, of the last days, of all time."""

from collections.abc import Collection, Iterator
from functools import cached_property

import numpy as np

from sparkrec.recommend.offer import Offer
from sparkrec.sequences import NO_CATEGORY, Ints, Pasts, look_up


class Ladder:
    """Items on offer in the order of popularity, step by step. Equal counts stand in the order of the items' index."""

    def __init__(self, offer: Offer, popular_days: int) -> None:
        self.offer = offer
        self.steps = ("popular_in_category", f"popular_{popular_days}_days", "popular_all_time")
        self.orders: dict[tuple[int, int, int], tuple[list[int], list[int]]] = {}

    @cached_property
    def recent(self) -> Ints:
        return _by_count(self.offer.recent_I, self.offer.item_idxs_I)

    @cached_property
    def all_time(self) -> Ints:
        return _by_count(self.offer.all_time_I, self.offer.item_idxs_I)

    def of_step(self, step: int, segment: int, category: int) -> tuple[list[int], list[int]]:
        """Return places and counts of a step as a segment is offered them; found once, for everybody walks there."""
        key = (step, segment, category if step == 0 else NO_CATEGORY)
        if key not in self.orders:
            order = self.all_time if step == 2 else self.recent
            if step == 0:
                order = order[(self.offer.categories_I[order] == category) & (category != NO_CATEGORY)]
            order = order[self.offer.refusal_SI[segment].numpy()[order] == 0]
            count_I = self.offer.all_time_I if step == 2 else self.offer.recent_I
            self.orders[key] = order.tolist(), count_I[order].tolist()
        return self.orders[key]

    def fill_up(
        self, taken: list[int], left_out: Collection[int], segment: int, category: int, top_n: int
    ) -> list[tuple[int, float, int]]:
        """Return (place, events counted, number of the step) for the places of a list that are free.

        In   taken: places that the list has. left_out: places the user is not offered. segment: its row in the offer.
             category: that of the newest item in the user's past.
        """
        added: list[tuple[int, float, int]] = []
        used = {*taken, *left_out}
        cap_I = self.offer.cap_SI[segment].numpy()
        in_list: dict[int, int] = {}
        for place in taken:
            of_place = int(self.offer.categories_I[place])
            in_list[of_place] = in_list.get(of_place, 0) + 1
        for step, place, count in self._walk(segment, category):
            if len(taken) + len(added) >= top_n:
                break
            of_place = int(self.offer.categories_I[place])
            if place in used or in_list.get(of_place, 0) >= cap_I[place]:
                continue
            used.add(place)
            in_list[of_place] = in_list.get(of_place, 0) + 1
            added.append((place, count, step))
        return added

    def _walk(self, segment: int, category: int) -> Iterator[tuple[int, int, float]]:
        for step in range(len(self.steps)):
            for place, count in zip(*self.of_step(step, segment, category), strict=True):
                yield step, place, float(count)


def last_category(pasts: Pasts, category_V: Ints) -> Ints:
    """Return the category of every user's newest item that has one, NO_CATEGORY for none; (U,)."""
    category = look_up(category_V, pasts.item_idxs, NO_CATEGORY)
    places = np.flatnonzero(category != NO_CATEGORY)
    last = np.searchsorted(places, pasts.ends) - 1
    if not len(places):
        return np.full(len(pasts.ends), NO_CATEGORY, dtype=np.int64)
    newest = places[np.maximum(last, 0)]
    is_theirs = (last >= 0) & (newest >= pasts.starts)
    return np.where(is_theirs, category[newest], NO_CATEGORY)


def _by_count(count_I: Ints, item_idxs_I: Ints) -> Ints:
    """Return the places of items that occurred, most frequent first."""
    occurred = np.flatnonzero(count_I > 0)
    return occurred[np.lexsort((item_idxs_I[occurred], -count_I[occurred]))]

"""Which parts of the users and of what they looked for have figures of their own.

All rules look at the user before what is to be found, but for those on the thing itself.

V vocabulary size
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from sparkrec.sequences import Ints
from sparkrec.tables import EVENT_CODES

RULES = {
    "all": "all users and targets",
    "repeat": "targets that the user had touched before",
    "novel": "targets that the user had not touched before",
    "users new": "users with at most 5 events",
    "users light": "users with 6 to 20 events",
    "users heavy": "users with more than 20 events",
    "interest shift": "users whose 5 newest events share no category with those before (10 or more of known category)",
    "interest steady": "users whose 5 newest events do",
    "items head": "targets among the most popular items, which hold half of all events",
    "items middle": "targets between head and tail",
    "items tail": "targets among the least popular items, which hold a fifth of all events",
    **{f"event {kind}": f"targets by a {kind} event" for kind in EVENT_CODES if kind != "search"},
}
"""What every slice holds; slices `category …` hold the targets of one of the largest categories."""
HEAD, TAIL = 0.5, 0.8
NAMES = tuple(RULES)
NUMBER = {name: number for number, name in enumerate(NAMES)}
NONE = -1


@dataclass(frozen=True)
class Slices:
    """What slices need to know of all items, (V,)."""

    popularity_class_V: Ints
    """Number of `items head`, `items middle` or `items tail`."""
    category_V: Ints
    """Number among `categories`, NONE for others."""
    categories: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return (*NAMES, *(f"category {name}" for name in self.categories))


def without_categories(counts_V: Ints) -> Slices:
    """Return the slices of a catalogue but for those of categories. In: events by item index."""
    return Slices(popularity_classes(counts_V), np.full(len(counts_V), NONE))


def slices_of(counts_V: Ints, items: DataFrame, num_categories: int) -> Slices:
    """Return the slices of a catalogue; a name and a number per item pass through the driver.

    In   counts_V: events by item index. items: item_idx, category.
    """
    known = items.where(F.col("category").isNotNull()).select("item_idx", "category").toArrow()
    told = pl.DataFrame(pl.from_arrow(known)).with_columns(num=counts_V[known.column("item_idx").to_numpy()])
    by_size = told.group_by("category").agg(pl.col("num").sum()).sort("num", "category", descending=[True, False])
    largest = by_size.head(num_categories)["category"].to_list()
    category_V = np.full(len(counts_V), NONE)
    for number, name in enumerate(largest):
        category_V[told.filter(category=name)["item_idx"].to_numpy()] = number
    return Slices(popularity_classes(counts_V), category_V, tuple(largest))


def popularity_classes(counts_V: Ints) -> Ints:
    """Return the number of the slice of every item by its popularity, ties by index; if any has events, then those
    without are in the tail."""
    order = np.argsort(-counts_V, kind="stable")
    before = np.cumsum(counts_V[order]) - counts_V[order]
    total = max(1, int(counts_V.sum()))
    numbers = np.array([NUMBER["items head"], NUMBER["items middle"], NUMBER["items tail"]])
    classes_V = np.empty(len(counts_V), dtype=np.int64)
    classes_V[order] = numbers[np.searchsorted([HEAD * total, TAIL * total], before, side="right")]
    return classes_V


def of_kinds(codes: Ints) -> Ints:
    """Return the number of the slice of every event code, NONE for a search."""
    numbers = np.full(max(EVENT_CODES.values()) + 1, NONE)
    for kind, code in EVENT_CODES.items():
        numbers[code] = NUMBER.get(f"event {kind}", NONE)
    return numbers[codes]

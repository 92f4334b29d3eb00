"""Which parts of the users and of what they looked for have figures of their own.

All rules look at the user before what is to be found, but for those on the thing itself.

C cases   P things to be found   Q pairs of such a thing and a slice   V vocabulary size   L positions
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from sparkrec.evaluate.cases import Cases
from sparkrec.sequences import Ints, look_up
from sparkrec.tables import EVENT_CODES, FIRST_ITEM

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
NEW, LIGHT = 5, 20
HEAD, TAIL = 0.5, 0.8
NEWEST, WITH_CATEGORY = 5, 10
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
    """Return the number of the slice of every item by its popularity; ties by index, never-seen items in the tail."""
    order = np.argsort(-counts_V, kind="stable")
    before = np.cumsum(counts_V[order]) - counts_V[order]
    total = max(1, int(counts_V.sum()))
    numbers = np.array([NUMBER["items head"], NUMBER["items middle"], NUMBER["items tail"]])
    classes_V = np.empty(len(counts_V), dtype=np.int64)
    classes_V[order] = numbers[np.searchsorted([HEAD * total, TAIL * total], before, side="right")]
    return classes_V


def memberships(cases: Cases, columns: Mapping[str, Ints], slices: Slices) -> tuple[Ints, Ints]:
    """Return (Q,) things to be found and (Q,) numbers of slices, by the former.

    In   columns: num_events_B of rows, and category_BL of their positions (1 unknown, 0 padding).
    """
    case_P, item_P = cases.sought.case_P.numpy(), cases.sought.item_P.numpy()
    row_P = cases.row_C[case_P]
    shift_B = _interest(columns["category_BL"])
    category_P = look_up(slices.category_V, item_P, NONE)
    found_PS = np.stack(
        [
            np.full(len(item_P), NUMBER["all"]),
            np.where(cases.is_repeat_P > 0, NUMBER["repeat"], NUMBER["novel"]),
            _by_activity(columns["num_events_B"])[row_P],
            shift_B[row_P],
            look_up(slices.popularity_class_V, item_P, NUMBER["items tail"]),
            of_kinds(cases.type_P),
            np.where(category_P == NONE, NONE, len(NAMES) + category_P),
        ],
        axis=1,
    )
    pair, column = np.nonzero(found_PS != NONE)
    return pair, found_PS[pair, column]


def of_kinds(codes: Ints) -> Ints:
    """Return the number of the slice of every event code, NONE for a search."""
    numbers = np.full(max(EVENT_CODES.values()) + 1, NONE)
    for kind, code in EVENT_CODES.items():
        numbers[code] = NUMBER.get(f"event {kind}", NONE)
    return numbers[codes]


def _by_activity(num_events_B: Ints) -> Ints:
    numbers = np.array([NUMBER["users new"], NUMBER["users light"], NUMBER["users heavy"]])
    return numbers[np.searchsorted([NEW, LIGHT], num_events_B, side="left")]


def _interest(category_BL: Ints) -> Ints:
    """Return `interest shift` or `interest steady`, NONE where too few events have a known category; (B,)."""
    found_B = np.full(len(category_BL), NONE)
    for row, category_L in enumerate(category_BL):
        known = category_L[category_L >= FIRST_ITEM]
        if len(known) >= WITH_CATEGORY:
            is_new = np.isin(known[-NEWEST:], known[:-NEWEST])
            found_B[row] = NUMBER["interest steady"] if is_new.any() else NUMBER["interest shift"]
    return found_B

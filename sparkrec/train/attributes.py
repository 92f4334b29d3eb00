"""What the lake knows of items beside who touched them: category, brand, and what the catalogue adds.

V vocabulary size   A attributes of an item, at most   M different attributes
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from sparkrec.sequences import Ints, counted_within, flatten
from sparkrec.tables import PAD

MAX_ATTRIBUTES = 16
"""Attributes of an item that count; of more, those that fewest items share."""


@dataclass(frozen=True)
class Attributes:
    """Every item's attributes as numbers from 1 on, (V, A), padded; and the key each number stands for, (1 + M,)."""

    numbers_VA: Ints
    keys: Ints


def attributes_of(items: DataFrame, is_known: npt.NDArray[np.bool_], wanted: bool) -> Attributes:
    """Return the attributes of a lake's items, none unless they are wanted. A few numbers per item pass through the
    driver.

    In   items: see ITEMS. is_known: which items a model may know, (V,).
    """
    if not wanted:
        return number(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), is_known)
    # An earlier version's table has no such column until prepare has run.
    listed = F.col("attributes") if "attributes" in items.columns else F.lit(None)
    told = F.concat(
        F.array(F.concat(F.lit("category="), "category"), F.concat(F.lit("brand="), "brand")),
        F.transform(F.coalesce(listed, F.array().cast("array<string>")), lambda name: F.concat(F.lit("="), name)),
    )
    names = F.array_distinct(F.array_compact(told))
    keys = F.transform(names, lambda name: F.xxhash64(name))  # noqa: PLW0108 - Spark looks at its arguments
    rows = items.select("item_idx", keys.alias("keys")).where(F.size("keys") > 0).toArrow().combine_chunks()
    key, starts, ends = flatten(rows.column("keys").combine_chunks())
    item = np.repeat(rows.column("item_idx").to_numpy().astype(np.int64), ends - starts)
    return number(item, key, is_known)


def number(item: Ints, key: Ints, is_known: npt.NDArray[np.bool_]) -> Attributes:
    """Return the attributes from pairs of an item and a key. What a single known item has tells it from no other."""
    kept = (item < len(is_known)) & is_known[np.minimum(item, len(is_known) - 1)]
    item, key = item[kept], key[kept]
    keys, place, num_items = np.unique(key, return_inverse=True, return_counts=True)
    shared = num_items[place] > 1
    item, place = item[shared], place[shared]
    order = np.lexsort((place, num_items[place], item))
    item, place = item[order], place[order]
    within = counted_within(np.bincount(item, minlength=len(is_known)))
    few = within < MAX_ATTRIBUTES
    item, place, within = item[few], place[few], within[few]
    used, number_of = np.unique(place, return_inverse=True)
    numbers_VA = np.full((len(is_known), int(within.max(initial=-1)) + 1), PAD, dtype=np.int64)
    numbers_VA[item, within] = 1 + number_of
    return Attributes(numbers_VA, np.concatenate([[0], keys[used]]).astype(np.int64))

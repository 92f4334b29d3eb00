"""What lists are like, whatever they are worth: novelty, popularity and diversity; coverage and Gini over all of them.

U users of a batch   R places in lists   V vocabulary size
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from sparkrec.evaluate.gains import Floats
from sparkrec.evaluate.lists import adder, places_of
from sparkrec.evaluate.slices import NUMBER, popularity_classes
from sparkrec.evaluate.sums import SUMS, Figure, Sums
from sparkrec.sequences import NO_CATEGORY, SPAN, Ints

PROPERTIES = ("novelty", "popularity_share", "diversity")
"""Means over users, of the first k places of each list:

- novelty: bits that an item's share of all events carries, -log2(share), on average (Vargas, Castells, RecSys 2011)
- popularity_share: how much of the list is among the most popular items that hold half of all events
- diversity: share of the pairs of items that are not of one category; an item without one is like no other
"""


@dataclass(frozen=True)
class Traits:
    """What is known of items by their index, (V,)."""

    bits_V: Floats
    is_head_V: Ints
    category_V: Ints
    """A number from 0, NO_CATEGORY for none."""


def traits_of(counts_V: Ints, category_V: Ints) -> Traits:
    """Return the traits of a catalogue; an item without events is as surprising as one with a single one.

    In   counts_V: events. category_V: a hash of the name, see `categories_by_index`.
    """
    bits_V: Floats = np.log2(max(1, int(counts_V.sum()))) - np.log2(np.maximum(counts_V, 1))
    is_head_V = (popularity_classes(counts_V) == NUMBER["items head"]).astype(np.int64)
    _, number_V = np.unique(category_V, return_inverse=True)
    return Traits(bits_V, is_head_V, np.where(category_V == NO_CATEGORY, NO_CATEGORY, number_V))


def sums_of_properties(
    users: DataFrame, traits: Traits, model_version: str, top_k: Sequence[int], protocol: str
) -> DataFrame:
    """Return rows of SUMS. In: see `by_user`."""
    figures = [Figure(model_version, "", name, k) for name, k in _columns(top_k)]

    def add(batch: pa.RecordBatch, sums: Sums) -> None:
        everybody = np.arange(batch.num_rows)
        sums.add(everybody, np.zeros_like(everybody), properties_of(*places_of(batch), batch.num_rows, traits, top_k))

    return users.mapInArrow(adder(add, lambda: Sums(figures, ["all"]), protocol), SUMS)


def properties_of(
    user_R: Ints, item_R: Ints, rank_R: Ints, num_users: int, traits: Traits, top_k: Sequence[int]
) -> Floats:
    """Return (U, J): every property at every k but diversity of a single place."""
    columns: dict[str, list[Floats]] = {name: [] for name in PROPERTIES}
    for k in top_k:
        user, item = user_R[rank_R <= k], item_R[rank_R <= k]
        num_U = np.bincount(user, minlength=num_users)
        columns["novelty"].append(np.bincount(user, traits.bits_V[item], num_users) / np.maximum(num_U, 1))
        columns["popularity_share"].append(np.bincount(user, traits.is_head_V[item], num_users) / np.maximum(num_U, 1))
        has_category = traits.category_V[item] != NO_CATEGORY
        groups, sizes = np.unique(user[has_category] * SPAN + traits.category_V[item[has_category]], return_counts=True)
        alike_U = np.bincount(groups // SPAN, sizes * (sizes - 1) / 2, num_users)
        pairs_U = num_U * (num_U - 1) / 2
        columns["diversity"].append(np.where(pairs_U > 0, 1 - alike_U / np.maximum(pairs_U, 1), 0.0))
    return np.stack([columns[name][list(top_k).index(k)] for name, k in _columns(top_k)], axis=1)


def _columns(top_k: Sequence[int]) -> list[tuple[str, int]]:
    return [(name, k) for name in PROPERTIES for k in top_k if (name, k) != ("diversity", 1)]


def over_all_lists(lists: DataFrame, num_items: int, top_k: Sequence[int]) -> dict[tuple[str, int], float]:
    """Return coverage and Gini at every k: the share of the items on offer that is in some list, and how unevenly the
    places are shared among them (0 evenly, 1 all by one; Gini, 1912). A number per item passes through the driver.

    In   lists: user_id, rank, item_idx. num_items: on offer; at least those that are in a list.
    """
    counts = [F.count_if(F.col("rank") <= k).alias(f"at_{k}") for k in top_k]
    told = lists.groupBy("item_idx").agg(*counts).toArrow()
    found: dict[tuple[str, int], float] = {}
    for k in top_k:
        shown = np.sort(told.column(f"at_{k}").to_numpy())
        shown = shown[shown > 0]
        size = max(num_items, len(shown), 1)
        found["coverage", k] = len(shown) / size
        found["gini", k] = gini(np.concatenate([np.zeros(size - len(shown)), shown]))
    return found


def gini(values: Floats) -> float:
    """Return the Gini coefficient of ascending numbers, 0 for none."""
    total, size = values.sum(), len(values)
    if not total:
        return 0.0
    return float((2 * np.arange(1, size + 1) - size - 1) @ values / (size * total))


def rows_over_all(
    found: Mapping[tuple[str, int], float], model_version: str, protocol: str, num_users: int
) -> list[dict[str, object]]:
    """Return rows of figures that have no interval, for they are of all lists together."""
    return [
        {
            "split": "test", "protocol": protocol, "slice": "all", "model_version": model_version, "against": "",
            "metric": metric, "k": k, "value": value, "low": None, "high": None, "num_users": num_users,
        }
        for (metric, k), value in found.items()
    ]  # fmt: skip

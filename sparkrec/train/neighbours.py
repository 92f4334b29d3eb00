"""Which items follow or precede which in users' pasts: what the second opinion is made of (see `models.neighbours`).

After item-to-item nearest neighbours (Sarwar et al., WWW 2001), with weights that fall with the distance in the past
and with the neighbour's popularity. An item that users come back to is a neighbour of its own, or what others turned to
would push it down where most of what users want is what they had before. How often says nothing of other items, so it
is left out of what evens these out.

V vocabulary size   K neighbours of an item
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pyspark.sql import Column, DataFrame
from pyspark.sql import Window as W
from pyspark.sql import functions as F

from sparkrec.sequences import Ints, counted_within, flatten
from sparkrec.tables import FIRST_ITEM, PAD

REACH = 10
"""Events between which two items can be neighbours."""
FORWARD, BACKWARD, FADES = 1000, 400, 0.9
"""What it counts that an item follows directly, or precedes; and how much of that with every event in between. Whole
numbers, whose sums are the same in any order."""
POPULARITY_POWER = 0.2
MOST_PAIRS = 200_000_000
"""Of a training set with more pairs a share of the windows is taken, chosen by their id."""


@dataclass(frozen=True)
class NeighbourLists:
    next_VK: npt.NDArray[np.int32]
    weight_VK: npt.NDArray[np.float32]


def neighbours_of(windows: DataFrame, num_targets: int, vocabulary_size: int, how_many: int) -> NeighbourLists:
    """Return the K neighbours of every item. K numbers per item pass through the driver.

    In   windows: those of a date; held-out ones are not looked at. num_targets: how many targets the others hold.
    """
    next_VK = np.full((vocabulary_size, how_many), PAD, dtype=np.int32)
    weight_VK = np.zeros((vocabulary_size, how_many), dtype=np.float32)
    if how_many:
        rows = (
            _closest(_pairs(_sample(windows.where("split = 'train'"), num_targets)), how_many)
            .toArrow()
            .combine_chunks()
        )
        neighbour, starts, ends = flatten(rows.column("neighbours").combine_chunks())
        closeness = rows.column("closeness").combine_chunks().flatten().to_numpy(zero_copy_only=False)
        item = np.repeat(rows.column("item").to_numpy().astype(np.int64), ends - starts)
        place = counted_within(ends - starts)
        next_VK[item, place] = neighbour
        weight_VK[item, place] = _evened_out(item, neighbour, closeness)
    return NeighbourLists(next_VK, weight_VK)


def _sample(windows: DataFrame, num_targets: int) -> DataFrame:
    share = min(1.0, MOST_PAIRS / max(num_targets * REACH, 1))
    return windows.where(F.pmod(F.col("window_id"), F.lit(1_000_000)) < F.lit(int(share * 1_000_000)))


def _pairs(windows: DataFrame) -> DataFrame:
    """Return item, other, weight: how often and how closely `other` followed or preceded `item`, a row per pair."""
    past = F.concat("item_idxs", F.array(F.element_at("target_idxs", -1)))
    items = windows.select(F.filter(past, lambda item: item >= FIRST_ITEM).alias("items"))
    met = items.where(F.size("items") > 1).select(F.inline(F.flatten(_met())))
    ahead = met.groupBy("item", "other").agg(F.sum("weight").alias("weight"))
    both = ahead.select("item", "other", F.col("weight") * FORWARD).union(
        ahead.select("other", "item", F.col("weight") * BACKWARD)
    )
    return both.toDF("item", "other", "weight").groupBy("item", "other").agg(F.sum("weight").alias("weight"))


def _met() -> Column:
    """Return, per distance, the pairs of items of a past that lie so far apart, the earlier one first."""
    num = F.size("items")

    def at(distance: Column) -> Column:
        weight = F.round(F.lit(1000.0) * F.pow(F.lit(FADES), distance - 1)).cast("bigint")
        return F.transform(
            F.slice("items", F.lit(1), num - distance),
            lambda item, place: F.struct(
                item.alias("item"),
                F.element_at("items", place + distance + 1).alias("other"),
                weight.alias("weight"),
            ),
        )

    return F.transform(F.sequence(F.lit(1), F.least(F.lit(REACH), num - 1)), at)


def _closest(pairs: DataFrame, how_many: int) -> DataFrame:
    """Return item, neighbours, closeness: lists, the closest first."""
    of_others = F.when(F.col("item") != F.col("other"), F.col("weight"))
    # An item that nobody but itself leads to is measured by itself.
    popular = pairs.groupBy("other").agg(F.coalesce(F.sum(of_others), F.sum("weight")).alias("popularity"))
    close = F.col("weight") / F.pow("popularity", F.lit(POPULARITY_POWER))
    weighed = pairs.join(popular, "other", how="inner").withColumn("closeness", close)  # one row per other
    place = F.row_number().over(W.partitionBy("item").orderBy(F.desc("closeness"), "other"))
    best = weighed.withColumn("place", place).where(F.col("place") <= how_many)
    in_order = F.array_sort(F.collect_list(F.struct("place", "other", "closeness"))).alias("best")
    listed = best.groupBy("item").agg(in_order)
    return listed.select("item", F.col("best.other").alias("neighbours"), F.col("best.closeness").alias("closeness"))


def _evened_out(item: Ints, other: Ints, closeness: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return closeness over the root of its sum for the item: one with many events speaks louder, but not so much."""
    of_others = np.bincount(item, weights=np.where(item == other, 0.0, closeness))
    sums = np.where(of_others > 0, of_others, np.bincount(item, weights=closeness))
    evened: npt.NDArray[np.float64] = closeness / np.sqrt(sums)[item]
    return evened

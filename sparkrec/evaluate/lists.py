"""Whole lists, as people get them, one row per user, beside what the users did after the lists were made."""

from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from sparkrec.evaluate.sums import Sums
from sparkrec.sequences import Ints, flatten
from sparkrec.tables import EVENT_CODES

LIST_COLUMNS = ("user_id", "item_idxs", "ranks")
"""A row is a user: the items of the list, and their ranks from 1, both best first."""


def by_user(lists: DataFrame) -> DataFrame:
    """Return LIST_COLUMNS. In: user_id, rank, item_idx. A row is a place in a list."""
    of_user = lists.groupBy("user_id").agg(F.sort_array(F.collect_list(F.struct("rank", "item_idx"))).alias("places"))
    return of_user.select("user_id", F.col("places.item_idx").alias("item_idxs"), F.col("places.rank").alias("ranks"))


def with_deeds(lists: DataFrame, deeds: DataFrame, histories: DataFrame) -> DataFrame:
    """Return LIST_COLUMNS, done_idxs, done_types and past_idxs (touched before the first deed, repeatedly maybe) of the
    users who took something up; the same deed counts once, and taking an item out of the cart is none.

    In   lists: see `by_user`. deeds: user_id, item_idx, event_type, event_ts. histories: user_id, item_idxs, event_tss;
         users who are in neither of the others are not looked at.
    """
    codes = F.create_map(*(F.lit(value) for pair in EVENT_CODES.items() for value in pair))
    coded = deeds.where(F.col("event_type") != "remove").select(
        "user_id", "item_idx", codes[F.col("event_type")].alias("code"), "event_ts"
    )
    done = F.sort_array(F.collect_set(F.struct("item_idx", "code"))).alias("done")
    of_user = coded.groupBy("user_id").agg(done, F.unix_micros(F.min("event_ts")).alias("first_us"))
    both = lists.join(of_user, "user_id", how="inner")  # one row per user_id on both sides
    pasts = histories.select("user_id", F.col("item_idxs").alias("touched"), "event_tss")
    told = both.join(pasts, "user_id", how="left")  # one row per user_id
    is_before = F.filter(F.col("touched"), lambda _, place: F.col("event_tss")[place] < F.col("first_us"))
    return told.select(
        *LIST_COLUMNS,
        F.col("done.item_idx").alias("done_idxs"),
        F.col("done.code").alias("done_types"),
        F.coalesce(is_before, F.array().cast("array<int>")).alias("past_idxs"),
    )


def places_of(batch: pa.RecordBatch) -> tuple[Ints, Ints, Ints]:
    """Return number of the user, item and rank of every place of the batch's lists."""
    item_R, starts, ends = flatten(batch.column("item_idxs"))
    return np.repeat(np.arange(batch.num_rows), ends - starts), item_R, flatten(batch.column("ranks"))[0]


def adder(
    add: Callable[[pa.RecordBatch, Sums], None], empty: Callable[[], Sums], protocol: str
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Return the Arrow function from users to SUMS of a task, by what adds a batch to sums."""

    def add_up(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        sums = empty()
        for batch in batches:
            if batch.num_rows:
                add(batch, sums)
        yield from sums.rows("test", protocol)

    return add_up

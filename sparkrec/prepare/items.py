"""The vocabulary from all events, in Spark SQL: slow and plain. It heals a lake, and judges the fast one."""

from pyspark.sql import Column, DataFrame
from pyspark.sql import Window as W
from pyspark.sql import functions as F

from sparkrec.contract import conform
from sparkrec.prepare.news import MAX_VISITORS, TOLD
from sparkrec.tables import FIRST_ITEM, ITEMS

SEEN = ("first_seen", "last_seen")


def count_item_days(events: DataFrame) -> DataFrame:
    """In: events. Out: a row is one item, one kind of event, one day, with how often."""
    on_items = events.where(F.col("item_id").isNotNull())
    return on_items.groupBy("item_id", "event_type", "event_date").agg(F.count("*").alias("num_events"))


def describe_items(events: DataFrame) -> DataFrame:
    """In: all events. Out: a row is one item with its counts, its days, its users, and what was told of it last."""
    on_items = events.where(F.col("item_id").isNotNull())
    described = on_items.groupBy("item_id").agg(
        F.min("event_date").alias("first_seen"),
        F.max("event_date").alias("last_seen"),
        F.count("*").alias("num_events"),
        *_latest({name: F.unix_micros("event_ts") for name in TOLD}),
    )
    return described.join(_sample_users(on_items), "item_id", how="inner")  # one row per item_id on both sides


def rebuild_items(items: DataFrame, described: DataFrame) -> DataFrame:
    """Return the vocabulary with new items at its end, sorted by id, and everything known of all of them.

    In   items: as they are. described: items and what all events tell of them.
    An item whose events are gone again keeps its index and its row: indices are never dealt a second time.
    """
    as_it_was = ("item_id", "item_idx", "available", "attributes")
    known = items.select(*as_it_was, *(F.col(name).alias(f"old_{name}") for name in SEEN))
    largest = known.agg(F.max("item_idx").alias("item_idx")).first()
    first_free = FIRST_ITEM if largest is None or largest["item_idx"] is None else int(largest["item_idx"]) + 1
    new = described.select("item_id").join(known, "item_id", how="left_anti")
    indexed = known.unionByName(number_by_id(new, first_free), allowMissingColumns=True)
    rebuilt = indexed.join(described, "item_id", how="left")  # one row per item_id on both sides
    num_events = F.coalesce("num_events", F.lit(0))
    return conform(
        rebuilt.select(
            "item_id",
            "item_idx",
            *(F.coalesce(name, f"old_{name}").alias(name) for name in SEEN),
            num_events.alias("num_events"),
            F.least(_num_users(F.col("user_sample")), num_events).alias("num_users"),
            *TOLD,
            F.coalesce("available", F.lit(True)).alias("available"),
            *(f"{name}_us" for name in TOLD),
            F.coalesce("user_sample", F.array().cast("array<bigint>")).alias("user_sample"),
            "attributes",
        ),
        ITEMS,
    )


def number_by_id(new: DataFrame, first_free: int) -> DataFrame:
    """Number the rows by item_id from `first_free` on: sorted ranges in parallel, then one offset per range.

    Out  item_id, item_idx int. Which ranges Spark picks does not show in the numbers.
    """
    ranged = new.repartitionByRange("item_id").select("item_id", F.spark_partition_id().alias("part")).persist()
    sizes = {row["part"]: row["count"] for row in ranged.groupBy("part").count().collect()}  # a row per range
    offsets: list[Column] = []
    offset = first_free
    for part in sorted(sizes):
        offsets += [F.lit(part), F.lit(offset)]
        offset += sizes[part]
    if not offsets:
        return ranged.select("item_id", F.lit(0).alias("item_idx"))
    within = F.row_number().over(W.partitionBy("part").orderBy("item_id")) - 1
    numbered = ranged.withColumn("within", within)
    return numbered.select(
        "item_id",
        (F.element_at(F.create_map(*offsets), F.col("part")) + F.col("within")).cast("int").alias("item_idx"),
    )


def _latest(told_at: dict[str, Column]) -> list[Column]:
    # Ties in time are broken by the value itself, so that the order of rows decides nothing.
    columns = []
    for name, when in told_at.items():
        newest = F.max(F.when(F.col(name).isNotNull(), F.struct(when.alias("at"), F.col(name).alias("value"))))
        columns += [newest["value"].alias(name), newest["at"].alias(f"{name}_us")]
    return columns


def _sample_users(on_items: DataFrame) -> DataFrame:
    """Return user_sample of every item: the smallest hashes of its users."""
    visits = on_items.select("item_id", F.xxhash64("user_id").alias("user_key")).distinct()
    # Spark drops what lies beyond the limit before it brings an item's users together.
    place = F.row_number().over(W.partitionBy("item_id").orderBy("user_key"))
    smallest = visits.withColumn("place", place).where(F.col("place") <= MAX_VISITORS)
    return smallest.groupBy("item_id").agg(F.sort_array(F.collect_list("user_key")).alias("user_sample"))


def _num_users(user_sample: Column) -> Column:
    # The k-th smallest of n hashes, spread evenly over (0, 1), lies near k / n.
    largest = F.element_at(user_sample, -1) / F.lit(2.0**64) + 0.5
    estimate = F.round(F.lit(MAX_VISITORS - 1) / largest).cast("long")
    size = F.coalesce(F.size(user_sample), F.lit(0)).cast("long")
    return F.when(size < MAX_VISITORS, size).otherwise(estimate)

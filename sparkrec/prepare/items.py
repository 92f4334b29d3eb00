"""The vocabulary: every item ever seen, its index given once, and what is known of it."""

from pyspark.sql import Column, DataFrame
from pyspark.sql import Window as W
from pyspark.sql import functions as F

from sparkrec.tables import FIRST_ITEM, ITEMS, conform


def count_item_days(events: DataFrame) -> DataFrame:
    """In: events. Out: a row is one item, one kind of event, one day, with how often."""
    on_items = events.where(F.col("item_id").isNotNull())
    return on_items.groupBy("item_id", "event_type", "event_date").agg(F.count("*").alias("num_events"))


def describe_items(events: DataFrame) -> DataFrame:
    """In: events. Out: a row is one item with its counts, its days, and the latest known category, brand, price."""
    on_items = events.where(F.col("item_id").isNotNull())
    return on_items.groupBy("item_id").agg(
        F.min("event_date").alias("first_seen"),
        F.max("event_date").alias("last_seen"),
        F.count("*").alias("num_events"),
        F.countDistinct("user_id").alias("num_users"),
        *(_latest(name).alias(name) for name in ("category", "brand", "price")),
    )


def extend_items(items: DataFrame, described: DataFrame) -> DataFrame:
    """Return the vocabulary with new items at its end, sorted by id, and everything known of all of them.

    An item whose events are gone again keeps its index and its row: indices are never dealt a second time.
    """
    known = items.select(
        "item_id",
        "item_idx",
        "available",
        F.col("first_seen").alias("old_first_seen"),
        F.col("last_seen").alias("old_last_seen"),
    )
    largest = known.agg(F.max("item_idx").alias("item_idx")).first()
    first_free = FIRST_ITEM if largest is None or largest["item_idx"] is None else int(largest["item_idx"]) + 1
    new = described.select("item_id").join(known, "item_id", how="left_anti")
    indexed = known.unionByName(number_by_id(new, first_free), allowMissingColumns=True)
    extended = indexed.join(described, "item_id", how="left").select(  # one row per item_id on both sides
        "item_id",
        "item_idx",
        F.coalesce("first_seen", "old_first_seen").alias("first_seen"),
        F.coalesce("last_seen", "old_last_seen").alias("last_seen"),
        F.coalesce("num_events", F.lit(0)).alias("num_events"),
        F.coalesce("num_users", F.lit(0)).alias("num_users"),
        "category",
        "brand",
        "price",
        F.coalesce("available", F.lit(True)).alias("available"),
    )
    return conform(extended, ITEMS)


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


def _latest(name: str) -> Column:
    # Ties in time are broken by the value itself, so that the order of rows decides nothing.
    known = F.when(F.col(name).isNotNull(), F.struct("event_ts", name))
    return F.max(known)[name]

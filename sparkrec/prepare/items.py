"""The vocabulary: every item ever seen, its index given once, and what is known of it."""

from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import Window as W
from pyspark.sql import functions as F

from sparkrec.prepare.news import TOLD
from sparkrec.tables import FIRST_ITEM, ITEMS, conform

SKETCH_SIZE = 12
"""log2 of the registers of a users' sketch: exact to some hundreds of users, then within 1.6 % (one sigma)."""
COUNTS = ("first_seen", "last_seen", "num_events", "users_sketch")
DESCRIBED = (*COUNTS, *TOLD, *(f"{name}_us" for name in TOLD))


def count_item_days(events: DataFrame) -> DataFrame:
    """In: events. Out: a row is one item, one kind of event, one day, with how often."""
    on_items = events.where(F.col("item_id").isNotNull())
    return on_items.groupBy("item_id", "event_type", "event_date").agg(F.count("*").alias("num_events"))


def describe_items(events: DataFrame) -> DataFrame:
    """In: all events. Out: a row is one item with its counts, its days, its users, and what was told of it last."""
    on_items = events.where(F.col("item_id").isNotNull())
    return on_items.groupBy("item_id").agg(
        F.min("event_date").alias("first_seen"),
        F.max("event_date").alias("last_seen"),
        F.count("*").alias("num_events"),
        F.hll_sketch_agg(F.xxhash64("user_id"), F.lit(SKETCH_SIZE)).alias("users_sketch"),
        *_latest({name: F.unix_micros("event_ts") for name in TOLD}),
    )


def describe_touched(
    items: DataFrame, days_before: DataFrame, days_now: DataFrame, news: DataFrame, visitors: DataFrame
) -> DataFrame:
    """Return what is known of the items that a night touched, from what was known and what the night brought.

    In   items as they are. days_before, days_now: item_days of the days that changed. news, visitors: see `write_news`.
    Out  as describe_items, for touched items only.
    """
    signed = days_now.select("item_id", "event_date", "num_events").unionByName(
        days_before.select("item_id", F.lit(None).cast("date").alias("event_date"), -F.col("num_events")).toDF(
            "item_id", "event_date", "num_events"
        )
    )
    counted = signed.groupBy("item_id").agg(
        F.min("event_date").alias("first_seen"),
        F.max("event_date").alias("last_seen"),
        F.sum("num_events").alias("num_events"),
    )
    told = news.groupBy("item_id").agg(*_latest({name: F.col(f"{name}_us") for name in TOLD}))
    sketched = visitors.groupBy("item_id").agg(F.hll_sketch_agg("user_key", F.lit(SKETCH_SIZE)).alias("users_sketch"))
    night = counted.join(told, "item_id", how="left").join(
        sketched, "item_id", how="left"
    )  # one row per item_id in each
    both = night.alias("night").join(items.alias("old"), "item_id", how="left")
    return both.select(
        "item_id",
        F.least("night.first_seen", "old.first_seen").alias("first_seen"),
        F.greatest("night.last_seen", "old.last_seen").alias("last_seen"),
        (F.col("night.num_events") + F.coalesce("old.num_events", F.lit(0))).alias("num_events"),
        F.coalesce(
            F.hll_union("night.users_sketch", "old.users_sketch"), "night.users_sketch", "old.users_sketch"
        ).alias("users_sketch"),
        *(column for name in TOLD for column in _newer(name)),
    )


def extend_items(
    items: DataFrame, described: DataFrame, catalogue: DataFrame | None, *, is_all: bool, catalogue_is_complete: bool
) -> DataFrame:
    """Return the vocabulary with new items at its end, sorted by id, and everything known of all of them.

    In   described: items and what is known of them now. is_all: of all events, so that an item it lacks has none any
         more. catalogue: item_id, category, brand, price, available; None where there is none.
    An item whose events are gone again keeps its index and its row: indices are never dealt a second time.
    """
    largest = items.agg(F.max("item_idx").alias("item_idx")).first()
    first_free = FIRST_ITEM if largest is None or largest["item_idx"] is None else int(largest["item_idx"]) + 1
    seen = [described.select("item_id"), *([] if catalogue is None else [catalogue.select("item_id")])]
    new = reduce(DataFrame.union, seen).distinct().join(items, "item_id", how="left_anti")
    indexed = items.unionByName(number_by_id(new, first_free), allowMissingColumns=True)
    listed = catalogue if catalogue is not None else new.sparkSession.createDataFrame([], CATALOGUE)
    extended = (
        indexed.alias("old")
        .join(described.withColumn("is_described", F.lit(True)).alias("now"), "item_id", how="left")
        .join(listed.withColumn("is_listed", F.lit(True)).alias("listed"), "item_id", how="left")
    )  # one row per item_id in each
    is_described = F.coalesce(F.col("is_described"), F.lit(False))
    none_left = F.lit(0).cast("long") if is_all else F.col("old.num_events")
    known = {name: F.when(is_described, F.col(f"now.{name}")).otherwise(F.col(f"old.{name}")) for name in DESCRIBED}
    known["num_events"] = F.coalesce(F.when(is_described, F.col("now.num_events")).otherwise(none_left), F.lit(0))
    for name in ("first_seen", "last_seen"):
        known[name] = F.coalesce(known[name], F.col(f"old.{name}"))
    is_offered = F.lit(False) if catalogue is not None and catalogue_is_complete else F.col("old.available")
    users = F.coalesce(F.hll_sketch_estimate(known["users_sketch"]), F.lit(0))
    chosen = {
        **known,
        **{name: F.coalesce(F.col(f"listed.{name}").cast(kind), known[name]) for name, kind in _LISTED.items()},
        "num_users": F.least(users, known["num_events"]),
        "available": F.when(F.col("is_listed"), F.coalesce(F.col("listed.available"), F.lit(True))).otherwise(
            F.coalesce(is_offered, F.lit(True))
        ),
        "item_id": F.col("item_id"),
        "item_idx": F.col("old.item_idx"),
    }
    return conform(extended.select(*(column.alias(name) for name, column in chosen.items())), ITEMS)


CATALOGUE = "item_id string, category string, brand string, price double, available boolean"
_LISTED = {"category": "string", "brand": "string", "price": "double"}


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


def _newer(name: str) -> list[Column]:
    at, now, before = f"{name}_us", F.col(f"night.{name}"), F.col(f"old.{name}")
    night_at, old_at = F.col(f"night.{at}"), F.col(f"old.{at}")
    is_newer = (old_at.isNull() | (night_at > old_at) | ((night_at == old_at) & (now > before))) & night_at.isNotNull()
    return [
        F.when(is_newer, now).otherwise(before).alias(name),
        F.when(is_newer, night_at).otherwise(old_at).alias(at),
    ]

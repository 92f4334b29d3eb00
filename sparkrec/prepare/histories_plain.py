"""Histories of all users from all events, in Spark SQL: slow and plain. It heals a lake, and judges the fast one."""

from datetime import date

from pyspark.sql import Column, DataFrame
from pyspark.sql import Window as W
from pyspark.sql import functions as F

from sparkrec.contract import conform
from sparkrec.tables import EVENT_CODES, HISTORIES, UNKNOWN


def build_histories(
    events: DataFrame, items: DataFrame, as_of: date, max_history: int, max_purchased: int, user_buckets: int
) -> DataFrame:
    """Return the histories of all users.

    In   events up to the run of `as_of`, all of them; items for their indices. A row is one event, one item.
    Out  a row is one user, arrays oldest first, at most `max_history` events and `max_purchased` items bought.
    """
    newest_first = W.partitionBy("user_id").orderBy(F.desc("event_ts"), F.desc("item_id"), F.desc("event_type"))
    up_to_here = newest_first.rowsBetween(W.unboundedPreceding, W.currentRow)
    is_purchase = F.col("event_type") == "purchase"
    is_boundary = F.lag("session_id").over(newest_first) != F.col("session_id")

    indexed = events.join(items.select("item_id", "item_idx"), "item_id", how="left")  # one row per item_id
    placed = indexed.withColumns(
        {
            "age": F.row_number().over(newest_first),
            "purchase_age": F.sum(is_purchase.cast("int")).over(up_to_here),
            "is_boundary": F.coalesce(is_boundary.cast("int"), F.lit(0)),
        }
    ).withColumn("sessions_since", F.sum("is_boundary").over(up_to_here))

    event = F.struct(
        # The explicit position: what collect_list sees first is not promised.
        (-F.col("age")).alias("position"),
        F.coalesce("item_idx", F.lit(UNKNOWN)).alias("item_idx"),
        _event_code().alias("event_type"),
        F.unix_micros("event_ts").alias("event_ts"),
        F.col("sessions_since"),
        F.col("price").cast("float").alias("price"),
    )
    purchase = F.struct(F.col("purchase_age"), F.col("item_idx"))
    grouped = placed.groupBy("user_id").agg(
        F.sort_array(F.collect_list(F.when(F.col("age") <= max_history, event))).alias("past"),
        F.sort_array(F.collect_list(F.when(is_purchase, purchase))).alias("purchases"),
        F.min_by("session_id", "age").alias("session_id"),
        F.min("event_ts").alias("first_event_ts"),
        F.max("event_ts").alias("last_event_ts"),
        F.count("*").alias("num_events"),
    )
    oldest_session = F.col("past")[0]["sessions_since"]
    histories = grouped.select(
        "user_id",
        F.lit(as_of).alias("as_of"),
        F.col("past.item_idx").alias("item_idxs"),
        F.col("past.event_type").alias("event_types"),
        F.col("past.event_ts").alias("event_tss"),
        F.transform("past.sessions_since", lambda since: (oldest_session - since + 1).cast("int")).alias("session_nos"),
        F.col("past.price").alias("prices"),
        F.slice(F.array_distinct("purchases.item_idx"), 1, max_purchased).alias("purchased"),
        "first_event_ts",
        "last_event_ts",
        "num_events",
        "session_id",
        F.pmod(F.xxhash64("user_id"), F.lit(user_buckets)).cast("int").alias("user_bucket"),
    )
    return conform(histories, HISTORIES)


def _event_code() -> Column:
    pairs = [F.lit(value) for pair in EVENT_CODES.items() for value in pair]
    return F.element_at(F.create_map(*pairs), F.col("event_type")).cast("tinyint")

"""The same work in plain Spark SQL, window functions and one table after the other.

spark-submit benchmarks/peers/spark_sql_prepare.py RAW OUT
"""

import sys
import time

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import Window as W
from pyspark.sql import functions as F

KEY = ["user_id", "event_ts", "item_id", "event_type"]
WORDS = ("view", "cart", "purchase", "search")


def text(name: str) -> Column:
    return F.nullif(F.trim(name), F.lit(""))


def clean(raw: DataFrame) -> DataFrame:
    typed = raw.select(
        *(text(name).alias(name) for name in ("user_id", "item_id", "category", "brand", "query")),
        "event_type",
        F.col("event_time").try_cast("timestamp").alias("event_ts"),
        "price",
    )
    stands = (
        F.col("user_id").isNotNull()
        & F.col("event_ts").isNotNull()
        & F.col("event_type").isin(*WORDS)
        & (F.col("item_id").isNotNull() | (F.col("event_type") == "search"))
        & (F.col("price").isNull() | F.col("price").between(0, 1e12))
    )
    return typed.where(stands).withColumn("event_date", F.to_date("event_ts"))


def without_bots(events: DataFrame) -> DataFrame:
    busy = events.groupBy("user_id", "event_date").count().where("count > 1000")
    return events.join(busy, ["user_id", "event_date"], how="left_anti")


def sessionize(events: DataFrame) -> DataFrame:
    in_order = W.partitionBy("user_id").orderBy("event_ts", "item_id", "event_type")
    second = F.unix_micros("event_ts")
    silence = second - F.lag(second).over(in_order)
    own = F.concat_ws("@", "user_id", F.unix_seconds("event_ts").cast("string"))
    opened = events.withColumn("opened", F.when(silence.isNull() | (silence > 1_800_000_000), own))
    up_to_here = in_order.rowsBetween(W.unboundedPreceding, W.currentRow)
    return opened.withColumn("session_id", F.last("opened", ignorenulls=True).over(up_to_here)).drop("opened")


def main(raw: str, out: str) -> None:
    spark = SparkSession.builder.appName("plain").config("spark.sql.shuffle.partitions", "8").getOrCreate()
    spark.conf.set("spark.sql.session.timeZone", "UTC")
    spark.range(1).count()
    started = time.monotonic()
    events = sessionize(without_bots(clean(spark.read.parquet(raw)).dropDuplicates(KEY)))
    events.write.format("delta").partitionBy("event_date").save(f"{out}/events")
    stored = spark.read.format("delta").load(f"{out}/events")

    def latest(name: str) -> Column:
        return F.max_by(name, F.when(F.col(name).isNotNull(), F.col("event_ts"))).alias(name)

    described = (
        stored.where("item_id IS NOT NULL")
        .groupBy("item_id")
        .agg(
            F.min("event_date").alias("first_seen"),
            F.max("event_date").alias("last_seen"),
            F.count("*").alias("num_events"),
            *(latest(name) for name in ("category", "brand", "price")),
        )
    )
    numbered = described.withColumn("item_idx", F.row_number().over(W.orderBy("item_id")) + 1)
    numbered.write.format("delta").save(f"{out}/items")

    indexed = stored.join(
        spark.read.format("delta").load(f"{out}/items").select("item_id", "item_idx"), "item_id", how="left"
    )
    newest_first = W.partitionBy("user_id").orderBy(F.desc("event_ts"), F.desc("item_id"), F.desc("event_type"))
    newest = indexed.withColumn("age", F.row_number().over(newest_first)).where("age <= 50")
    event = F.struct(
        (-F.col("age")).alias("place"),
        F.coalesce("item_idx", F.lit(1)).alias("item_idx"),
        "event_type",
        F.unix_micros("event_ts").alias("event_ts"),
        F.col("price").cast("float").alias("price"),
    )
    grouped = newest.groupBy("user_id").agg(F.sort_array(F.collect_list(event)).alias("past"))
    grouped.select(
        "user_id",
        F.col("past.item_idx").alias("item_idxs"),
        F.col("past.event_type").alias("event_types"),
        F.col("past.event_ts").alias("event_tss"),
        F.col("past.price").alias("prices"),
    ).write.format("delta").save(f"{out}/histories")
    seconds = time.monotonic() - started
    sessions = stored.select("session_id").distinct().count()
    print(f"spark sql: {stored.count():,} events, {sessions:,} sessions; done in {seconds:.1f} s")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])

"""Parse raw rows and say of each whether it stands, and if not, why."""

from datetime import date

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from sparkrec.config import Source
from sparkrec.config.source import Time

MICROS = {"seconds": 1_000_000, "millis": 1_000, "micros": 1}
LATER = "later than the run"
"""Verdict of rows of a later day: skipped and counted, for they belong to a later night."""


def judge(clicks: DataFrame, source: Source, run_date: date) -> DataFrame:
    """Type every raw row and give it a `verdict`.

    In   raw rows of `read_clicks`.
    Out  user_id, item_id, event_type, event_ts (timestamp), price (double), category, brand, query, event_date (in
         the source's zone), raw, source_file, verdict: null for a row that stands, LATER, or the reason to refuse it.
    """
    typed = clicks.select(
        "user_id",
        "item_id",
        _event_word(source).alias("event_type"),
        _instant(source.time).alias("event_ts"),
        F.col("price").try_cast("double").alias("price"),
        (F.col("price").isNotNull() & F.col("price").try_cast("double").isNull()).alias("is_price_text"),
        "category",
        "brand",
        "query",
        "raw",
        "source_file",
        "is_malformed",
    )
    dated = typed.withColumn("event_date", F.to_date(F.from_utc_timestamp("event_ts", source.time.zone)))
    return dated.withColumn("verdict", _verdict(source, run_date)).drop("is_malformed", "is_price_text")


def too_busy(judged: DataFrame, max_user_day_events: int) -> DataFrame:
    """Return the bots: user_id, event_date of users with more standing rows on a day than people make."""
    standing = judged.where(F.col("verdict").isNull())
    counted = standing.groupBy("user_id", "event_date").agg(F.count("*").alias("num_rows"))
    return counted.where(F.col("num_rows") > max_user_day_events).select("user_id", "event_date")


def refuse_bots(judged: DataFrame, bots: DataFrame) -> DataFrame:
    """Give the verdict `bot` to every standing row of a bot's day."""
    marked = judged.join(
        F.broadcast(bots.withColumn("is_bot", F.lit(True))), ["user_id", "event_date"], how="left"
    )  # one row per user and day among bots
    is_bot = F.col("verdict").isNull() & F.col("is_bot").isNotNull()
    return marked.withColumn("verdict", F.when(is_bot, "bot").otherwise(F.col("verdict"))).drop("is_bot")


def _verdict(source: Source, run_date: date) -> Column:
    day = F.col("event_date")
    is_search = F.col("event_type") == "search"
    reasons: list[tuple[Column, str]] = [
        (F.col("is_malformed"), "malformed"),
        (F.col("event_ts").isNull(), "bad time"),
        (day > F.lit(run_date), LATER),
        (F.col("user_id").isNull(), "null user"),
        (F.col("event_type").isNull(), "unknown event type"),
        (F.col("item_id").isNull() & ~is_search, "null item"),
        (F.col("is_price_text"), "bad price"),
        (F.col("price").isNotNull() & ~F.col("price").between(0, 1e12), "negative price"),
    ]
    if source.period_start:
        reasons.append((day < F.lit(source.period_start), "before the period"))
    verdict = F.lit(None).cast("string")
    for condition, reason in reversed(reasons):
        verdict = F.when(condition, reason).otherwise(verdict)
    return verdict


def _event_word(source: Source) -> Column:
    pairs = [F.lit(text) for pair in source.event_types.items() for text in pair]
    return F.try_element_at(F.create_map(*pairs), F.col("event_type"))


def _instant(time: Time) -> Column:
    text = F.col("event_ts")
    if time.unit == "iso":
        names_zone = text.rlike(r"(Z|[A-Z]{3,4}|[+-]\d{2}:?\d{2})$")
        zoned = F.when(names_zone, text).otherwise(F.concat_ws(" ", text, F.lit(time.zone)))
        # Spark reads a time of day alone as today's, which would let the clock decide about rows.
        return F.when(text.rlike(r"^\d{4}-\d{1,2}-\d{1,2}"), zoned.try_cast("timestamp"))
    # Not before 1970 and not after 2286: beyond them lie units mistaken for one another.
    number = text.try_cast("decimal(20,0)") * MICROS[time.unit]
    in_range = number.between(0, 10_000_000_000 * 1_000_000)
    return F.when(in_range, F.timestamp_micros(number.cast("long")))

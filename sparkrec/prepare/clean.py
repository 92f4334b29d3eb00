"""Parse raw rows and say of each whether it can stand by itself, and if not, why."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import DataType, DateType, IntegralType, NumericType, TimestampNTZType, TimestampType

from sparkrec.config import Source
from sparkrec.config.source import EventByValue, Time

MICROS = {"seconds": 1_000_000, "millis": 1_000, "micros": 1}
LATER = "later than the run"
"""Verdict of rows of a later day: skipped and counted, for they belong to a later night."""
ENDS_IN_ZONE = r"(Z|[A-Z]{3,4}|[A-Za-z]+/[A-Za-z_/]+|[+-]\d{1,2}(:?\d{2}){0,2})$"
"""Z, CET, Europe/Berlin, +01, GMT+1, +0100, +01:00."""
KINDS = ("cart", "favourite", "purchase", "remove", "search", "view")
"""Event words in the order of their letters: a row carries the place, and sorts as the word would."""


def judge(clicks: DataFrame, source: Source, run_date: date, asked_at: datetime) -> DataFrame:
    """Type every raw row and give it a `verdict`.

    In   raw rows of `read_clicks`. asked_at: when the run was started; nobody can have clicked a day after that.
    Out  user_id, item_id, kind (place in KINDS), event_us (microseconds since 1970), price (double), category, brand,
         query, verdict: null for a row that stands, LATER, or the reason to refuse it; raw where there is a verdict;
         source_file, user_key (64-bit hash of the user).
    """
    typed = clicks.select(
        "user_id",
        "item_id",
        _kind(source).alias("kind"),
        event_micros(clicks.schema["event_ts"].dataType, source.time).alias("event_us"),
        *_price(clicks.schema["price"].dataType),
        "category",
        "brand",
        "query",
        "raw",
        "source_file",
        "is_malformed",
    )
    judged = typed.withColumn("verdict", _verdict(source, run_date, asked_at))
    is_refused = F.col("verdict").isNotNull()
    return judged.select(
        "user_id",
        "item_id",
        "kind",
        "event_us",
        "price",
        "category",
        "brand",
        "query",
        "verdict",
        F.when(is_refused, F.col("raw")).alias("raw"),
        "source_file",
        # Rows without a user would otherwise all meet in one task. (A second use of `raw` here would have Spark write
        # the JSON of every row, not only of the refused ones: twice the time of this step.)
        F.when(F.col("user_id").isNull(), F.xxhash64("item_id", "event_us", "category"))
        .otherwise(F.xxhash64("user_id"))
        .alias("user_key"),
    )


def start_of(day: date, zone: str) -> int:
    """Return the instant at which a day begins in a zone, in microseconds since 1970."""
    moment = datetime.combine(day, time(), tzinfo=ZoneInfo(zone)).astimezone(UTC)
    return int((moment - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(microseconds=1))


def event_micros(kind: DataType, time: Time) -> Column:
    """Return the instant of `event_ts`, whatever its type; null where it is none.

    Not before 1970 and not after 2286: beyond them lie units mistaken for one another.
    """
    micros = _micros(kind, time)
    return F.when(micros.between(0, 10_000_000_000 * 1_000_000), micros)


def _micros(kind: DataType, time: Time) -> Column:
    when = F.col("event_ts")
    if isinstance(kind, TimestampType):
        return F.unix_micros(when)
    if isinstance(kind, (TimestampNTZType, DateType)):
        return F.unix_micros(F.to_utc_timestamp(when.cast("timestamp"), time.zone))
    if time.unit == "iso":
        return F.unix_micros(_zoned(when.cast("string"), time.zone))
    # Parts of a second count: rounded away, they would move a row over midnight, or make two clicks one.
    number = when.cast("long") if isinstance(kind, IntegralType) else when.cast("string").try_cast("decimal(26,6)")
    in_range = number.between(0, 10_000_000_000 * (1_000_000 // MICROS[time.unit]))
    return F.when(in_range, (number * MICROS[time.unit]).cast("long"))


def _zoned(text: Column, zone: str) -> Column:
    # Spark reads a time of day alone as today's, which would let the clock decide about rows.
    starts_with_a_year = F.substring(text, 5, 1) == "-"
    # Looking a zone up takes longer than all the rest of reading a time, and the session's zone is UTC already.
    short = F.when(text.endswith(" UTC"), F.substring(text, F.lit(1), F.length(text) - 4)).otherwise(text)
    instant = F.when(starts_with_a_year, short.try_cast("timestamp"))  # in UTC where the text names no zone
    if zone == "UTC":
        return instant
    names_zone = text.rlike(ENDS_IN_ZONE) & (F.length(text) > 10)
    return F.when(names_zone, instant).otherwise(F.to_utc_timestamp(instant, zone))


def _verdict(source: Source, run_date: date, asked_at: datetime) -> Column:
    zone = source.time.zone
    end_of_run = start_of(run_date + timedelta(days=1), zone)
    tomorrow = int((asked_at + timedelta(days=1)).timestamp() * 1_000_000)
    when = F.col("event_us")
    reasons: list[tuple[Column, str]] = [
        (F.col("is_malformed"), "malformed"),
        (when.isNull(), "bad time"),
        (when >= F.lit(max(tomorrow, end_of_run)), "future time"),
        (when >= F.lit(end_of_run), LATER),
        (F.col("user_id").isNull(), "null user"),
        (F.col("kind").isNull(), "unknown event type"),
        (F.col("item_id").isNull() & (F.col("kind") != KINDS.index("search")), "null item"),
        (F.col("is_price_text"), "bad price"),
        (F.col("price").isNotNull() & ~F.col("price").between(0, 1e12), "negative price"),
    ]
    if source.period_start:
        reasons.append((when < F.lit(start_of(source.period_start, zone)), "before the period"))
    verdict = F.lit(None).cast("string")
    for condition, reason in reversed(reasons):
        verdict = F.when(condition, reason).otherwise(verdict)
    return verdict


def _price(kind: DataType) -> tuple[Column, Column]:
    price = F.col("price")
    if isinstance(kind, NumericType):
        return price.cast("double").alias("price"), F.lit(False).alias("is_price_text")
    number = price.try_cast("double")
    return number.alias("price"), (price.isNotNull() & number.isNull()).alias("is_price_text")


def _kind(source: Source) -> Column:
    if source.event_always:
        return F.lit(KINDS.index(source.event_always)).cast("tinyint")
    if source.event_by_value:
        return _kind_by_value(source.event_by_value)
    kind = F.lit(None).cast("tinyint")
    for text, word in source.event_types.items():
        kind = F.when(F.col("event_type") == text, F.lit(KINDS.index(word)).cast("tinyint")).otherwise(kind)
    return kind


def _kind_by_value(rule: EventByValue) -> Column:
    value = F.col("event_value").try_cast("double")
    then, otherwise = (F.lit(KINDS.index(word)).cast("tinyint") for word in (rule.then, rule.otherwise))
    return F.when(value >= rule.at_least, then).when(value < rule.at_least, otherwise)

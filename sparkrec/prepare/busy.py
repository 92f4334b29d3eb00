"""Users that are no people: bots by the day, bursts by the minute, and ids that too many share."""

import polars as pl

BUSY = ("bot", "burst")
AFTERWARDS = "of a bot's day"
"""Refusal of a row that broke no rule in its own run: an earlier run had refused its user's day."""
OVER = "over the user cap"


def refuse_busy(
    rows: pl.DataFrame, known_busy: pl.DataFrame, max_day_events: int, max_minute_events: int
) -> pl.DataFrame:
    """Add `refusal` to all rows of a user's day on which a rule was broken: 'bot', 'burst', AFTERWARDS; else null.

    In   rows: user_id, event_us, event_date; of every user and day in it, all rows that ever came. known_busy: user_id,
         event_date, refusal of days refused before, of which the lake has no rows any more.
    """
    per_day = rows.group_by("user_id", "event_date").agg(pl.len().alias("num_events"))
    bots = per_day.filter(pl.col("num_events") > max_day_events)
    # A minute cannot hold more events than its day does.
    many = per_day.filter(pl.col("num_events") > max_minute_events).select("user_id", "event_date")
    per_minute = (
        rows.join(many, on=["user_id", "event_date"], how="semi")
        .group_by("user_id", "event_date", pl.col("event_us") // 60_000_000)
        .agg(pl.len().alias("num_events"))
    )
    bursts = per_minute.filter(pl.col("num_events") > max_minute_events).select("user_id", "event_date").unique()
    broke_a_rule = pl.col("refusal").is_in(BUSY)
    known = known_busy.select("user_id", "event_date", "refusal")
    marks = pl.concat(
        [
            bots.select("user_id", "event_date", pl.lit("bot").alias("refusal")),
            known.filter(broke_a_rule),
            bursts.with_columns(pl.lit("burst").alias("refusal")),
            known.filter(~broke_a_rule),
        ]
    ).unique(["user_id", "event_date"], keep="first", maintain_order=True)
    if not len(marks):
        return rows.with_columns(pl.lit(None, dtype=pl.String).alias("refusal"))
    return rows.join(marks, on=["user_id", "event_date"], how="left", maintain_order="left")


def refuse_over_cap(rows: pl.DataFrame, counted_before: pl.DataFrame, max_user_events: int) -> pl.DataFrame:
    """Fill `refusal` of a user's events beyond the cap, in time order.

    In   rows: sorted by time within each user, with `refusal`. counted_before: user_id, num_before: the user's events
         that lie before these rows.
    """
    busiest = rows.group_by("user_id").len().join(counted_before, on="user_id", how="left")
    over = busiest.filter(pl.col("len") + pl.col("num_before").fill_null(0) > max_user_events)
    if not len(over):
        return rows
    stands = pl.col("refusal").is_null()
    place = stands.cast(pl.Int64).cum_sum().over("user_id") + pl.col("num_before").fill_null(0)
    return (
        rows.join(over.select("user_id", "num_before"), on="user_id", how="left", maintain_order="left")
        .with_columns(
            pl.when(stands & pl.col("user_id").is_in(over["user_id"].implode()) & (place > max_user_events))
            .then(pl.lit(OVER))
            .otherwise(pl.col("refusal"))
            .alias("refusal")
        )
        .drop("num_before")
    )

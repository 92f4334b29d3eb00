"""What a night adds to histories, before items have their indices: staged by splits, read by histories.py."""

from datetime import date

import polars as pl

from sparkrec.prepare.clean import KINDS, start_of
from sparkrec.prepare.plan import USER_ORDER, NightPlan, codes
from sparkrec.prepare.staged import stage_file

ALWAYS = -(2**62)
"""A `from_us` before all time: the whole history is told anew."""
COLUMNS = ("user_id", "user_key", "event_us", "item_id", "kind", "price", "session_id", "opens")


def write_steps(
    plan: NightPlan,
    split: int,
    bucket: int,
    kept: pl.DataFrame,
    older: pl.DataFrame,
    again: pl.DataFrame,
    touched: pl.DataFrame,
    counted: pl.DataFrame,
    tails: pl.DataFrame,
) -> None:
    """Write people, steps and bought of a split.

    In   kept: events of touched users from `from_date` on, in user order. again: users who lost an event, whose
         histories are told anew; older: all their events before `from_date`. counted: user_id, num_before, events that
         lie before `kept`.
    people: a row is one touched user: user_id, from_us (what the old history holds from then on is replaced),
    first_us, last_us, session_id (of the newest event), num_events.
    steps: a row is one event, the newest `max_history` of a user, oldest first.
    bought: a row is one item a user bought since `from_us`, newest first.
    """
    if not len(touched):
        return
    events = kept.select(COLUMNS)
    if len(older):
        events = _told_anew(events, older)
    people = _people(plan, events, kept, again, touched, counted, tails)
    newest = events.group_by("user_id", maintain_order=True).tail(plan.settings.max_history)
    steps = newest.select(
        "user_id",
        "item_id",
        codes(newest["kind"]).alias("event_type"),
        "event_us",
        pl.col("price").cast(pl.Float32),
        "opens",
    )
    purchases = events.filter(pl.col("kind") == KINDS.index("purchase")).select("user_id", "item_id").reverse()
    bought = (
        purchases.unique(maintain_order=True, keep="first")
        .group_by("user_id", maintain_order=True)
        .head(plan.settings.max_purchased)
    )
    for name, rows in {"people": people, "steps": steps, "bought": bought}.items():
        stage_file(rows, plan.folder(f"{name}/{bucket}") / f"{split}.parquet")


def _told_anew(events: pl.DataFrame, older: pl.DataFrame) -> pl.DataFrame:
    again = older.select("user_id").unique()
    before = older.with_columns(pl.col("old_session").alias("session_id"), pl.lit(False).alias("opens")).select(COLUMNS)
    theirs = pl.concat([before, events.join(again, on="user_id", how="semi")]).sort(USER_ORDER)
    changes = (pl.col("session_id") != pl.col("session_id").shift()).fill_null(True)
    others = events.join(again, on="user_id", how="anti", maintain_order="left")
    return pl.concat([others, theirs.with_columns(changes.alias("opens"))])


def _people(
    plan: NightPlan,
    events: pl.DataFrame,
    kept: pl.DataFrame,
    again: pl.DataFrame,
    touched: pl.DataFrame,
    counted: pl.DataFrame,
    tails: pl.DataFrame,
) -> pl.DataFrame:
    seen = events.group_by("user_id").agg(
        pl.col("event_us").first().alias("first_here"),
        pl.col("event_us").last().alias("last_us"),
        pl.col("session_id").last(),
    )
    new_counts = kept.group_by("user_id").agg(pl.len().alias("num_kept"))
    marked = again.with_columns(pl.lit(True).alias("is_again"))
    starts = {day: start_of(day, plan.zone) for day in touched["from_date"].unique() if isinstance(day, date)}
    together = touched
    for part in (seen, new_counts, marked, counted, tails.select("user_id", "first_us")):  # one row per user_id in each
        together = together.join(part, on="user_id", how="left")
    is_again = pl.col("is_again").fill_null(False)
    from_us = pl.col("from_date").replace_strict(starts, return_dtype=pl.Int64)
    return together.select(
        "user_id",
        pl.when(is_again).then(pl.lit(ALWAYS)).otherwise(from_us).alias("from_us"),
        pl.when(is_again).then("first_here").otherwise(pl.min_horizontal("first_us", "first_here")).alias("first_us"),
        "last_us",
        "session_id",
        (pl.col("num_before").fill_null(0) + pl.col("num_kept").fill_null(0)).cast(pl.Int64).alias("num_events"),
    )

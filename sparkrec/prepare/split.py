"""One task of a night: all raw rows of some users come in, and what they change in the lake goes out as files."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from pyspark import TaskContext

from sparkrec.parquet import open_file
from sparkrec.prepare.busy import refuse_busy, refuse_over_cap
from sparkrec.prepare.outcome import Outcome, write_outcome
from sparkrec.prepare.plan import CONTENT, KEY, KNOWN, OWN, ROWS, TAKEN_IN, USER_ORDER, NightPlan, local_day
from sparkrec.prepare.sessions import sessionize
from sparkrec.prepare.stored import read_stored, read_tails
from sparkrec.tasks import as_batch

JUDGED = {
    "user_id": "string",
    "item_id": "string",
    "kind": "tinyint",
    "event_us": "bigint",
    "price": "double",
    "category": "string",
    "brand": "string",
    "query": "string",
    "verdict": "string",
    "raw": "string",
    "source": "bigint",
    "user_key": "bigint",
}
"""What Spark hands over, see `judge`."""


def take_in_split(plan: NightPlan) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Return the function that Spark runs on each of `plan.num_splits` partitions; a user is in one of them only."""

    def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        context = TaskContext.get()
        split = context.partitionId() if context else 0
        taken = list(batches)
        if taken:
            rows = pl.DataFrame(pl.from_arrow(pa.Table.from_batches(taken)))
            taken.clear()
            yield as_batch(settle(plan, split, rows))

    return work


def settle(plan: NightPlan, split: int, judged: pl.DataFrame) -> list[dict[str, Any]]:
    """Decide about every row of a split, write what comes of it, and report how many rows went where.

    In   judged: rows of JUDGED, in any order; all rows of every user in it.
    """
    bucket = split % plan.settings.user_buckets
    wrong = judged.filter(pl.col("verdict").is_null() & (pl.col("user_key") % plan.num_splits != split))
    if len(wrong):
        raise RuntimeError(f"split {split} of {plan.num_splits} got users of another; this is a fault of sparkrec")
    refused = judged.filter(pl.col("verdict").is_not_null() & (pl.col("verdict") != OWN))
    own = _as_rows(judged.filter(pl.col("verdict") == OWN), plan)
    standing = in_user_order(_as_rows(judged.filter(pl.col("verdict").is_null()), plan))
    is_again = is_repeated(standing)
    repeated, standing = standing.filter(is_again), standing.filter(~is_again)

    past = _look_back(plan, bucket, standing, own)
    ahead_of_lake, known, too_late = _beside_the_lake(standing, past, plan.oldest)
    touched = _touched(ahead_of_lake, own)
    region, carried, counted = _region(past, touched, ahead_of_lake)
    together = in_user_order(pl.concat([region, ahead_of_lake])) if len(region) else ahead_of_lake
    marked = _refuse_users(plan, together, counted)
    kept = sessionize(
        marked.filter(pl.col("refusal").is_null()).drop("refusal"),
        carried,
        plan.settings.gap_minutes,
        plan.settings.max_session_minutes,
    )
    outcome = Outcome(
        kept=kept,
        removed=_removed(past, touched, kept),
        num_withdrawn=len(past.own.join(kept, on=[*KEY, *CONTENT], how="anti", nulls_equal=True)),
        refused=[
            (refused, None),
            (repeated, "duplicate"),
            (too_late, "too late"),
            *(
                (marked.filter(pl.col("refusal") == reason), reason)
                for reason in marked["refusal"].drop_nulls().unique()
            ),
        ],
        touched=touched,
        counted=counted,
        tails=past.tails,
    )
    counts = {KNOWN: known, TAKEN_IN: kept.filter(pl.col("run_date").is_null())}
    return [*_counted(counts), *write_outcome(plan, split, bucket, outcome)]


@dataclass(frozen=True)
class Past:
    """What the lake holds of a split's users."""

    tails: pl.DataFrame
    others: pl.DataFrame
    """Events of other runs, from the day before a user's first row that may still come in."""
    own: pl.DataFrame
    """Events of an earlier run of this date, likewise."""
    closed: pl.DataFrame
    """Events on days too old to change: they tell what is known already from what comes too late."""


def in_user_order(rows: pl.DataFrame) -> pl.DataFrame:
    """Sort rows by user, time, item and kind, then by content; users whose 64-bit hashes collide are told apart."""
    in_order = rows.sort("user_key", "event_us")
    is_same_user = pl.col("user_key") == pl.col("user_key").shift()
    if in_order.select((is_same_user & (pl.col("user_id") != pl.col("user_id").shift())).any()).item():
        apart = rows.with_columns(pl.col("user_id").rank("dense").cast(pl.Int64).alias("user_key"))
        in_order = apart.sort("user_key", "event_us")
    # Few rows share a user and a moment: sorting those alone saves comparing strings everywhere.
    ties = is_same_user & (pl.col("event_us") == pl.col("event_us").shift())
    tied = in_order.with_row_index("place").filter((ties | ties.shift(-1)).fill_null(False))
    by_content = tied.sort([*USER_ORDER, *CONTENT], maintain_order=True)
    if by_content["place"].equals(tied["place"]):
        return in_order
    order = np.arange(len(in_order))
    order[tied["place"].to_numpy()] = by_content["place"].to_numpy()
    return in_order[order]


def is_repeated(rows: pl.DataFrame) -> pl.Series:
    """Say of each row, in user order, whether it is the same event as the one before it."""
    same = [pl.col(name).eq_missing(pl.col(name).shift()) for name in USER_ORDER]
    is_first = pl.int_range(pl.len()) == 0
    return rows.select((pl.all_horizontal(same) & ~is_first).alias("same")).to_series()


def _as_rows(judged: pl.DataFrame, plan: NightPlan) -> pl.DataFrame:
    return judged.with_columns(
        local_day(pl.col("event_us"), plan.zone).alias("event_date"),
        pl.lit(None, dtype=pl.Date).alias("run_date"),
        pl.lit(None, dtype=pl.String).alias("old_session"),
    ).select(list(ROWS))


def _look_back(plan: NightPlan, bucket: int, standing: pl.DataFrame, own: pl.DataFrame) -> Past:
    days = pl.concat([standing, own]).select("user_id", "user_key", "event_date")
    tails = read_tails(plan, bucket, days)
    is_open = pl.lit(True) if plan.oldest is None else pl.col("event_date") >= plan.oldest
    first_dates = (
        days.filter(is_open)
        .group_by("user_id")
        .agg(pl.col("user_key").first(), pl.col("event_date").min().alias("first_date"))
    )
    # Whose rows all lie on days after the newest event the lake has of them need no look at `events`.
    last_date = local_day(pl.col("last_us"), plan.zone)
    late = first_dates.join(tails.select("user_id", last_date.alias("last_date")), on="user_id", how="inner").filter(
        pl.col("first_date") <= pl.col("last_date")
    )
    first_date = late["first_date"].min()
    # The day before tells whether a session goes on; a gap is shorter than a day.
    from_day = first_date - timedelta(days=1) if isinstance(first_date, date) else None
    stored = read_stored(plan, bucket, late, from_day)
    is_own = pl.col("run_date") == plan.run_date
    # Of days too old to change, only those are opened that rows name: a clock set to 1970 reads no whole lake.
    old_days = days.filter(~is_open)
    closed = read_stored(plan, bucket, old_days.unique("user_id"), old_days["event_date"].unique().to_list())
    return Past(tails, stored.filter(~is_own), stored.filter(is_own), closed)


def _beside_the_lake(
    standing: pl.DataFrame, past: Past, oldest: date | None
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Return the rows that are new, those whose event the lake has, and those that come too late."""
    known, new = standing.clear(), standing
    stored = pl.concat([past.others, past.closed])
    if len(stored):
        # Most rows are newer than anything the lake has of these users: only the others are compared.
        may_be_known = pl.col("event_us") <= stored["event_us"].max()
        candidates = standing.with_row_index("place").filter(may_be_known)
        places = candidates.join(stored, on=KEY, how="semi", nulls_equal=True)["place"]
        is_known = pl.int_range(pl.len()).is_in(places.implode())
        known, new = standing.filter(is_known), standing.filter(~is_known)
    if oldest is None:
        return new, known, standing.clear()
    return new.filter(pl.col("event_date") >= oldest), known, new.filter(pl.col("event_date") < oldest)


def _touched(new: pl.DataFrame, own: pl.DataFrame) -> pl.DataFrame:
    """Return the users whose events change, and from which day on: user_id, user_key, from_date."""
    changing = pl.concat(
        [new.select("user_id", "user_key", "event_date"), own.select("user_id", "user_key", "event_date")]
    )
    return changing.group_by("user_id").agg(pl.col("user_key").first(), pl.col("event_date").min().alias("from_date"))


def _region(past: Past, touched: pl.DataFrame, new: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Return what must be looked at again, what it continues from, and how many events lie before it.

    Out  region: events of the lake of touched users, from the user's `from_date` on. carried: user_id, carried_us,
         carried_session. counted: user_id, num_before.
    """
    others = past.others.drop("user_key").join(touched, on="user_id", how="inner")
    region = others.filter(pl.col("event_date") >= pl.col("from_date")).select(list(ROWS))
    before = others.filter(pl.col("event_date") < pl.col("from_date"))
    last_before = (
        before.sort("event_us")
        .group_by("user_id", maintain_order=True)
        .agg(pl.col("event_us").last().alias("carried_us"), pl.col("old_session").last().alias("carried_session"))
    )
    late = pl.concat([past.others.select("user_id"), past.own.select("user_id")]).unique()
    ahead = past.tails.join(late, on="user_id", how="anti").select(
        "user_id", pl.col("last_us").alias("carried_us"), pl.col("last_session").alias("carried_session")
    )
    in_region = pl.concat([region.select("user_id"), past.own.select("user_id")]).group_by("user_id").len()
    counted = (
        past.tails.join(in_region, on="user_id", how="left")
        .select("user_id", (pl.col("num_events") - pl.col("len").fill_null(0)).cast(pl.Int64).alias("num_before"))
        .join(touched, on="user_id", how="semi")
    )
    return region, pl.concat([last_before, ahead]), counted


def _refuse_users(plan: NightPlan, rows: pl.DataFrame, counted: pl.DataFrame) -> pl.DataFrame:
    limits = plan.settings
    known_busy = (
        open_file(plan.busy_days).join(rows.lazy().select("user_id").unique(), on="user_id", how="semi").collect()
    )
    marked = refuse_busy(rows, known_busy, limits.max_user_day_events, limits.max_user_minute_events)
    return refuse_over_cap(marked, counted, limits.max_user_events)


def _removed(past: Past, touched: pl.DataFrame, kept: pl.DataFrame) -> pl.DataFrame:
    """Return the events that the lake has and will have no longer, those of this date's earlier run included."""
    if not len(past.others) and not len(past.own):
        return past.others
    gone = pl.concat([past.others, past.own]).join(touched.select("user_id", "from_date"), on="user_id", how="inner")
    gone = gone.filter(pl.col("event_date") >= pl.col("from_date"))
    theirs = kept.join(gone, on="user_id", how="semi")
    return gone.join(theirs, on=KEY, how="anti", nulls_equal=True)


def _counted(frames: dict[str, pl.DataFrame]) -> list[dict[str, Any]]:
    return [
        {"kind": "rows", "name": name, "day": str(day), "num": count}
        for name, frame in frames.items()
        for day, count in frame.group_by("event_date").len().iter_rows()
    ]

"""What the lake holds of a task's users: only the files of their bucket, only the days that matter."""

from collections.abc import Sequence
from datetime import date
from urllib.parse import unquote

import polars as pl

from sparkrec.parquet import open_file
from sparkrec.prepare.plan import ROWS, NightPlan, kinds

TAILS = {
    "user_id": pl.String,
    "last_us": pl.Int64,
    "first_us": pl.Int64,
    "num_events": pl.Int64,
    "last_session": pl.String,
}


def read_tails(plan: NightPlan, bucket: int, users: pl.DataFrame) -> pl.DataFrame:
    """Return what `histories` says of the users' past. A row is one user the lake knows; columns of TAILS."""
    files = _files(plan.history_files, bucket)
    if not len(files):
        return pl.DataFrame(schema=TAILS)
    histories = pl.concat([open_file(path) for path in files["path"]])
    tails = histories.select(
        "user_id",
        pl.col("last_event_ts").cast(pl.Datetime("us")).cast(pl.Int64).alias("last_us"),
        pl.col("first_event_ts").cast(pl.Datetime("us")).cast(pl.Int64).alias("first_us"),
        "num_events",
        pl.col("session_id").alias("last_session"),
    )
    return tails.join(users.lazy().select("user_id").unique(), on="user_id", how="semi").collect()


def read_stored(plan: NightPlan, bucket: int, users: pl.DataFrame, days: Sequence[date] | date | None) -> pl.DataFrame:
    """Return the users' events in the lake: columns of ROWS.

    In   users: user_id, user_key. days: from this day on, or on these days, or (None) on all.
    """
    files = _files(plan.event_files, bucket)
    if isinstance(days, date):
        files = files.filter(pl.col("event_date") >= days)
    elif days is not None:
        files = files.filter(pl.col("event_date").is_in(list(days)))
    if not len(files) or not len(users):
        return pl.DataFrame(schema=ROWS)
    theirs = users.select("user_id", "user_key")
    is_theirs = pl.col("user_id").is_in(theirs["user_id"].implode())
    parts = [
        read_file(path, day, is_theirs).join(theirs, on="user_id", how="inner").select(list(ROWS))
        for path, day in files.select("path", "event_date").iter_rows()
    ]
    return pl.concat(parts)


def read_file(path: str, day: date, chosen: pl.Expr | None = None) -> pl.DataFrame:
    """Return the rows, or the chosen ones, of one file of `events`: columns of ROWS but user_key."""
    rows = open_file(path)
    # Filtered while it is read: what of the other columns belongs to other users is not even unpacked.
    theirs = (rows if chosen is None else rows.filter(chosen)).collect()
    return theirs.select(
        "user_id",
        "item_id",
        kinds(pl.col("event_type")).alias("kind"),
        pl.col("event_ts").cast(pl.Datetime("us")).cast(pl.Int64).alias("event_us"),
        "price",
        "category",
        "brand",
        "query",
        pl.lit(None, dtype=pl.Int64).alias("source"),
        pl.lit(day).alias("event_date"),
        "run_date",
        pl.col("session_id").alias("old_session"),
    )


def stored_days(plan: NightPlan, bucket: int) -> set[date]:
    """Return the days of which the bucket has files."""
    return set(_files(plan.event_files, bucket)["event_date"].to_list())


def _files(listing: str, bucket: int) -> pl.DataFrame:
    return open_file(listing).filter(pl.col("user_bucket") == bucket).collect()


def local_file(table: str, path: str) -> str:
    """Return where a file of a table lies, from its path in the log."""
    return f"{table}/{unquote(path)}"

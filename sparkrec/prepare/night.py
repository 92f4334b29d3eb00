"""One night's raw rows, through one shuffle into tasks that hold all rows of a user, and what these tasks found."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from sparkrec.config import Source
from sparkrec.config.settings import PrepareSettings
from sparkrec.contract import Table
from sparkrec.files import NewFile
from sparkrec.lake import Lake
from sparkrec.parquet import open_file
from sparkrec.prepare.busy import AFTERWARDS, BUSY
from sparkrec.prepare.inputs import Input
from sparkrec.prepare.ledger import Ledger, check_day, check_share, check_usual, keep_ledger
from sparkrec.prepare.patch import patch_units
from sparkrec.prepare.plan import NightPlan
from sparkrec.prepare.scan import open_clicks, run_splits
from sparkrec.prepare.staged import new_files
from sparkrec.prepare.stored import local_file
from sparkrec.tables import EVENTS, HISTORIES, QUARANTINE
from sparkrec.tasks import run_tasks


@dataclass(frozen=True)
class Night:
    """What a run has found and staged; the lake is as it was."""

    plan: NightPlan
    ledger: Ledger
    events: list[NewFile]
    replaced: list[dict[str, Any]]
    """Files of `events` that the new ones stand in for, as `Lake.files` lists them."""
    refused: list[NewFile]
    days: list[date]
    """Days of which `events` changes."""
    takes_back: bool
    """Whether an earlier run of the same date had events that are gone now."""


def take_in(
    lake: Lake, source: Source, place: Input, run_date: date, asked_at: datetime, settings: PrepareSettings
) -> Night:
    """Decide where every raw row goes; raise before anything is written if the input cannot be used."""
    stored = lake.files(EVENTS)
    own_rows = _own_rows(lake, stored, run_date)
    clicks, about_rows = open_clicks(lake.spark, place)
    plan = _plan(lake, stored, own_rows, source.time.zone, about_rows, run_date, settings)
    told, rows_in, later = run_splits(plan, place, clicks, own_rows, asked_at)
    ledger = keep_ledger(told, rows_in, later)
    check_day(ledger, run_date, place.path, settings.allow_empty_day)
    check_share(ledger, settings.max_quarantine_share, place.path)
    check_usual(ledger, _rows_per_day(stored, run_date), run_date, place.path, settings.min_day_share)

    units = sorted({(row["day"], row["bucket"]) for row in told if row["kind"] == "patch"})
    (patched,) = run_tasks(lake.spark, (len(units), patch_units(plan, units)))
    gone = {row["path"] for row in patched if row["kind"] == "replaced"}
    events = new_files([*told, *patched], EVENTS)
    changed = {file.partition["event_date"] for file in events} | {day for day, _ in units}
    return Night(
        plan=plan,
        ledger=ledger,
        events=events,
        replaced=[] if stored is None else stored.filter(pl.col("path").is_in(list(gone))).to_dicts(),
        refused=new_files(told, QUARANTINE),
        days=sorted(date.fromisoformat(day) for day in changed),
        takes_back=any(row["num"] for row in told if row["kind"] == "gone"),
    )


def list_bucket_files(lake: Lake, table: Table, to: Path) -> None:
    """Write a list of a table's files for tasks to read: path, log_path, user_bucket, event_date."""
    files = lake.files(table)
    names = {"path": pl.String, "log_path": pl.String, "user_bucket": pl.Int32, "event_date": pl.Date}
    listed = pl.DataFrame(schema=names)
    if files is not None and len(files):
        day = pl.col("partition.event_date") if table.partition == "event_date" else pl.lit(None, dtype=pl.Date)
        bucket = "min.user_bucket" if table.partition == "event_date" else "partition.user_bucket"
        listed = files.select(
            pl.col("path").map_elements(lambda path: local_file(lake.path(table), path), return_dtype=pl.String),
            pl.col("path").alias("log_path"),
            pl.col(bucket).cast(pl.Int32).alias("user_bucket"),
            day.cast(pl.Date).alias("event_date"),
        )
    to.parent.mkdir(parents=True, exist_ok=True)
    listed.write_parquet(to)


def _plan(
    lake: Lake,
    stored: pl.DataFrame | None,
    own_rows: DataFrame | None,
    zone: str,
    about_rows: int,
    run_date: date,
    settings: PrepareSettings,
) -> NightPlan:
    staging = Path(lake.staging_root())
    buckets = settings.user_buckets
    about_splits = -(-about_rows // settings.split_rows)
    plan = NightPlan(
        run_date=run_date,
        oldest=_oldest(stored, own_rows, run_date, settings.late_days),
        zone=zone,
        settings=settings,
        num_splits=buckets * max(1, -(-about_splits // buckets)),
        staging=str(staging),
        event_files=str(staging / "event_files.parquet"),
        history_files=str(staging / "history_files.parquet"),
        busy_days=str(staging / "busy_days.parquet"),
        sources=str(staging / "sources.json"),
    )
    list_bucket_files(lake, EVENTS, Path(plan.event_files))
    list_bucket_files(lake, HISTORIES, Path(plan.history_files))
    _list_busy_days(lake, run_date, plan.oldest, Path(plan.busy_days))
    return plan


def _own_rows(lake: Lake, stored: pl.DataFrame | None, run_date: date) -> DataFrame | None:
    """Return who has events of an earlier run of this date, and on which days; None on a first run of it."""
    if stored is None or not len(stored):
        return None
    covers = (pl.col("min.run_date") <= run_date) & (pl.col("max.run_date") >= run_date)
    if not len(stored.filter(covers)):
        return None
    own = lake.read(EVENTS).where(F.col("run_date") == F.lit(run_date))
    return own.groupBy("user_id", "event_date").agg(F.min("event_ts").alias("event_ts"))


def _oldest(stored: pl.DataFrame | None, own_rows: DataFrame | None, run_date: date, late_days: int) -> date | None:
    """Return the first day that may still come in; None for a run that found the lake empty when it first ran."""
    if stored is None or not len(stored.filter(pl.col("min.run_date") < run_date)):
        return None
    oldest = run_date - timedelta(days=late_days)
    if own_rows is not None:
        row = own_rows.agg(F.min("event_date").alias("day")).first()
        if row and row["day"] and row["day"] < oldest:
            return None  # it was a first run when it ran before; an older date came since
    return oldest


def _list_busy_days(lake: Lake, run_date: date, oldest: date | None, to: Path) -> None:
    """Write the users' days that were refused as a bot's: what comes late of them is refused too.

    Of an earlier run of this date only what it took back counts: the rest of what it refused is in the input again. A
    day that was refused for an earlier one's sake is no reason by itself, or a delivery could never be corrected.
    """
    busy = pl.DataFrame(schema={"user_id": pl.String, "event_date": pl.Date, "refusal": pl.String})
    files = lake.files(QUARANTINE)
    if files is not None and len(files):
        if oldest:  # a day is refused on its own night at the earliest
            files = files.filter(pl.col("partition.run_date") >= oldest)
        parts = [
            open_file(local_file(lake.path(QUARANTINE), path))
            .filter(pl.col("reason").is_in(BUSY) & (pl.col("source_file").is_null() | pl.lit(day != run_date)))
            .select("user_id", "event_date", refusal=pl.col("reason") if day == run_date else pl.lit(AFTERWARDS))
            .unique()
            .collect()
            for path, day in files.select("path", "partition.run_date").iter_rows()
        ]
        busy = pl.concat([busy, *parts]).unique().sort("user_id", "event_date", "refusal")
    busy.write_parquet(to)


def _rows_per_day(stored: pl.DataFrame | None, run_date: date) -> Sequence[int]:
    """Return the events of each of the seven days before, as far as the lake has them; from the table's log alone."""
    if stored is None or not len(stored):
        return []
    day = pl.col("partition.event_date").cast(pl.Date)
    week = stored.filter((day < run_date) & (day >= run_date - timedelta(days=7)))
    return week.group_by(day).agg(pl.col("num_records").sum())["num_records"].to_list()

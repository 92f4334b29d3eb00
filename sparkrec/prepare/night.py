"""One night's raw rows, through one shuffle into tasks that hold all rows of a user, and what these tasks found."""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import reduce
from pathlib import Path
from typing import Any

import polars as pl
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, Observation
from pyspark.sql import functions as F

from sparkrec.config import Source
from sparkrec.config.settings import PrepareSettings
from sparkrec.errors import RefusedError
from sparkrec.files import NewFile
from sparkrec.lake import Lake
from sparkrec.parquet import open_file
from sparkrec.prepare.busy import AFTERWARDS, BUSY
from sparkrec.prepare.clean import LATER, judge
from sparkrec.prepare.inputs import PACKED_BYTES, Input
from sparkrec.prepare.ledger import Ledger, check_day, check_share, check_usual, keep_ledger
from sparkrec.prepare.patch import patch_units
from sparkrec.prepare.plan import OWN, NightPlan
from sparkrec.prepare.read import read_clicks
from sparkrec.prepare.split import JUDGED, take_in_split
from sparkrec.prepare.staged import new_files
from sparkrec.prepare.stored import local_file
from sparkrec.tables import EVENTS, HISTORIES, QUARANTINE, Table
from sparkrec.tasks import REPORT, reports, run_tasks, sql_settings

ARROW_ROWS = "65536"
SCAN_BYTES = "32m"
"""Raw bytes that a task reads: small, for cores that end together."""


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
    with _refusing(place.path):
        clicks = [read_clicks(lake.spark, piece) for piece in place.pieces]
        about_rows = place.about_rows or sum(_guess_rows(rows) for rows in clicks)
    plan = _plan(lake, stored, own_rows, source.time.zone, about_rows, run_date, settings)
    with _refusing(place.path):
        _keep_sources(plan, clicks)
        pieces = zip(clicks, place.pieces, strict=True)
        judged = [judge(rows, piece.source, run_date, asked_at) for rows, piece in pieces]
        told, rows_in, later = _run_splits(plan, reduce(DataFrame.unionByName, judged), own_rows)
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


@contextmanager
def _refusing(where: str) -> Iterator[None]:
    """Turn what Spark says of an input that it cannot read into a refusal."""
    try:
        yield
    except (PySparkException, Py4JJavaError) as error:
        raise RefusedError(f"{where}: {_cause(error)}; no table was changed") from error


def _guess_rows(clicks: DataFrame) -> int:
    """Guess the rows of files that only Spark can see, from their bytes."""
    return int(clicks._jdf.queryExecution().optimizedPlan().stats().sizeInBytes().longValue()) // PACKED_BYTES


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
        # 'bot' and 'burst' come before AFTERWARDS, as the first of a day counts.
        busy = pl.concat([busy, *parts]).unique().sort("user_id", "event_date", "refusal")
    busy.write_parquet(to)


def _keep_sources(plan: NightPlan, pieces: Sequence[DataFrame]) -> None:
    """Write the input files' paths by their hash: the hash is what travels with 20 million rows."""
    # Spark writes the same path with one slash here and with three there.
    paths = [path.replace("file:///", "file:/") for clicks in pieces for path in clicks.inputFiles()]
    named = pieces[0].sparkSession.range(1).select(F.explode(F.lit(paths)).alias("source_file"))
    keys = named.select(F.xxhash64("source_file").alias("key"), "source_file").collect()
    Path(plan.sources).write_text(json.dumps({str(row["key"]): row["source_file"] for row in keys}))


def _run_splits(
    plan: NightPlan, judged: DataFrame, own_rows: DataFrame | None
) -> tuple[list[dict[str, Any]], int, int]:
    """Run the tasks; return their reports, the raw rows read, and how many of those are of later days."""
    seen = Observation("rows")
    is_later = F.col("verdict") == LATER
    counted = judged.observe(seen, F.count(F.lit(1)).alias("rows_in"), F.count_if(is_later).alias("later"))
    to_take = counted.where(F.col("verdict").isNull() | ~is_later)
    rows = to_take.withColumn("source", F.xxhash64("source_file")).select(*JUDGED)
    if own_rows is not None:
        rows = rows.unionByName(own_rows.select(_own_columns()))
    split = F.pmod("user_key", F.lit(plan.num_splits)).cast("int")
    found = rows.repartitionById(plan.num_splits, split).mapInArrow(take_in_split(plan), REPORT)
    with sql_settings(
        judged.sparkSession,
        spark__sql__execution__arrow__maxRecordsPerBatch=ARROW_ROWS,
        spark__sql__files__maxPartitionBytes=SCAN_BYTES,
    ):
        told = reports(found)
    return told, int(seen.get["rows_in"]), int(seen.get["later"])


def _cause(error: Exception) -> str:
    """Return the file at fault, where Spark names one, and the innermost cause."""
    text = str(error)
    file = re.search(r"while reading file (\S+?)\.?\s", text)
    causes = re.findall(r"Caused by: ([^\n]+)", text) + re.findall(r"^(?:E\s+)?(\w*Error: [^\n]+)", text, re.MULTILINE)
    last = causes[-1] if causes else text.strip().split("\n")[0]
    return (f"{file.group(1)} cannot be read, {last}" if file else last)[:500]


def _own_columns() -> list[Column]:
    known = {
        "user_id": F.col("user_id"),
        "event_us": F.unix_micros("event_ts"),
        "verdict": F.lit(OWN),
        "user_key": F.xxhash64("user_id"),
    }
    return [known.get(name, F.lit(None)).cast(kind).alias(name) for name, kind in JUDGED.items()]


def _rows_per_day(stored: pl.DataFrame | None, run_date: date) -> Sequence[int]:
    """Return the events of each of the seven days before, as far as the lake has them; from the table's log alone."""
    if stored is None or not len(stored):
        return []
    day = pl.col("partition.event_date").cast(pl.Date)
    week = stored.filter((day < run_date) & (day >= run_date - timedelta(days=7)))
    return week.group_by(day).agg(pl.col("num_records").sum())["num_records"].to_list()

"""What every task of a night must know, fixed on the driver before the first task starts."""

import json
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path

import polars as pl

from sparkrec.config.settings import PrepareSettings
from sparkrec.prepare.clean import KINDS
from sparkrec.tables import EVENT_CODES

OWN = "own"
"""Verdict of a row that only says: this user has events of an earlier run of the same date, to be replaced."""
TAKEN_IN = "new"
KNOWN = "known"
"""An event that is in the lake already: neither new nor wrong, as when one file serves every night."""

USER_ORDER = ("user_key", "event_us", "item_id", "kind")
KEY = ("user_id", "event_us", "item_id", "kind")
CONTENT = ("price", "category", "brand", "query")

# Rows inside a task. `source` is a hash of the file's path, null for an event that was in the lake.
ROWS = {
    "user_id": pl.String,
    "item_id": pl.String,
    "kind": pl.Int8,
    "event_us": pl.Int64,
    "price": pl.Float64,
    "category": pl.String,
    "brand": pl.String,
    "query": pl.String,
    "source": pl.Int64,
    "user_key": pl.Int64,
    "event_date": pl.Date,
    "run_date": pl.Date,
    "old_session": pl.String,
}


@dataclass(frozen=True)
class NightPlan:
    """One night's fixed facts. Paths are on a file system that driver and tasks mount."""

    run_date: date
    oldest: date | None
    """First day that may still come in; None on a first run."""
    zone: str
    settings: PrepareSettings
    num_splits: int
    staging: str
    """Folder for what tasks write: a folder per table, and those that later steps read."""
    event_files: str
    """Parquet list of the files of `events`: path, event_date, user_bucket."""
    history_files: str
    """Parquet list of the files of `histories`: path, user_bucket."""
    busy_days: str
    """Parquet list of days on which a user was found to be no person before: user_id, event_date."""
    sources: str
    """Input files by the hash of their path, JSON."""

    @cached_property
    def source_names(self) -> dict[int, str]:
        return {int(key): name for key, name in json.loads(Path(self.sources).read_text()).items()}

    def folder(self, name: str) -> Path:
        """Return a folder under `staging`, made if it is not there."""
        folder = Path(self.staging) / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder


def words(kind: pl.Series) -> pl.Series:
    """Return event words for places in KINDS."""
    return pl.Series(KINDS).gather(kind.cast(pl.UInt32))


def codes(kind: pl.Series) -> pl.Series:
    """Return event codes (EVENT_CODES) for places in KINDS."""
    return pl.Series([EVENT_CODES[word] for word in KINDS], dtype=pl.Int8).gather(kind.cast(pl.UInt32))


def kinds(words: pl.Expr) -> pl.Expr:
    """Return places in KINDS for event words."""
    return words.replace_strict({word: place for place, word in enumerate(KINDS)}, return_dtype=pl.Int8)


def local_day(event_us: pl.Expr, zone: str) -> pl.Expr:
    """Return the day, in a zone, of microseconds since 1970."""
    instant = pl.from_epoch(event_us, time_unit="us")
    return instant.dt.date() if zone == "UTC" else instant.dt.convert_time_zone(zone).dt.date()

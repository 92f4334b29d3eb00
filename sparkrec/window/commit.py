"""Put a date's windows in the place of those it had, and drop training sets that are too old, in one commit."""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

import polars as pl

from sparkrec.lake import Lake
from sparkrec.prepare.staged import new_files
from sparkrec.tables import WINDOWS


def commit_windows(lake: Lake, told: Sequence[dict[str, Any]], run_date: date, keep_days: int) -> None:
    """Bring in the files that tasks reported; readers see all of them or those of before."""
    new = new_files(told, WINDOWS)
    removed: list[dict[str, Any]] = []
    stored = lake.files(WINDOWS)
    if stored is not None and len(stored):
        day = pl.col("partition.run_date").cast(pl.Date)
        goes = stored.filter((day == run_date) | (day <= run_date - timedelta(days=keep_days)))
        # A file is named after its content: one that is there already is the same, and stays.
        removed = goes.filter(~pl.col("path").is_in([file.path for file in new])).to_dicts()
    lake.commit(WINDOWS, new, removed)
    lake.rows_out[WINDOWS.name] = sum(row["num"] for row in told)

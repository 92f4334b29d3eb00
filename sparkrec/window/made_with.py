"""The settings that a date's windows were cut with, written into their files: under others they would be misread."""

import json
from datetime import date

import polars as pl
import pyarrow.parquet as pq

from sparkrec.config import Settings
from sparkrec.config.load import chosen_settings
from sparkrec.errors import RefusedError
from sparkrec.lake import Lake
from sparkrec.tables import WINDOWS

KEY = b"sparkrec.made_with"


def made_with(settings: Settings) -> str:
    """Return what decides about windows, as JSON."""
    return json.dumps(chosen_settings(settings, ("run", "window")), sort_keys=True)


def check_made_with(lake: Lake, run_date: date, settings: Settings) -> None:
    """Refuse windows that were cut with other settings, name every difference, and those that lack a column. A date
    without windows is told later."""
    files = lake.files(WINDOWS)
    if files is None or not len(files):
        return
    paths = files.filter(pl.col("partition.run_date").cast(pl.Date) == run_date)["path"].to_list()
    if not paths:
        return
    schema = pq.read_schema(f"{lake.path(WINDOWS)}/{paths[0]}")
    missing = sorted(set(WINDOWS.in_files.names) - set(schema.names))
    if missing:
        raise RefusedError(
            f"{lake.path(WINDOWS)} {run_date}: cut by an earlier version ({', '.join(missing)} is missing); run"
            f" 'make window DATE={run_date}' again"
        )
    there, here = json.loads((schema.metadata or {}).get(KEY, b"{}")), json.loads(made_with(settings))
    other = [
        f"{section}.{name} was {there.get(section, {}).get(name, 'not told')} and is {value} now"
        for section, values in here.items()
        for name, value in values.items()
        if there.get(section, {}).get(name) != value
    ]
    if other:
        raise RefusedError(
            f"{lake.path(WINDOWS)} {run_date}: cut with other settings ({'; '.join(other)}); set them back, or run"
            f" 'make window DATE={run_date}' again"
        )

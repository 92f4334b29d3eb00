"""Bring items, item_days and histories back in line with `events` where a run was cut off between two commits."""

from collections.abc import Callable
from datetime import date

import deltalake
import polars as pl
from pyspark.sql import functions as F

from sparkrec.config.settings import PrepareSettings
from sparkrec.contract import Table
from sparkrec.errors import RefusedError
from sparkrec.lake import Lake
from sparkrec.prepare.histories_plain import build_histories
from sparkrec.prepare.items import count_item_days, describe_items, rebuild_items
from sparkrec.tables import EVENTS, HISTORIES, ITEM_DAYS, ITEMS, RUNS

IN_STEP = (EVENTS, ITEM_DAYS, ITEMS, HISTORIES)
KEEPS_ROWS = {"OPTIMIZE", "VACUUM START", "VACUUM END", "SET TBLPROPERTIES", "UNSET TBLPROPERTIES", "CHANGE COLUMN"}
"""Delta operations after which a table holds the same rows."""


def out_of_step(lake: Lake) -> str:
    """Return the tables that are not as the last complete prepare left them, '' if all are."""
    files = lake.files(EVENTS)
    if files is None or not len(files):
        return ""  # a first run that was cut off before its first commit left an empty table at most
    left = _versions_left(lake)
    return ", ".join(table.name for table in IN_STEP if _has_changed(lake, table, left.get(table.name, -1)))


def bring_in_step(lake: Lake, settings: PrepareSettings, say: Callable[[str], None]) -> None:
    """Heal a lake whose tables are not as the last complete prepare left them, and say so."""
    if wrong := out_of_step(lake):
        say(f"{wrong} changed since the last complete run; items, item_days, histories are built from all events")
        heal(lake, settings)


def heal(lake: Lake, settings: PrepareSettings) -> None:
    """Compute items, item_days and histories from all events."""
    events = lake.read(EVENTS)
    lake.overwrite(ITEM_DAYS, count_item_days(events))
    heal_items(lake)
    newest = events.agg(F.max("run_date").alias("day")).first()
    as_of = max(day for day in (newest["day"] if newest else None, reach(lake)) if day is not None)
    rebuilt = build_histories(
        events, lake.read(ITEMS), as_of, settings.max_history, settings.max_purchased, settings.user_buckets
    )
    lake.overwrite(HISTORIES, rebuilt)


def heal_items(lake: Lake) -> None:
    """Describe all items from all events; indices and availability stay."""
    described = describe_items(lake.read(EVENTS))
    lake.create(ITEMS)  # or an earlier version's lacks columns
    lake.overwrite(ITEMS, rebuild_items(lake.read_or_empty(ITEMS), described))


def check_lake(lake: Lake, settings: PrepareSettings, zone: str) -> None:
    """Refuse a lake whose users are grouped otherwise, or whose days begin at another hour."""
    if not lake.has(EVENTS):
        return
    # Lakes of the first days tell it in `histories`.
    tables = [deltalake.DeltaTable(lake.path(table)) for table in (HISTORIES, EVENTS) if lake.has(table)]
    made_with = {name: value for table in tables for name, value in table.metadata().configuration.items()}
    for name, told, wanted in (
        (BUCKETS, "prepare.user_buckets", str(settings.user_buckets)),
        (ZONE, "time.zone", zone),
    ):
        found = made_with.get(name, "one that it does not tell")
        if found != wanted:
            raise RefusedError(
                f"{told}={wanted}: this lake was made with {found}; set it back, or prepare into a new lake"
            )
    files = lake.files(EVENTS)
    if files is not None and len(files.filter(pl.col("min.user_bucket") != pl.col("max.user_bucket"))):
        raise RefusedError(
            f"{lake.path(EVENTS)}: another program has put users of several buckets into one file (OPTIMIZE does);"
            " restore the version before (RESTORE TABLE) and leave the layout of this table to prepare"
        )


def reach(lake: Lake) -> date | None:
    """Return the run date that `histories` reaches, None where there are none."""
    files = lake.files(HISTORIES)
    if files is None or not len(files):
        return None
    newest = files["max.as_of"].max()  # from the table's log alone
    return newest if isinstance(newest, date) else None


BUCKETS, ZONE = "sparkrec.user_buckets", "sparkrec.zone"
"""Properties of `events`: what a lake was made with."""


def _versions_left(lake: Lake) -> dict[str, int]:
    if not lake.has(RUNS):
        return {}
    runs = pl.scan_delta(lake.path(RUNS)).filter((pl.col("job") == "prepare") & (pl.col("status") == "complete"))
    newest = runs.sort("ended_at").select("versions_written").tail(1).collect()
    return {} if not len(newest) else dict(newest["versions_written"][0])


def _has_changed(lake: Lake, table: Table, left: int) -> bool:
    if not lake.has(table):
        return True
    log = deltalake.DeltaTable(lake.path(table))
    since = log.version() - left
    if since <= 0 or left < 0:
        return since != 0
    return any(entry.get("operation") not in KEEPS_ROWS for entry in log.history(since))

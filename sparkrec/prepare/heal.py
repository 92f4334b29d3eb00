"""Bring items, item_days and histories back in line with `events` where a run was cut off between two commits."""

from collections.abc import Callable
from datetime import date

import deltalake
import polars as pl
from pyspark.sql import functions as F

from sparkrec.config.settings import PrepareSettings
from sparkrec.errors import RefusedError
from sparkrec.lake import Lake
from sparkrec.prepare.histories_plain import build_histories
from sparkrec.prepare.items import count_item_days, describe_items, rebuild_items
from sparkrec.tables import EVENTS, HISTORIES, ITEM_DAYS, ITEMS, RUNS, Table

IN_STEP = (EVENTS, ITEM_DAYS, ITEMS, HISTORIES)
KEEPS_ROWS = {"OPTIMIZE", "VACUUM START", "VACUUM END", "SET TBLPROPERTIES", "UNSET TBLPROPERTIES", "CHANGE COLUMN"}
"""Delta operations after which a table holds the same rows."""


def out_of_step(lake: Lake) -> str:
    """Return the tables that are not as the last complete prepare left them, '' if all are."""
    if not lake.has(EVENTS):
        return ""
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
    lake.overwrite(ITEMS, rebuild_items(lake.read_or_empty(ITEMS), described))


def check_buckets(lake: Lake, settings: PrepareSettings) -> None:
    """Refuse a lake whose users were grouped otherwise."""
    files = lake.files(HISTORIES)
    if files is None or not len(files):
        return
    largest = files["partition.user_bucket"].cast(pl.Int64).max()
    found = deltalake.DeltaTable(lake.path(HISTORIES)).metadata().configuration.get(BUCKETS)
    if (found is not None and int(found) != settings.user_buckets) or int(str(largest)) >= settings.user_buckets:
        raise RefusedError(
            f"prepare.user_buckets={settings.user_buckets}: this lake was made with {found or 'more'};"
            " set it back, or prepare into a new lake"
        )


def reach(lake: Lake) -> date | None:
    """Return the run date that `histories` reaches, None where there are none."""
    files = lake.files(HISTORIES)
    if files is None or not len(files):
        return None
    newest = files["max.as_of"].max()  # from the table's log alone
    return newest if isinstance(newest, date) else None


BUCKETS = "sparkrec.user_buckets"


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

"""Bring what a night staged into the lake's tables, one commit per table, `events` first."""

from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from sparkrec.config.settings import PrepareSettings
from sparkrec.lake import Lake
from sparkrec.prepare.heal import BUCKETS, heal_items, reach
from sparkrec.prepare.histories import extend_histories
from sparkrec.prepare.item_days import recount_days
from sparkrec.prepare.night import Night, list_bucket_files
from sparkrec.prepare.stored import local_file
from sparkrec.prepare.vocabulary import ItemSources, extend_vocabulary
from sparkrec.tables import EVENTS, HISTORIES, ITEM_DAYS, ITEMS, QUARANTINE, Table


def commit_events(lake: Lake, night: Night) -> None:
    lake.commit(EVENTS, night.events, night.replaced)


def commit_quarantine(lake: Lake, night: Night, run_date: date) -> None:
    """Replace what an earlier run of this date refused."""
    lake.commit(QUARANTINE, night.refused, _files_where(lake, QUARANTINE, "partition.run_date", [run_date]))


def commit_items(lake: Lake, night: Night, settings: PrepareSettings, catalogue: str | None) -> int:
    """Count the changed days again and say of the items what is known now; return the number of items."""
    plan = night.plan
    list_bucket_files(lake, EVENTS, Path(plan.event_files))
    days_before = _files_where(lake, ITEM_DAYS, "partition.event_date", night.days)
    lake.commit(ITEM_DAYS, recount_days(lake.spark, plan, night.days), days_before)
    if night.takes_back:
        # Maxima and samples cannot be taken back: what is known of items is read from all events.
        heal_items(lake)
        days_before = _files_where(lake, ITEM_DAYS, "partition.event_date", night.days)
    files = lake.files(ITEMS)
    old = [] if files is None else files.to_dicts()
    sources = ItemSources(
        items=_paths(lake, ITEMS, old),
        num_items=sum(row["num_records"] for row in old),
        days_before=_paths(lake, ITEM_DAYS, days_before),
        days_now=_paths(lake, ITEM_DAYS, _files_where(lake, ITEM_DAYS, "partition.event_date", night.days)),
        catalogue=catalogue,
        catalogue_is_complete=settings.catalogue_is_complete,
    )
    return lake.commit(ITEMS, extend_vocabulary(lake.spark, plan, sources), old)


def commit_histories(lake: Lake, night: Night, run_date: date) -> tuple[int, date]:
    """Add the night's steps to the histories; return how many users there are, and the date they reach."""
    as_of = max(run_date, reach(lake) or run_date)
    files = lake.files(HISTORIES)
    replaced = [] if files is None else files.to_dicts()
    lake.create(HISTORIES, {BUCKETS: str(night.plan.settings.user_buckets)})
    return lake.commit(HISTORIES, extend_histories(lake, night.plan, as_of), replaced), as_of


def _paths(lake: Lake, table: Table, files: list[dict[str, Any]]) -> list[str]:
    return [local_file(lake.path(table), row["path"]) for row in files]


def _files_where(lake: Lake, table: Table, name: str, values: list[date]) -> list[dict[str, Any]]:
    files = lake.files(table)
    if files is None or not len(files):
        return []
    return files.filter(pl.col(name).cast(pl.Date).is_in(values)).to_dicts()

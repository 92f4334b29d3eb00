"""Bring what a night staged into the lake's tables, one commit per table: what leaves `events` is kept first."""

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from sparkrec.config.settings import PrepareSettings
from sparkrec.contract import Table
from sparkrec.files import NewFile
from sparkrec.lake import Lake
from sparkrec.parquet import open_file
from sparkrec.prepare.heal import BUCKETS, ZONE, heal_items, reach
from sparkrec.prepare.histories import extend_histories
from sparkrec.prepare.item_days import recount_days
from sparkrec.prepare.night import Night, list_bucket_files
from sparkrec.prepare.staged import new_files, write_part
from sparkrec.prepare.stored import local_file
from sparkrec.prepare.vocabulary import NUMBERED, ItemSources, describe_parts, num_parts, number_new
from sparkrec.tables import EVENTS, HISTORIES, ITEM_DAYS, ITEMS, QUARANTINE
from sparkrec.tasks import run_tasks


def commit_events(lake: Lake, night: Night) -> None:
    lake.create(EVENTS, {BUCKETS: str(night.plan.settings.user_buckets), ZONE: night.plan.zone})
    lake.commit(EVENTS, night.events, night.replaced)


def commit_quarantine(lake: Lake, night: Night, run_date: date) -> None:
    """Replace what an earlier run of this date refused; what that run took back from `events` has no other trace."""
    before = _files_where(lake, QUARANTINE, "partition.run_date", [run_date])
    lake.commit(QUARANTINE, [*night.refused, *_taken_back_before(lake, night, before)], before)


def commit_items_and_histories(
    lake: Lake, night: Night, run_date: date, settings: PrepareSettings, catalogue: str | None
) -> tuple[int, int, date]:
    """Count the changed days again, say of items what is known now, and add the night's steps to the histories.

    Out  the number of items, the number of users, the date that histories reach.
    """
    plan, spark = night.plan, lake.spark
    list_bucket_files(lake, EVENTS, Path(plan.event_files))
    before = _item_sources(lake, night, settings, catalogue)
    days_before = _files_where(lake, ITEM_DAYS, "partition.event_date", night.days)
    # Work that one core does goes into one Spark job with work that the others can do meanwhile.
    recounted, _ = run_tasks(spark, (len(night.days), recount_days(plan, night.days)), (1, number_new(plan, before)))
    lake.commit(ITEM_DAYS, new_files(recounted, ITEM_DAYS), days_before)
    if night.takes_back:
        # Maxima and samples cannot be taken back: what is known of items is read from all events.
        heal_items(lake)
        before = _item_sources(lake, night, settings, catalogue)
        days_before = _files_where(lake, ITEM_DAYS, "partition.event_date", night.days)
        run_tasks(spark, (1, number_new(plan, before)))
    days_now = _files_where(lake, ITEM_DAYS, "partition.event_date", night.days)
    sources = replace(
        before, days_before=_paths(lake, ITEM_DAYS, days_before), days_now=_paths(lake, ITEM_DAYS, days_now)
    )
    as_of = max(run_date, reach(lake) or run_date)
    vocabulary = [*sources.items, str(plan.folder("") / NUMBERED)]
    described, extended = run_tasks(
        spark,
        (num_parts(plan, sources), describe_parts(plan, sources)),
        (settings.user_buckets, extend_histories(plan, vocabulary, as_of)),
    )
    num_items = lake.commit(ITEMS, new_files(described, ITEMS), _all_files(lake, ITEMS))
    num_users = lake.commit(HISTORIES, new_files(extended, HISTORIES), _all_files(lake, HISTORIES))
    return num_items, num_users, as_of


def _taken_back_before(lake: Lake, night: Night, before: list[dict[str, Any]]) -> list[NewFile]:
    taken_back = _without_source(_paths(lake, QUARANTINE, before))
    if len(taken_back) and night.refused:
        # After a kill before the commit of `events` this run takes the same ones back again.
        again = _without_source([str(night.plan.folder("quarantine") / file.path) for file in night.refused])
        taken_back = taken_back.join(again, on=["raw", "user_id", "event_date"], how="anti", nulls_equal=True)
    if not len(taken_back):
        return []
    partition = {"run_date": str(night.plan.run_date)}
    return new_files([write_part(taken_back, night.plan.folder("quarantine"), "taken-back", partition)], QUARANTINE)


def _without_source(paths: list[str]) -> pl.DataFrame:
    """Return the quarantined rows that earlier runs had taken in."""
    rows = [open_file(path).filter(pl.col("source_file").is_null()).collect() for path in paths]
    return pl.concat(rows) if rows else pl.DataFrame()


def _item_sources(lake: Lake, night: Night, settings: PrepareSettings, catalogue: str | None) -> ItemSources:
    old = _all_files(lake, ITEMS)
    return ItemSources(
        items=_paths(lake, ITEMS, old),
        item_bytes=sum(row["size_bytes"] for row in old),
        days_before=[],
        days_now=[],
        catalogue=catalogue,
        catalogue_is_complete=settings.catalogue_is_complete,
    )


def _all_files(lake: Lake, table: Table) -> list[dict[str, Any]]:
    files = lake.files(table)
    return [] if files is None else files.to_dicts()


def _paths(lake: Lake, table: Table, files: list[dict[str, Any]]) -> list[str]:
    return [local_file(lake.path(table), row["path"]) for row in files]


def _files_where(lake: Lake, table: Table, name: str, values: list[date]) -> list[dict[str, Any]]:
    files = lake.files(table)
    if files is None or not len(files):
        return []
    return files.filter(pl.col(name).cast(pl.Date).is_in(values)).to_dicts()

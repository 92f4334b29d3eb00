"""Bring what a night staged into the lake's tables, one commit per table, `events` first."""

from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
from pyspark.sql import DataFrame

from sparkrec.config.settings import PrepareSettings
from sparkrec.lake import Lake
from sparkrec.prepare.catalogue import read_catalogue
from sparkrec.prepare.heal import BUCKETS, heal_items, reach
from sparkrec.prepare.histories import extend_histories
from sparkrec.prepare.item_days import recount_days
from sparkrec.prepare.items import describe_touched, extend_items
from sparkrec.prepare.night import Night, list_bucket_files
from sparkrec.tables import EVENTS, HISTORIES, ITEM_DAYS, ITEMS, QUARANTINE, Table

NEWS = "item_id string, category string, category_us long, brand string, brand_us long, price double, price_us long"
VISITORS = "item_id string, user_key long"


def commit_events(lake: Lake, night: Night) -> None:
    lake.commit(EVENTS, night.events, night.replaced)


def commit_quarantine(lake: Lake, night: Night, run_date: date) -> None:
    """Replace what an earlier run of this date refused."""
    lake.commit(QUARANTINE, night.refused, _files_where(lake, QUARANTINE, "partition.run_date", [run_date]))


def commit_items(lake: Lake, night: Night, run_date: date, settings: PrepareSettings) -> int:
    """Count the changed days again and say of the items touched what is known now; return the number of items."""
    plan = night.plan
    list_bucket_files(lake, EVENTS, Path(plan.event_files))
    days_before = lake.read_or_empty(ITEM_DAYS)
    lake.commit(ITEM_DAYS, *recount_days(lake, plan, night.days))
    if night.takes_back:
        # Maxima and sketches cannot be taken back: what is known of items is read from all events.
        heal_items(lake)
    items = lake.read_or_empty(ITEMS)
    described = describe_touched(
        items,
        _of_days(days_before, night.days),
        _of_days(lake.read(ITEM_DAYS), night.days),
        _staged(lake, night, "news", NEWS),
        _staged(lake, night, "visitors", VISITORS),
    )
    if night.takes_back:
        described = described.limit(0)
    catalogue = read_catalogue(lake.spark, settings.catalogue, run_date)
    extended = extend_items(
        items, described, catalogue, is_all=False, catalogue_is_complete=settings.catalogue_is_complete
    )
    return lake.overwrite(ITEMS, extended)


def commit_histories(lake: Lake, night: Night, run_date: date) -> tuple[int, date]:
    """Add the night's steps to the histories; return how many users there are, and the date they reach."""
    as_of = max(run_date, reach(lake) or run_date)
    files = lake.files(HISTORIES)
    replaced = [] if files is None else files.to_dicts()
    lake.create(HISTORIES, {BUCKETS: str(night.plan.settings.user_buckets)})
    return lake.commit(HISTORIES, extend_histories(lake, night.plan, as_of), replaced), as_of


def _of_days(item_days: DataFrame, days: list[date]) -> DataFrame:
    return item_days.where(item_days["event_date"].isin(days))


def _staged(lake: Lake, night: Night, name: str, schema: str) -> DataFrame:
    folder = night.plan.folder(name)
    if not any(folder.iterdir()):
        return lake.spark.createDataFrame([], schema)
    return lake.spark.read.schema(schema).parquet(str(folder))


def _files_where(lake: Lake, table: Table, name: str, values: list[date]) -> list[dict[str, Any]]:
    files = lake.files(table)
    if files is None or not len(files):
        return []
    return files.filter(pl.col(name).cast(pl.Date).is_in(values)).to_dicts()

"""The vocabulary after a night: new items at its end, and what the night told of the items it touched."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from sparkrec.parquet import open_file
from sparkrec.prepare.catalogue import read_catalogue
from sparkrec.prepare.news import MAX_VISITORS, NUM_GROUPS, TOLD, item_group
from sparkrec.prepare.plan import NightPlan
from sparkrec.prepare.staged import stage_file, write_part
from sparkrec.tables import FIRST_ITEM, ITEMS
from sparkrec.tasks import Work

PART_BYTES = 256 * 2**20
"""Bytes of old items and of new items' users that one task describes, about; at most NUM_GROUPS tasks share them."""
NUMBERED = "new_items.parquet"


@dataclass(frozen=True)
class ItemSources:
    """Files to read: `items` as they are, `item_days` of the changed days as they were and as they are now."""

    items: list[str]
    item_bytes: int
    days_before: list[str]
    days_now: list[str]
    catalogue: str | None
    catalogue_is_complete: bool


def number_new(plan: NightPlan, sources: ItemSources) -> Work:
    """Return the task that gives new items their indices, and leaves them in NUMBERED.

    Indices are given once, by (first run, id): an item whose events are gone again keeps its index and its row.
    """

    def work(_: int) -> list[dict[str, Any]]:
        _number_new(plan, sources)
        return []

    return work


def num_parts(plan: NightPlan, sources: ItemSources) -> int:
    """Return how many tasks share the items among them."""
    told = sum(file.stat().st_size for file in plan.folder("visitors").rglob("*.parquet"))
    return min(NUM_GROUPS, 1 + (sources.item_bytes + told) // PART_BYTES)


def describe(
    items: pl.DataFrame,
    days_before: pl.DataFrame,
    days_now: pl.DataFrame,
    news: pl.DataFrame,
    visitors: pl.DataFrame,
    listed: pl.DataFrame,
    is_complete: bool,
) -> pl.DataFrame:
    """Return what is known of items now. A row is one item, columns of ITEMS.

    In   items: as they were, new ones with their index alone. days_before, days_now: item_days of the changed days.
         news, visitors: see `write_news`. listed: the catalogue; if it is_complete, what it lacks is not available.
    """
    together = items
    for part in (_counted(days_before, days_now), _told(news), _visited(visitors), _renamed(listed)):
        together = together.join(part, on="item_id", how="left")  # one row per item_id in each
    num_events = pl.col("num_events").fill_null(0) + pl.col("more_events").fill_null(0)
    nothing = pl.lit([], dtype=pl.List(pl.Int64))
    sample = pl.concat_list(pl.col("user_sample").fill_null(nothing), pl.col("more_users").fill_null(nothing))
    is_offered = pl.lit(False) if is_complete else pl.col("available").fill_null(True)
    is_listed = pl.col("is_listed").fill_null(False)
    known = together.with_columns(
        pl.min_horizontal("first_seen", "first_now").alias("first_seen"),
        pl.max_horizontal("last_seen", "last_now").alias("last_seen"),
        num_events.alias("num_events"),
        sample.list.unique().list.sort().list.head(MAX_VISITORS).alias("user_sample"),
        *(column for name in TOLD for column in _newer(name)),
        pl.when(is_listed).then(pl.col("listed_available").fill_null(True)).otherwise(is_offered).alias("available"),
    ).with_columns(*(pl.coalesce(f"listed_{name}", name).alias(name) for name in (*TOLD, "attributes")))
    num_users = pl.min_horizontal(_num_users(pl.col("user_sample")), "num_events")
    return known.with_columns(num_users.alias("num_users")).select(ITEMS.schema.names)


def _number_new(plan: NightPlan, sources: ItemSources) -> None:
    index: dict[str, Any] = {"item_id": pl.String, "item_idx": pl.Int32}
    known = _read(sources.items, index)
    old = pl.DataFrame(schema=index) if known is None else known.collect()
    news = _read(_staged(plan, "news"), {"item_id": pl.String})
    listed = read_catalogue(sources.catalogue).lazy().select("item_id")
    seen = (listed if news is None else pl.concat([news, listed])).unique().collect()
    new = seen.join(old, on="item_id", how="anti").sort("item_id")
    largest = old["item_idx"].max()
    first_free = FIRST_ITEM if largest is None else int(str(largest)) + 1
    place = pl.int_range(pl.len(), dtype=pl.Int32) + first_free
    indexed = new.select("item_id", place.cast(pl.Int32).alias("item_idx"))
    stage_file(indexed, plan.folder("") / NUMBERED)


def describe_parts(plan: NightPlan, sources: ItemSources) -> Work:
    """Return the task that writes one of `num_parts` shares of `items` anew, and reports the file."""
    parts = num_parts(plan, sources)

    def work(part: int) -> list[dict[str, Any]]:
        def mine(paths: list[str], schema: dict[str, Any]) -> pl.DataFrame:
            rows = _read(paths, schema)
            if rows is None:
                return pl.DataFrame(schema=schema)
            return rows.filter(item_group() % parts == part).collect().cast(schema)  # type: ignore[arg-type]

        old = mine(sources.items, _ITEMS)
        new = mine([str(plan.folder("") / NUMBERED)], {"item_id": pl.String, "item_idx": pl.Int32})
        listed = read_catalogue(sources.catalogue)
        groups = range(part, NUM_GROUPS, parts)
        visitors = [path for group in groups for path in _staged(plan, f"visitors/{group}")]
        described = describe(
            pl.concat([old, new], how="diagonal"),
            mine(sources.days_before, _DAYS).with_columns(pl.lit(None, dtype=pl.Date).alias("event_date")),
            pl.concat([pl.DataFrame(schema={**_DAYS, "event_date": pl.Date}), *_dated(sources.days_now, mine)]),
            mine(_staged(plan, "news"), _NEWS),
            mine(visitors, _VISITORS),
            listed,
            sources.catalogue is not None and sources.catalogue_is_complete,
        ).sort("item_idx")
        return [write_part(described, plan.folder("items"), f"{plan.run_date}-{part}")] if len(described) else []

    return work


def _dated(paths: list[str], mine: Callable[[list[str], dict[str, Any]], pl.DataFrame]) -> list[pl.DataFrame]:
    days = [date.fromisoformat(Path(path).parent.name.split("=")[1]) for path in paths]
    return [
        mine([path], _DAYS).with_columns(pl.lit(day).alias("event_date")) for path, day in zip(paths, days, strict=True)
    ]


def _counted(days_before: pl.DataFrame, days_now: pl.DataFrame) -> pl.DataFrame:
    signed = pl.concat([days_now, days_before.with_columns(-pl.col("num_events"))])
    return signed.group_by("item_id").agg(
        pl.col("event_date").min().alias("first_now"),
        pl.col("event_date").max().alias("last_now"),
        pl.col("num_events").sum().alias("more_events"),
    )


def _told(news: pl.DataFrame) -> pl.DataFrame:
    together = news.select("item_id").unique()
    for name in TOLD:
        told = news.filter(pl.col(name).is_not_null()).sort(f"{name}_us", name)
        latest = told.group_by("item_id").agg(
            pl.col(name).last().alias(f"{name}_now"), pl.col(f"{name}_us").last().alias(f"{name}_now_us")
        )
        together = together.join(latest, on="item_id", how="left")
    return together


def _visited(visitors: pl.DataFrame) -> pl.DataFrame:
    # Splits share no users, so their samples have nothing in common.
    return visitors.group_by("item_id").agg(pl.col("user_keys").explode().alias("more_users"))


def _renamed(listed: pl.DataFrame) -> pl.DataFrame:
    return listed.select("item_id", pl.exclude("item_id").name.prefix("listed_"), pl.lit(True).alias("is_listed"))


def _newer(name: str) -> list[pl.Expr]:
    now, before, now_us, before_us = pl.col(f"{name}_now"), pl.col(name), pl.col(f"{name}_now_us"), pl.col(f"{name}_us")
    # Ties in time are broken by the value itself, so that the order of arrival decides nothing.
    later = before_us.is_null() | (now_us > before_us) | ((now_us == before_us) & (now > before))
    is_newer = now_us.is_not_null() & later
    return [
        pl.when(is_newer).then(now).otherwise(before).alias(name),
        pl.when(is_newer).then(now_us).otherwise(before_us).alias(f"{name}_us"),
    ]


def _num_users(sample: pl.Expr) -> pl.Expr:
    # The k-th smallest of n hashes, spread evenly over (0, 1), lies near k / n.
    largest = sample.list.last().cast(pl.Float64) / 2.0**64 + 0.5
    estimate = ((MAX_VISITORS - 1) / largest).round().cast(pl.Int64)
    size = sample.list.len().cast(pl.Int64)
    return pl.when(size < MAX_VISITORS).then(size).otherwise(estimate)


def _read(paths: list[str], schema: dict[str, Any]) -> pl.LazyFrame | None:
    """Return the columns of some files; null is what files of an earlier version lack."""
    if not paths:
        return None
    files = [open_file(path) for path in paths]
    return pl.concat(
        file.select(name if name in there else pl.lit(None, dtype=kind).alias(name) for name, kind in schema.items())
        for file, there in ((file, file.collect_schema()) for file in files)
    )


def _staged(plan: NightPlan, name: str) -> list[str]:
    return [str(file) for file in sorted(plan.folder(name).glob("*.parquet"))]


_DAYS: dict[str, Any] = {"item_id": pl.String, "num_events": pl.Int64}
_VISITORS: dict[str, Any] = {"item_id": pl.String, "user_keys": pl.List(pl.Int64)}
_TOLD_TYPES: dict[str, Any] = {"category": pl.String, "brand": pl.String, "price": pl.Float64}
_NEWS: dict[str, Any] = {"item_id": pl.String, **_TOLD_TYPES, **{f"{name}_us": pl.Int64 for name in TOLD}}
_ITEMS: dict[str, Any] = {
    "item_id": pl.String,
    "item_idx": pl.Int32,
    "first_seen": pl.Date,
    "last_seen": pl.Date,
    "num_events": pl.Int64,
    "num_users": pl.Int64,
    **_TOLD_TYPES,
    "available": pl.Boolean,
    **{f"{name}_us": pl.Int64 for name in TOLD},
    "user_sample": pl.List(pl.Int64),
    "attributes": pl.List(pl.String),
}

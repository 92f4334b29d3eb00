"""Write the sample: a file per day, named after it."""

import shutil
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from sparkrec.sample.clicks import WORDS, Clicks, make_clicks
from sparkrec.sample.dirt import add_bot, break_lines, deliver, soil
from sparkrec.sample.world import World, build_world


@dataclass(frozen=True)
class SampleSize:
    """How large the sample is; `num_events` counts what users did, before dirt is added (about 1.5 %)."""

    num_events: int = 120_000
    num_users: int = 4_000
    num_items: int = 1_500
    num_days: int = 14
    first_day: date = date(2024, 3, 1)
    seed: int = 7


def write_sample(folder: Path, size: SampleSize, file_format: str = "csv") -> int:
    """Write the days of a sample into an empty `folder`; return how many rows they hold. Same arguments, same bytes."""
    rng = np.random.default_rng(size.seed)
    world = build_world(size.num_items, rng)
    clicks = make_clicks(world, size.num_events, size.num_users, size.num_days, rng)
    delivered = deliver(add_bot(clicks, world, size.num_users, size.num_days, rng), size.num_days, rng)
    names = _names(world)
    aside = folder.with_name(folder.name + ".writing")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    num_rows = 0
    for day in range(size.num_days):
        of_day = delivered.clicks.take(np.flatnonzero(delivered.day == day))
        in_order = of_day.take(np.lexsort((of_day.user, of_day.time_us)))
        rows = soil(_rows(in_order, world, names, size.first_day), rng)
        num_rows += len(rows)
        file = aside / f"{size.first_day + timedelta(days=day)}.{file_format}"
        if file_format == "parquet":
            rows.write_parquet(file)
        else:
            file.write_bytes(break_lines(rows.write_csv().encode(), size.seed + day))
    shutil.rmtree(folder, ignore_errors=True)
    aside.rename(folder)
    return num_rows


def _names(world: World) -> pl.Series:
    return pl.Series([world.category_name(category) for category in range(world.num_categories)])


def _rows(clicks: Clicks, world: World, names: pl.Series, first_day: date) -> pl.DataFrame:
    start = datetime(first_day.year, first_day.month, first_day.day)
    is_search = pl.Series(clicks.item < 0)
    item = np.maximum(clicks.item, 0)
    rows = pl.DataFrame(
        {
            "time": clicks.time_us,
            "event_type": pl.Series(WORDS[clicks.kind]),
            "user": clicks.user,
            "item": item,
            "category": names.gather(world.category[item]),
            "brand": world.brand[item],
            "price": world.price[item],
            "query": names.gather(np.maximum(clicks.query, 0)),
        }
    ).with_columns(is_search=is_search)
    of_item = ~pl.col("is_search")
    return rows.select(
        (pl.lit(start) + pl.duration(microseconds="time")).dt.strftime("%Y-%m-%d %H:%M:%S%.3f UTC").alias("event_time"),
        "event_type",
        pl.format("u{}", "user").alias("user_id"),
        pl.when(of_item).then(pl.format("i{}", "item")).alias("item_id"),
        pl.when(of_item).then("category").alias("category"),
        pl.when(of_item).then(pl.format("brand{}", "brand")).alias("brand"),
        pl.when(of_item).then("price").alias("price"),
        pl.when(~of_item).then(pl.col("query").str.replace(r"\.", " ")).alias("query"),
    )

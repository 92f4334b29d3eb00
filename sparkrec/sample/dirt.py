"""The dirt of real logs, added on purpose and counted."""

import random
from dataclasses import dataclass

import numpy as np
import polars as pl

from sparkrec.sample.clicks import DAY_US, VIEW, Clicks
from sparkrec.sample.world import Ints, World

DUPLICATES, NULL_USERS, NULL_ITEMS, LATE, ODD_VALUES, MALFORMED = 0.004, 0.001, 0.001, 0.01, 0.0005, 0.0003
"""Shares of the events."""
BOT_EVENTS_PER_DAY = 1500


@dataclass(frozen=True)
class Delivered:
    """Events and the day whose file each lies in."""

    clicks: Clicks
    day: Ints


def add_bot(clicks: Clicks, world: World, bot: int, num_days: int, rng: np.random.Generator) -> Clicks:
    """Add a scanner that looks at every item in turn, on exact seconds, on two of the days."""
    days = rng.choice(num_days, size=min(2, num_days), replace=False)
    time_us = np.concatenate([day * DAY_US + np.arange(BOT_EVENTS_PER_DAY) * 20_000_000 for day in days])
    scanned = Clicks(
        user=np.full(len(time_us), bot),
        time_us=time_us,
        kind=np.full(len(time_us), VIEW),
        item=np.arange(len(time_us)) % len(world.price),
        query=np.full(len(time_us), -1),
    )
    names = clicks.__dataclass_fields__
    return Clicks(*(np.concatenate([getattr(clicks, name), getattr(scanned, name)]) for name in names))


def deliver(clicks: Clicks, num_days: int, rng: np.random.Generator) -> Delivered:
    """Repeat a few events, and let a few arrive one to three days late."""
    repeated = rng.integers(0, len(clicks.user), int(len(clicks.user) * DUPLICATES))
    clicks = clicks.take(np.concatenate([np.arange(len(clicks.user)), repeated]))
    day = clicks.time_us // DAY_US
    late = rng.random(len(day)) < LATE
    day = np.where(late, np.minimum(day + rng.integers(1, 4, len(day)), num_days - 1), day)
    return Delivered(clicks, day)


def soil(rows: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    """Blank a few users and items, and spoil a few prices and event words."""
    chance = pl.Series(rng.random(len(rows)))
    which = rows.select(
        null_user=chance < NULL_USERS,
        null_item=(chance >= NULL_USERS) & (chance < NULL_USERS + NULL_ITEMS),
        bad_price=(chance > 1 - ODD_VALUES / 2),
        bad_word=(chance > 1 - ODD_VALUES) & (chance <= 1 - ODD_VALUES / 2),
    )
    return rows.with_columns(
        user_id=pl.when(which["null_user"]).then(None).otherwise(pl.col("user_id")),
        item_id=pl.when(which["null_item"]).then(None).otherwise(pl.col("item_id")),
        price=pl.when(which["bad_price"]).then(-1.0).otherwise(pl.col("price")),
        event_type=pl.when(which["bad_word"]).then(pl.lit("hover")).otherwise(pl.col("event_type")),
    )


def break_lines(text: bytes, seed: int) -> bytes:
    """Cut a few lines of a csv short, as a crashing writer does."""
    lines = text.split(b"\n")
    rng = random.Random(seed)
    for _ in range(max(1, int(len(lines) * MALFORMED))):
        place = rng.randrange(1, max(len(lines) - 1, 2))
        if lines[place].count(b",") > 4:
            lines[place] = b",".join(lines[place].split(b",")[:4])
    return b"\n".join(lines)

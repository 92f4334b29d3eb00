"""The order of arrival decides nothing: one go, night by night, shuffled with late rows, and the plain computation."""

import random
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pyspark.sql import SparkSession

from sparkrec.config.settings import PrepareSettings
from sparkrec.lake import Lake
from sparkrec.prepare.heal import heal
from sparkrec.prepare.news import NUM_GROUPS
from sparkrec.tables import ITEMS
from tests.running import content, run_job, table, write_clicks

START = datetime(2024, 3, 1, tzinfo=UTC)
DAYS = 4
# Limits so low that few rows meet them all.
LIMITS = {
    "max_user_day_events": 40,
    "max_user_minute_events": 8,
    "max_user_events": 90,
    "max_session_minutes": 45,
    "max_history": 15,
    "max_purchased": 3,
    "max_quarantine_share": 0.9,
    "user_buckets": 3,
}
Row = tuple[datetime, str]


def make_rows() -> list[Row]:
    """Some hundred clicks of 25 people, over midnights; a bot, a burst, a shared id, a rare item, repeated rows."""
    rng = random.Random(11)
    moments: list[tuple[datetime, str]] = []
    for user in range(25):
        for _ in range(rng.randrange(1, 7)):
            moment = START + timedelta(minutes=rng.randrange(DAYS * 1440 - 90))
            for _ in range(rng.randrange(1, 9)):
                moments.append((moment, f"u{user}"))
                moment += timedelta(seconds=rng.choice([0, 1, 40, 400, 1500, 1801]))
    moments += [(START + timedelta(days=1, minutes=20 * n), "bot") for n in range(55)]
    moments += [(START + timedelta(days=2, seconds=6 * n), "burst") for n in range(20)]
    moments += [(START + timedelta(minutes=40 * n), "shared") for n in range(36 * DAYS)]
    moments += [(START + timedelta(hours=23, minutes=29 * n), "awake") for n in range(40)]
    rows = []
    for moment, user in moments:
        kind = rng.choice(["view", "view", "view", "cart", "purchase", "search"])
        item = "" if kind == "search" else f"i{min(int(rng.expovariate(0.15)), 40)}"
        price = "" if kind == "search" else f"{rng.randrange(1, 9)}.5"
        rows.append((moment, f"{moment:%Y-%m-%d %H:%M:%S} UTC,{kind},{user},{item},{price},toys{rng.randrange(3)}"))
    return rows + rng.sample(rows, 12)


def deliver(rows: Iterable[Row], share_late: float, seed: int) -> list[list[str]]:
    """Return the lines of every night's file: in random order, some of them one to three days late."""
    rng = random.Random(seed)
    files: list[list[str]] = [[] for _ in range(DAYS)]
    for moment, line in rows:
        day = (moment - START).days
        late = rng.randrange(1, 4) if rng.random() < share_late else 0
        files[min(day + late, DAYS - 1)].append(line)
    for lines in files:
        rng.shuffle(lines)
    return files


def prepare(spark: SparkSession, lake: Path, clicks: Path, day: int, *more: str) -> None:
    settings = [word for name, value in LIMITS.items() for word in ("--set", f"prepare.{name}={value}")]
    words = ("--source", "conf/sources/sample.yaml", "--input", clicks, "--lake", lake, "--date", date(day))
    run_job(spark, "prepare", *words, *settings, *more)


def date(day: int) -> str:
    return f"{START + timedelta(days=day):%Y-%m-%d}"


def by_nights(spark: SparkSession, folder: Path, files: list[list[str]]) -> Path:
    for day, lines in enumerate(files):
        prepare(spark, folder / "lake", write_clicks(folder / f"{day}", *lines), day)
    return folder / "lake"


@pytest.fixture(scope="module")
def at_once(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("at_once")
    lines = [line for lines in deliver(make_rows(), 0.0, 1) for line in lines]
    # More splits than buckets, as for a large input.
    prepare(spark, folder / "lake", write_clicks(folder, *lines), DAYS - 1, "--set", "prepare.split_rows=100")
    return folder / "lake"


@pytest.fixture(scope="module")
def shuffled(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return by_nights(spark, tmp_path_factory.mktemp("shuffled"), deliver(make_rows(), 0.15, 3))


def histories(lake: Path) -> list[tuple[Any, ...]]:
    """Return histories with item ids in the place of indices."""
    name = dict(table(lake, "items").select("item_idx", "item_id").iter_rows())
    rows = table(lake, "histories").sort("user_id").to_dicts()
    for row in rows:
        for column in ("item_idxs", "purchased"):
            row[column] = [name.get(item) for item in row[column]]
    return [tuple(sorted(row.items())) for row in rows]


def assert_same(one: Path, other: Path) -> None:
    assert content(one, "events", ("run_date",)) == content(other, "events", ("run_date",))
    assert content(one, "item_days") == content(other, "item_days")
    assert histories(one) == histories(other)


def test_all_kinds_of_trouble_are_in_the_rows(at_once: Path) -> None:
    reasons = set(table(at_once, "quarantine")["reason"])
    assert {"bot", "burst", "over the user cap", "duplicate"} <= reasons
    events = table(at_once, "events")
    shared = events.filter(user_id="shared")
    assert len(shared) == LIMITS["max_user_events"]
    lengths = events.group_by("session_id").agg(pl.col("event_ts").max() - pl.col("event_ts").min())
    assert lengths["event_ts"].max() < timedelta(minutes=46)
    days = events.group_by("session_id").agg(pl.col("event_date").n_unique())
    assert days["event_date"].max() == 2, "a session crosses midnight"


def test_night_by_night_equals_all_at_once(spark: SparkSession, at_once: Path, tmp_path: Path) -> None:
    nights = by_nights(spark, tmp_path, deliver(make_rows(), 0.0, 2))
    assert_same(nights, at_once)
    # What is known of items keeps what a row told that later turned out to be a bot's; here none did.
    by_id = (
        "item_idx",
        "first_seen",
        "last_seen",
        "num_users",
        "user_sample",
        "price",
        "price_us",
        "category",
        "category_us",
    )
    assert content(nights, "items", by_id) == content(at_once, "items", by_id)


def test_shuffled_and_late_rows_end_in_the_same_tables(shuffled: Path, at_once: Path) -> None:
    assert_same(shuffled, at_once)


def test_a_night_run_again_changes_nothing(spark: SparkSession, shuffled: Path) -> None:
    before = {name: content(shuffled, name) for name in ("events", "items", "item_days", "histories", "quarantine")}
    prepare(spark, shuffled, shuffled.parent / f"{DAYS - 1}" / "clicks.csv", DAYS - 1)
    assert {name: content(shuffled, name) for name in before} == before


def test_items_described_in_shares_are_the_same(
    spark: SparkSession, at_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sparkrec.prepare.vocabulary.PART_BYTES", 1)
    nights = by_nights(spark, tmp_path, deliver(make_rows(), 0.0, 1))
    assert len(Lake(spark, str(nights)).files(ITEMS)) > NUM_GROUPS // 2, "some groups of so few items are empty"
    assert content(nights, "items", ("item_idx",)) == content(at_once, "items", ("item_idx",))


def test_the_plain_computation_agrees(spark: SparkSession, shuffled: Path) -> None:
    fast = {name: content(shuffled, name) for name in ("item_days", "histories")}
    counted = ("item_id", "item_idx", "num_events")
    items = table(shuffled, "items").select(counted).sort("item_id").rows()
    heal(Lake(spark, str(shuffled)), PrepareSettings(**LIMITS))  # type: ignore[arg-type]
    assert content(shuffled, "item_days") == fast["item_days"]
    assert content(shuffled, "histories") == fast["histories"]
    assert table(shuffled, "items").select(counted).sort("item_id").rows() == items

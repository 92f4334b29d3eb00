"""Rows that come late: only what they touch is read and written."""

from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest
from pyspark.sql import SparkSession

from sparkrec.config.settings import PrepareSettings
from sparkrec.lake import Lake
from sparkrec.prepare import stored
from sparkrec.prepare.clean import KINDS
from sparkrec.prepare.night import list_bucket_files
from sparkrec.prepare.plan import ROWS, NightPlan
from sparkrec.prepare.split import _beside_the_lake, _look_back
from sparkrec.prepare.stored import read_file
from sparkrec.tables import EVENTS, HISTORIES
from tests.running import prepare_night, table, write_clicks


def test_a_row_with_a_clock_of_1970_opens_no_other_day(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for day in (1, 3, 5, 6, 7):
        prepare_night(spark, tmp_path / "lake", write_clicks(tmp_path, f"2024-03-0{day} 10:00:00 UTC,view,ann,i1"), day)
    plan = NightPlan(
        run_date=date(2024, 3, 9),
        oldest=date(2024, 3, 6),
        zone="UTC",
        settings=PrepareSettings(),
        num_splits=4,
        staging=str(tmp_path),
        event_files=str(tmp_path / "events.parquet"),
        history_files=str(tmp_path / "histories.parquet"),
        busy_days="",
        sources="",
    )
    lake = Lake(spark, str(tmp_path / "lake"))
    list_bucket_files(lake, EVENTS, Path(plan.event_files))
    list_bucket_files(lake, HISTORIES, Path(plan.history_files))
    opened = []

    def read(path: str, day: date, *chosen: pl.Expr) -> pl.DataFrame:
        opened.append(day)
        return read_file(path, day, *chosen)

    monkeypatch.setattr(stored, "read_file", read)
    (bucket,) = table(tmp_path / "lake", "histories")["user_bucket"]
    rows = rows_of("ann", datetime(1970, 1, 1, 1), datetime(2024, 3, 3, 10), datetime(2024, 3, 7, 10))
    past = _look_back(plan, bucket, rows, rows.clear())
    # The third of March, to see whether that row is known; from the day before the seventh on, for its session.
    assert sorted(opened) == [date(2024, 3, day) for day in (3, 6, 7)]
    _, known, too_late = _beside_the_lake(rows, past, plan.oldest)
    assert known["event_date"].to_list() == [date(2024, 3, 3), date(2024, 3, 7)]
    assert too_late["event_date"].to_list() == [date(1970, 1, 1)]


def rows_of(user: str, *moments: datetime) -> pl.DataFrame:
    """Views of one item."""
    told = {
        "user_id": user,
        "item_id": "i1",
        "kind": KINDS.index("view"),
        "event_us": [int(when.replace(tzinfo=UTC).timestamp()) * 1_000_000 for when in moments],
        "event_date": [when.date() for when in moments],
        "user_key": 1,
    }
    missing = [pl.lit(None).alias(name) for name in ROWS if name not in told]
    return pl.DataFrame(told).with_columns(missing).select(list(ROWS)).cast(ROWS)


def test_late_rows_rewrite_only_files_that_hold_their_users(spark: SparkSession, tmp_path: Path) -> None:
    one_bucket = ("--set", "prepare.user_buckets=1")
    lake = tmp_path / "lake"
    late = {1: (), 2: ("ann",), 3: ("bob", "new")}
    paths = []
    for day, users in late.items():
        lines = [f"2024-03-01 {10 + day}:00:00 UTC,view,{user},i1" for user in users]
        everybody = [f"2024-03-0{day} 09:00:00 UTC,view,{user},i1" for user in ("ann", "bob")]
        prepare_night(spark, lake, write_clicks(tmp_path / "in", *lines, *everybody), day, *one_bucket)
        paths.append({path for path in Lake(spark, str(lake)).files(EVENTS)["path"] if "event_date=2024-03-01" in path})
    (kept,) = paths[1] & paths[2]
    assert pl.read_parquet(lake / "events" / kept)["user_id"].unique().to_list() == ["ann"]
    events = table(lake, "events").filter(pl.col("event_date") == date(2024, 3, 1))
    assert sorted(events["user_id"]) == ["ann", "ann", "bob", "bob", "new"]

"""Deliveries as they come in real life: broken, doubled, half. A clear error or a counted quarantine, never less."""

import gzip
import shutil
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from pyspark.errors import PythonException
from pyspark.sql import SparkSession

from sparkrec.errors import RefusedError, SparkrecError
from sparkrec.lake import Lake
from sparkrec.prepare.catalogue import read_catalogue
from sparkrec.prepare.heal import BUCKETS, ZONE
from sparkrec.prepare.ledger import Ledger, check_usual, keep_ledger
from sparkrec.prepare.scan import refusing
from sparkrec.prepare.vocabulary import _read
from sparkrec.tables import EVENTS
from tests.running import commits, content, run_job, table, write_clicks

LINES = tuple(f"2024-03-01 {10 + n % 9}:{n % 60:02d}:00 UTC,view,u{n % 7},i{n % 11},1.5,toys" for n in range(60))
HEAD = "event_time,event_type,user_id,item_id,price,category,query,brand"


def prepare(spark: SparkSession, lake: Path, clicks: Path, *more: object) -> None:
    words = ("--source", "conf/sources/sample.yaml", "--input", clicks, "--lake", lake, "--date", "2024-03-01")
    run_job(spark, "prepare", *words, *more)


@pytest.fixture(scope="module")
def good(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("good")
    prepare(spark, folder / "lake", write_clicks(folder / "in", *LINES))
    return folder / "lake"


def test_a_gzip_that_breaks_off_is_an_error_and_no_table_changes(
    spark: SparkSession, good: Path, tmp_path: Path
) -> None:
    many = "\n".join([HEAD, *LINES * 200])
    packed = gzip.compress(many.encode())
    (tmp_path / "clicks.csv.gz").write_bytes(packed[: len(packed) // 2])
    before = commits(good)
    with pytest.raises(SparkrecError) as told:
        prepare(spark, good, tmp_path / "clicks.csv.gz")
    assert "clicks.csv.gz" in str(told.value)
    assert "no table was changed" in str(told.value)
    assert commits(good) == before
    assert not (good / "_staging").exists()


def test_a_parquet_file_that_breaks_off_is_refused(spark: SparkSession, good: Path, tmp_path: Path) -> None:
    pl.DataFrame({"event_time": ["2024-03-01"] * 99}).write_parquet(tmp_path / "c.parquet")
    whole = (tmp_path / "c.parquet").read_bytes()
    (tmp_path / "c.parquet").write_bytes(whole[:-20])
    source = tmp_path / "source.yaml"
    source.write_text(Path("conf/sources/sample.yaml").read_text().replace("format: csv", "format: parquet"))
    with pytest.raises(RefusedError, match="cannot be read as parquet"):
        prepare(spark, good, tmp_path / "c.parquet", "--source", source)


def test_blank_lines_and_an_extra_column_change_nothing(spark: SparkSession, good: Path, tmp_path: Path) -> None:
    lines = [line + "," * (7 - line.count(",")) + ",extra" for line in LINES]
    text = "\n".join([HEAD + ",more", *lines[:30], "", "   ", *lines[30:], ""])
    (tmp_path / "clicks.csv").write_text(text)
    prepare(spark, tmp_path / "lake", tmp_path / "clicks.csv")
    assert content(tmp_path / "lake", "events") == content(good, "events")


def test_a_file_delivered_twice_counts_once(spark: SparkSession, good: Path, tmp_path: Path) -> None:
    file = write_clicks(tmp_path / "in", *LINES)
    shutil.copy(file, file.with_name("again.csv"))
    prepare(spark, tmp_path / "lake", file.parent, "--set", "prepare.max_quarantine_share=0.5")
    assert content(tmp_path / "lake", "events") == content(good, "events")
    assert set(table(tmp_path / "lake", "quarantine")["reason"]) == {"duplicate"}
    assert len(table(tmp_path / "lake", "quarantine")) == len(LINES)


def test_what_is_quarantined_says_where_it_came_from(spark: SparkSession, tmp_path: Path) -> None:
    file = write_clicks(tmp_path / "a folder", *LINES, LINES[0], "2024-03-01 10:00:00 UTC,hover,u1,i1")
    prepare(spark, tmp_path / "lake", file.parent)
    rows = table(tmp_path / "lake", "quarantine").sort("reason").to_dicts()
    assert [row["reason"] for row in rows] == ["duplicate", "unknown event type"]
    assert all(row["source_file"].endswith("clicks.csv") for row in rows)
    assert all(str(row["event_date"]) == "2024-03-01" for row in rows)
    assert '"event_ts":"2024-03-01T10:00:00.000000Z"' in rows[0]["raw"]
    assert '"event_type":"hover"' in rows[1]["raw"]


def test_a_lake_whose_users_are_grouped_otherwise_is_refused(spark: SparkSession, good: Path, tmp_path: Path) -> None:
    before = commits(good)
    with pytest.raises(RefusedError, match="this lake was made with 4"):
        prepare(spark, good, write_clicks(tmp_path, *LINES), "--set", "prepare.user_buckets=8")
    assert commits(good) == before


def test_a_first_run_killed_after_its_events_leaves_a_lake_that_knows_its_groups(
    spark: SparkSession, good: Path, tmp_path: Path
) -> None:
    shutil.copytree(good, tmp_path / "lake")
    for name in ("items", "item_days", "histories", "runs"):
        shutil.rmtree(tmp_path / "lake" / name)
    clicks = write_clicks(tmp_path / "in", *LINES)
    for _ in range(2):
        with pytest.raises(RefusedError, match="this lake was made with 4"):
            prepare(spark, tmp_path / "lake", clicks, "--set", "prepare.user_buckets=8")
        prepare(spark, tmp_path / "lake", clicks)
    assert content(tmp_path / "lake", "histories") == content(good, "histories")


def test_tables_that_a_cut_off_run_left_apart_are_brought_in_step(
    spark: SparkSession, good: Path, tmp_path: Path
) -> None:
    shutil.copytree(good, tmp_path / "lake")
    other = write_clicks(tmp_path / "in", *LINES, "2024-03-01 12:00:30 UTC,purchase,eve,i9,2.5,toys")
    # As a kill right after the commit of `events` leaves it.
    prepare(spark, tmp_path / "other", other)
    names = ("events", "items", "item_days", "histories", "quarantine")
    prepare(spark, tmp_path / "lake", other)
    for name in ("items", "item_days", "histories"):
        shutil.rmtree(tmp_path / "lake" / name)
        shutil.copytree(good / name, tmp_path / "lake" / name)
    prepare(spark, tmp_path / "lake", other)
    for name in names:
        assert content(tmp_path / "lake", name) == content(tmp_path / "other", name), name


def test_a_catalogue_adds_items_and_takes_others_off_the_shelf(spark: SparkSession, good: Path, tmp_path: Path) -> None:
    shutil.copytree(good, tmp_path / "lake")
    (tmp_path / "items-2024-03-01.csv").write_text(
        "item_id,brand,available,attributes\ni0,,false,\nnew,acme,,\ni1,best,yes,red| big|red|\n"
    )
    clicks = write_clicks(tmp_path / "in", *LINES)
    prepare(spark, tmp_path / "lake", clicks, "--set", f"prepare.catalogue={tmp_path}/items-{{date}}.csv")
    items = {row["item_id"]: row for row in table(tmp_path / "lake", "items").to_dicts()}
    assert {name for name, item in items.items() if not item["available"]} == {"i0"}
    assert (items["new"]["item_idx"], items["new"]["num_events"], items["new"]["first_seen"]) == (13, 0, None)
    assert (items["new"]["brand"], items["i1"]["brand"], items["i1"]["category"]) == ("acme", "best", "toys")
    assert items["i1"]["attributes"] == ["big", "red"]
    assert not items["new"]["attributes"]
    prepare(spark, tmp_path / "lake", clicks)
    kept = {row["item_id"]: row["attributes"] for row in table(tmp_path / "lake", "items").to_dicts()}
    assert kept["i1"] == ["big", "red"], "a night without a catalogue forgets nothing"
    prepare(
        spark, tmp_path / "lake", clicks, "--set", f"prepare.catalogue={tmp_path}/items-{{date}}.csv",
        "--set", "prepare.catalogue_is_complete=true",
    )  # fmt: skip
    assert set(table(tmp_path / "lake", "items").filter(pl.col("available"))["item_id"]) == {"new", "i1"}
    with pytest.raises(RefusedError, match="no such file"):
        prepare(spark, tmp_path / "lake", clicks, "--set", f"prepare.catalogue={tmp_path}/nothing.csv")


def test_attributes_come_as_lists_too(tmp_path: Path) -> None:
    listed = pl.DataFrame({"item_id": ["a", "b"], "attributes": [["x", "y", "x"], None]})
    listed.write_parquet(tmp_path / "items.parquet")
    found = read_catalogue(str(tmp_path / "items.parquet")).sort("item_id")
    assert found["attributes"].to_list() == [["x", "y"], None]
    listed.with_columns(attributes=pl.Series([[1, 2], [3, 3]])).write_parquet(tmp_path / "items.parquet")
    found = read_catalogue(str(tmp_path / "items.parquet")).sort("item_id")
    assert found["attributes"].to_list() == [["1", "2"], ["3"]]


def test_items_that_an_earlier_version_wrote_are_read_with_nulls_for_what_they_lack(tmp_path: Path) -> None:
    older, newer = tmp_path / "older.parquet", tmp_path / "newer.parquet"
    pl.DataFrame({"item_id": ["a"]}).write_parquet(older)
    pl.DataFrame({"item_id": ["b"], "attributes": [["x"]]}).write_parquet(newer)
    rows = _read([str(older), str(newer)], {"item_id": pl.String, "attributes": pl.List(pl.String)})
    assert rows is not None
    assert rows.collect().rows() == [("a", None), ("b", ["x"])]


DAY = date(2024, 3, 8)


@pytest.mark.parametrize(
    ("found", "week", "is_refused"),
    [
        (3_900, [10_000] * 7, True),
        (4_000, [10_000] * 7, False),
        (0, [10_000, 9_000], False),
        (1, [900] * 7, False),
        (3_000, [10_000, 5_000, 7_000, 1_000], False),
    ],
)
def test_half_a_delivery_is_refused(found: int, week: list[int], is_refused: bool) -> None:
    ledger = Ledger(found, {DAY: found}, {}, 0, {})
    if not is_refused:
        return check_usual(ledger, week, DAY, "in", 0.4)
    with pytest.raises(RefusedError, match="is the delivery complete"):
        check_usual(ledger, week, DAY, "in", 0.4)
    check_usual(ledger, week, DAY, "in", 0)
    return None


def test_a_ledger_that_does_not_add_up_is_a_fault() -> None:
    taken_in = {"kind": "rows", "name": "new", "day": "2024-03-08", "num": 5}
    told = [taken_in, {"kind": "refused", "name": "bot", "num": 2}]
    assert keep_ledger(told, 8, 1).refused == {"bot": 2}
    with pytest.raises(RuntimeError, match="does not add up"):
        keep_ledger(told, 9, 1)


def test_a_first_run_cut_off_before_its_first_commit_is_simply_repeated(
    spark: SparkSession, good: Path, tmp_path: Path
) -> None:
    Lake(spark, str(tmp_path / "lake")).create(EVENTS, {BUCKETS: "4", ZONE: "UTC"})
    prepare(spark, tmp_path / "lake", write_clicks(tmp_path / "in", *LINES))
    assert content(tmp_path / "lake", "events") == content(good, "events")


def test_a_lake_has_one_zone(spark: SparkSession, good: Path, tmp_path: Path) -> None:
    source = tmp_path / "source.yaml"
    source.write_text(Path("conf/sources/sample.yaml").read_text().replace("zone: UTC", "zone: Asia/Shanghai"))
    with pytest.raises(RefusedError, match="this lake was made with UTC"):
        prepare(spark, good, write_clicks(tmp_path, *LINES), "--source", source)


def test_a_full_disk_is_told_as_one_and_a_fault_of_our_own_tasks_as_itself() -> None:
    trace = "Traceback …\npolars.exceptions.ComputeError: underlying IO error: No space left on device (os error 28)"
    with pytest.raises(RefusedError, match=r"is full.*ComputeError.*No space left on device"), refusing("/clicks"):
        raise PythonException(trace)
    with pytest.raises(PythonException, match="odd"), refusing("/clicks"):
        raise PythonException("Traceback …\nValueError: odd")

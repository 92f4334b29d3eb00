"""The prepare job on literal rows: twice equals once, night by night equals all at once, refusals change nothing."""

import shutil
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from sparkrec.config.settings import PrepareSettings
from sparkrec.errors import RefusedError
from sparkrec.lake import Lake, locked
from sparkrec.prepare.as_of import known_as_of
from sparkrec.prepare.items import describe_items, number_by_id, rebuild_items
from sparkrec.prepare.news import MAX_VISITORS
from sparkrec.tables import EVENTS, ITEMS
from tests.running import commits, content, day, run_job, table, write_clicks

SAMPLE = ("--source", "conf/sources/sample.yaml")
FIRST_NIGHT = (
    "2024-03-01 10:00:00 UTC,view,ann,i2,2.0,toys",
    "2024-03-01 10:05:00 UTC,view,ann,i1,1.0,toys",
    "2024-03-01 10:05:00 UTC,view,ann,i1,1.0,toys",
    "2024-03-01 23:50:00 UTC,cart,bob,i1,1.0,toys",
    "2024-03-01 23:55:00 UTC,hover,bob,i1,1.0,toys",
)
SECOND_NIGHT = (
    "2024-03-02 00:05:00 UTC,purchase,bob,i1,1.5,toys",
    "2024-03-02 09:00:00 UTC,search,bob,,,,a red hat",
    "2024-03-02 09:01:00 UTC,view,bob,i0,7.0,hats",
    # A day late, and it ties two of ann's earlier moments into one session with itself in front.
    "2024-03-01 09:40:00 UTC,view,ann,i1,1.0,toys",
)


def prepare(spark: SparkSession, lake: Path, clicks: Path, date: str, *more: str) -> None:
    # Literal nights are few rows, so a single refused one is a large share.
    loose = ("--set", "prepare.max_quarantine_share=0.9")
    run_job(spark, "prepare", *SAMPLE, "--input", clicks, "--lake", lake, "--date", date, *loose, *more)


@pytest.fixture(scope="module")
def one_night(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("one_night")
    prepare(spark, folder / "lake", write_clicks(folder / "one", *FIRST_NIGHT), "2024-03-01")
    return folder


@pytest.fixture(scope="module")
def two_nights(spark: SparkSession, one_night: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two_nights")
    shutil.copytree(one_night, folder, dirs_exist_ok=True)
    prepare(spark, folder / "lake", write_clicks(folder / "two", *SECOND_NIGHT), "2024-03-02")
    return folder


def copied(night: Path, tmp_path: Path) -> Path:
    """Return a lake of one's own, with the nights that are in it."""
    return Path(shutil.copytree(night / "lake", tmp_path / "lake"))


def test_every_row_is_in_events_or_in_quarantine(two_nights: Path) -> None:
    lake = two_nights / "lake"
    assert len(table(lake, "events")) == 3 + 4
    reasons = table(lake, "quarantine").select("reason", "run_date").rows()
    assert sorted((reason, str(date)) for reason, date in reasons) == [
        ("duplicate", "2024-03-01"),
        ("unknown event type", "2024-03-01"),
    ]


def test_sessions_cross_midnight_and_take_in_late_events(two_nights: Path) -> None:
    sessions = table(two_nights / "lake", "events").select("user_id", "session_id", "item_id", "event_type").rows()
    bobs = {event: session for user, session, _, event in sessions if user == "bob"}
    assert bobs["cart"] == bobs["purchase"] == "bob@1709337000"
    assert bobs["search"] == bobs["view"] != bobs["cart"]
    assert {session for user, session, *_ in sessions if user == "ann"} == {"ann@1709286000"}


def test_items_keep_their_index_and_new_ones_follow_by_id(two_nights: Path) -> None:
    items = {row["item_id"]: row for row in table(two_nights / "lake", "items").to_dicts()}
    assert {name: item["item_idx"] for name, item in items.items()} == {"i1": 2, "i2": 3, "i0": 4}
    assert (items["i1"]["num_events"], items["i1"]["num_users"], items["i1"]["price"]) == (4, 2, 1.5)
    assert str(items["i1"]["first_seen"]) == "2024-03-01"
    assert str(items["i1"]["last_seen"]) == "2024-03-02"


def test_item_days_count_every_kind_of_event(two_nights: Path) -> None:
    rows = table(two_nights / "lake", "item_days").rows(named=True)
    counted = {(str(r["event_date"]), r["item_id"], r["event_type"]): r["num_events"] for r in rows}
    assert counted == {
        ("2024-03-01", "i1", "view"): 2,
        ("2024-03-01", "i2", "view"): 1,
        ("2024-03-01", "i1", "cart"): 1,
        ("2024-03-02", "i1", "purchase"): 1,
        ("2024-03-02", "i0", "view"): 1,
    }


def test_a_history_is_in_time_order_with_what_was_bought(two_nights: Path) -> None:
    bob = next(row for row in table(two_nights / "lake", "histories").to_dicts() if row["user_id"] == "bob")
    assert bob["item_idxs"] == [2, 2, 1, 4]
    assert bob["event_types"] == [2, 3, 4, 1]
    assert bob["session_nos"] == [1, 1, 2, 2]
    assert bob["prices"] == [1.0, 1.5, None, 7.0]
    assert bob["purchased"] == [2]
    assert bob["num_events"] == 4
    assert str(bob["as_of"]) == "2024-03-02"


def test_night_by_night_equals_all_at_once(spark: SparkSession, two_nights: Path, tmp_path: Path) -> None:
    clicks = write_clicks(tmp_path, *reversed(SECOND_NIGHT), *reversed(FIRST_NIGHT))
    prepare(spark, tmp_path / "lake", clicks, "2024-03-02")
    arrival = ("run_date",)
    assert content(tmp_path / "lake", "events", arrival) == content(two_nights / "lake", "events", arrival)
    assert content(tmp_path / "lake", "item_days") == content(two_nights / "lake", "item_days")
    by_id = ("item_idx",)
    assert content(tmp_path / "lake", "items", by_id) == content(two_nights / "lake", "items", by_id)


def test_a_date_run_again_leaves_the_same_rows(spark: SparkSession, two_nights: Path, tmp_path: Path) -> None:
    names = ("events", "items", "item_days", "quarantine", "histories")
    before = {name: content(two_nights / "lake", name) for name in names}
    prepare(spark, two_nights / "lake", two_nights / "two" / "clicks.csv", "2024-03-02")
    assert {name: content(two_nights / "lake", name) for name in names} == before


def test_one_file_serves_every_night(spark: SparkSession, one_night: Path, tmp_path: Path) -> None:
    lake = copied(one_night, tmp_path)
    prepare(spark, lake, write_clicks(tmp_path, *FIRST_NIGHT, *SECOND_NIGHT[:3]), "2024-03-02")
    assert len(table(lake, "events")) == 6
    messages = [row["message"] for row in table(lake, "runs").to_dicts() if str(row["run_date"]) == "2024-03-02"]
    assert "3 known already" in messages[0]


def test_a_corrected_file_replaces_what_its_night_wrote(spark: SparkSession, one_night: Path, tmp_path: Path) -> None:
    lake = copied(one_night, tmp_path)
    corrected = (FIRST_NIGHT[0], "2024-03-01 11:00:00 UTC,view,eve,i9,3.0,toys")
    later = "2024-03-02 11:00:00 UTC,view,eve,i9,3.0,toys"
    prepare(spark, lake, write_clicks(tmp_path, *corrected, later), "2024-03-01")
    assert sorted(table(lake, "events")["user_id"]) == ["ann", "eve"], "rows of later days wait for their own night"
    items = {row["item_id"]: (row["item_idx"], row["num_events"]) for row in table(lake, "items").to_dicts()}
    assert items == {"i1": (2, 0), "i2": (3, 1), "i9": (4, 1)}, "indices are never dealt a second time"


def test_an_older_date_run_again_takes_nothing_back_and_finds_what_was_known_then(
    spark: SparkSession, one_night: Path, two_nights: Path, tmp_path: Path
) -> None:
    lake = copied(two_nights, tmp_path)
    prepare(spark, lake, one_night / "one" / "clicks.csv", "2024-03-01")
    for name in ("events", "histories", "item_days"):
        assert content(lake, name) == content(two_nights / "lake", name), name
    then = known_as_of(Lake(spark, str(lake)), day("2024-03-01"), PrepareSettings())
    assert "histories reach to 2024-03-02" in then.remark
    for name, rebuilt in (("histories", then.histories), ("item_days", then.item_days)):
        before = spark.read.format("delta").load(str(one_night / "lake" / name)).select(rebuilt.columns)
        assert sorted(map(repr, rebuilt.collect())) == sorted(map(repr, before.collect())), name
    with pytest.raises(RefusedError, match="2024-02-01 was not prepared"):
        known_as_of(Lake(spark, str(lake)), day("2024-02-01"), PrepareSettings())


def test_a_backfill_of_an_older_date_takes_nothing_back(spark: SparkSession, two_nights: Path, tmp_path: Path) -> None:
    lake = copied(two_nights, tmp_path)
    prepare(spark, lake, write_clicks(tmp_path, "2024-02-20 10:00:00 UTC,view,old,i1,1.0,toys"), "2024-02-20")
    assert set(table(lake, "histories")["user_id"]) == {"ann", "bob", "old"}
    # The first night brought rows of any age when it ran; that an older night came since changes nothing.
    prepare(spark, lake, write_clicks(tmp_path, *FIRST_NIGHT), "2024-03-01")
    assert len(table(lake, "events")) == 3 + 4 + 1


def test_events_older_than_late_days_are_refused_after_the_first_run(
    spark: SparkSession, one_night: Path, tmp_path: Path
) -> None:
    lake = copied(one_night, tmp_path)
    late = ("2024-03-01 12:00:00 UTC,view,zoe,i1", "2024-03-05 12:00:00 UTC,view,zoe,i1")
    prepare(spark, lake, write_clicks(tmp_path, *late), "2024-03-05")
    assert "too late" in table(lake, "quarantine")["reason"]
    assert len(table(lake, "events").filter(user_id="zoe")) == 1


def numbers(spark: SparkSession, partitions: int) -> dict[str, int]:
    ids = spark.range(500).select(F.concat(F.lit("i"), F.col("id")).alias("item_id")).repartition(partitions)
    return {row["item_id"]: row["item_idx"] for row in number_by_id(ids, 17).collect()}


def test_indices_are_the_order_of_the_ids_whatever_the_partitions(spark: SparkSession) -> None:
    expected = {name: 17 + place for place, name in enumerate(sorted(f"i{n}" for n in range(500)))}
    assert numbers(spark, 1) == numbers(spark, 7) == expected


def test_the_sample_of_users_is_those_with_the_smallest_hashes(
    spark: SparkSession, two_nights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sparkrec.prepare.items.MAX_VISITORS", 1)
    events = Lake(spark, str(two_nights / "lake")).read(EVENTS)
    (keys,) = spark.sql("SELECT xxhash64('ann'), xxhash64('bob')").collect()
    samples = {row["item_id"]: row["user_sample"] for row in describe_items(events).collect()}
    assert samples == {"i0": [keys[1]], "i1": [min(keys)], "i2": [keys[0]]}


def refused(spark: SparkSession, lake: Path, told: str, *words: object) -> None:
    before = commits(lake)
    with pytest.raises(RefusedError) as refusal:
        run_job(spark, "prepare", "--lake", lake, *words)
    assert told in str(refusal.value)
    assert commits(lake) == before


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return write_clicks(tmp_path / "good", *FIRST_NIGHT)


@pytest.mark.parametrize("fresh", [True, False])
def test_bad_input_is_refused_and_no_table_changes(
    spark: SparkSession, two_nights: Path, tmp_path: Path, good: Path, fresh: bool
) -> None:
    lake = tmp_path / "lake" if fresh else two_nights / "lake"
    on = ("--date", "2024-03-02", *SAMPLE)
    refused(spark, lake, "no such file", *on, "--input", tmp_path / "nowhere.csv")
    (tmp_path / "empty.csv").write_text("")
    refused(spark, lake, "empty", *on, "--input", tmp_path / "empty.csv")
    (tmp_path / "head.csv").write_text("event_time,event_type,user_id,item_id,price,category,query,brand\n")
    refused(spark, lake, "no rows", *on, "--input", tmp_path / "head.csv")
    refused(spark, lake, "no row of 2024-03-02", *on, "--input", good)
    refused(spark, lake, "5 are of later days", "--date", "2023-01-01", *SAMPLE, "--input", good)
    wrong = ("--date", "2024-03-01", "--source", "conf/sources/rees46.yaml")
    refused(
        spark, lake, "maps product_id, category_code, category_id, the file has event_time", *wrong, "--input", good
    )
    text = write_clicks(tmp_path / "text", *(line.replace(",1.0,", ",cheap,") for line in FIRST_NIGHT))
    refused(spark, lake, "bad price", "--date", "2024-03-01", *SAMPLE, "--input", text)
    refused(spark, lake, "no such setting", *on, "--input", good, "--set", "prepare.gap=3")
    assert lake.exists() != fresh, "a refused first run leaves no folder behind"


def test_what_spark_cannot_open_is_a_refusal(spark: SparkSession, tmp_path: Path) -> None:
    on = ("--date", "2024-03-01", *SAMPLE)
    refused(spark, tmp_path / "lake", "no table was changed", *on, "--input", "nofs://bucket/clicks.csv")


def test_a_lake_that_cannot_be_written_is_told(spark: SparkSession, tmp_path: Path, good: Path) -> None:
    (tmp_path / "file").write_text("")
    refused(spark, tmp_path / "file" / "lake", "cannot be written", "--date", "2024-03-01", *SAMPLE, "--input", good)


def test_two_jobs_do_not_write_one_lake(spark: SparkSession, tmp_path: Path, good: Path) -> None:
    with locked(str(tmp_path / "lake")), pytest.raises(RefusedError, match="another job is writing"):
        run_job(spark, "prepare", *SAMPLE, "--date", "2024-03-01", "--lake", tmp_path / "lake", "--input", good)


def test_the_cut_line_of_rees46_is_quarantined(spark: SparkSession, shared_data: Path, tmp_path: Path) -> None:
    clicks = ("--source", "conf/sources/rees46.yaml", "--input", shared_data / "rees46" / "2019-Oct-head.csv.gz")
    run_job(spark, "prepare", *clicks, "--date", "2019-10-01", "--lake", tmp_path / "lake")
    quarantine = table(tmp_path / "lake", "quarantine").to_dicts()
    malformed = [row["raw"] for row in quarantine if row["reason"] == "malformed"]
    assert len(malformed) == 1
    assert malformed[0].endswith("52040330")
    assert len(quarantine) + len(table(tmp_path / "lake", "events")) == 17_435
    assert len(table(tmp_path / "lake", "histories")) == 4_504


def test_taobao_rows_before_the_period_are_quarantined(spark: SparkSession, shared_data: Path, tmp_path: Path) -> None:
    clicks = ("--source", "conf/sources/taobao.yaml", "--input", shared_data / "taobao" / "UserBehavior.csv.gz")
    run_job(spark, "prepare", *clicks, "--date", "2017-12-03", "--lake", tmp_path / "lake")
    reasons = table(tmp_path / "lake", "quarantine")["reason"].to_list()
    assert reasons.count("before the period") == 15
    events = table(tmp_path / "lake", "events")
    assert len(events) + len(reasons) == 30_958
    assert str(events["event_date"].min()) == "2017-11-25"
    assert events["session_id"].n_unique() == 5_119


def test_an_item_has_no_more_users_than_events_however_its_estimate_errs(spark: SparkSession) -> None:
    # Hashes that happen to lie close together look like a great crowd.
    sample = [-(2**63) + number * 2**50 for number in range(MAX_VISITORS)]
    told = ", ".join(f"{name} string, {name}_us bigint" for name in ("category", "brand"))
    kinds = f"item_id string, first_seen date, last_seen date, num_events bigint, {told}, price double, price_us bigint"
    first = day("2024-03-01")
    row = ("i1", first, first, 600, "a", 1, "b", 1, 1.0, 1, sample)
    described = spark.createDataFrame([row], f"{kinds}, user_sample array<bigint>")
    rebuilt = rebuild_items(spark.createDataFrame([], ITEMS.schema), described).first()
    assert rebuilt is not None
    assert (rebuilt["num_events"], rebuilt["num_users"]) == (600, 600)

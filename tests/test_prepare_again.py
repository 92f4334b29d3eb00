"""A night that runs again: with the same file, with a corrected one, and after a kill."""

import shutil
from pathlib import Path

from pyspark.sql import SparkSession

from sparkrec.prepare.busy import AFTERWARDS
from tests.running import content, prepare_night, table, write_clicks


def test_a_bots_day_stays_one_when_the_night_that_found_out_runs_again(spark: SparkSession, tmp_path: Path) -> None:
    half = [f"2024-03-01 10:{n:02d}:00 UTC,view,bot,i{n}" for n in range(6)]
    late = [f"2024-03-01 11:{n:02d}:00 UTC,view,bot,i{n}" for n in range(6)]
    rule = ("--set", "prepare.max_user_day_events=10")
    first = write_clicks(tmp_path / "1", *half, "2024-03-01 10:00:00 UTC,view,ann,i1")
    second = write_clicks(tmp_path / "2", *late, "2024-03-02 10:00:00 UTC,view,ann,i1")
    prepare_night(spark, tmp_path / "lake", first, 1, *rule)
    for _ in range(2):
        prepare_night(spark, tmp_path / "lake", second, 2, *rule)
        assert set(table(tmp_path / "lake", "events")["user_id"]) == {"ann"}
        assert set(table(tmp_path / "lake", "histories")["user_id"]) == {"ann"}
        quarantine = table(tmp_path / "lake", "quarantine")
        assert len(quarantine) == len(quarantine.unique()) == 12


def test_a_burst_that_a_late_row_completes_is_told_the_same_way_twice_and_after_a_kill(
    spark: SparkSession, tmp_path: Path
) -> None:
    rule = ("--set", "prepare.max_user_minute_events=3")
    first = write_clicks(tmp_path / "1", *(f"2024-03-01 10:00:0{n} UTC,view,fast,i{n}" for n in range(2)))
    late = (f"2024-03-01 10:00:1{n} UTC,view,fast,i{n}" for n in range(2))
    second = write_clicks(tmp_path / "2", *late, "2024-03-02 10:00:00 UTC,view,ann,i1")
    lake = tmp_path / "lake"
    prepare_night(spark, lake, first, 1, *rule)
    shutil.copytree(lake, tmp_path / "before")
    prepare_night(spark, lake, second, 2, *rule)
    quarantine = content(lake, "quarantine")
    assert table(lake, "quarantine")["reason"].to_list() == ["burst"] * 4
    prepare_night(spark, lake, second, 2, *rule)
    assert content(lake, "quarantine") == quarantine
    for name in ("events", "items", "item_days", "histories", "runs"):  # killed after the commit of `quarantine`
        shutil.rmtree(lake / name)
        shutil.copytree(tmp_path / "before" / name, lake / name)
    prepare_night(spark, lake, second, 2, *rule)
    assert content(lake, "quarantine") == quarantine
    assert set(table(lake, "events")["user_id"]) == {"ann"}


def test_a_day_refused_as_a_bots_comes_in_when_it_is_delivered_right(spark: SparkSession, tmp_path: Path) -> None:
    rule = ("--set", "prepare.max_user_day_events=10")
    ann = "2024-03-01 10:00:00 UTC,view,ann,i1"
    wrong = write_clicks(tmp_path / "1", ann, *(f"2024-03-01 10:{n:02d}:00 UTC,view,eve,i{n}" for n in range(20)))
    late = write_clicks(tmp_path / "2", "2024-03-01 12:00:00 UTC,view,eve,i1", "2024-03-02 10:00:00 UTC,view,ann,i1")
    right = write_clicks(tmp_path / "3", ann, *(f"2024-03-01 10:{n:02d}:00 UTC,view,eve,i{n}" for n in range(5)))
    lake = tmp_path / "lake"
    prepare_night(spark, lake, wrong, 1, *rule)
    prepare_night(spark, lake, late, 2, *rule)
    reasons = table(lake, "quarantine")["reason"].to_list()
    assert (reasons.count("bot"), reasons.count(AFTERWARDS)) == (20, 1)
    prepare_night(spark, lake, right, 1, *rule)
    prepare_night(spark, lake, late, 2, *rule)
    assert len(table(lake, "events").filter(user_id="eve")) == 6


def test_what_a_corrected_delivery_withdraws_is_gone_everywhere(spark: SparkSession, tmp_path: Path) -> None:
    stays = "2024-03-01 11:00:00 UTC,view,ann,y,{price}"
    bought = "2024-03-01 10:00:00 UTC,purchase,ann,x,1.0"
    prepare_night(spark, tmp_path / "lake", write_clicks(tmp_path / "1", bought, stays.format(price="5.0")), 1)
    prepare_night(spark, tmp_path / "lake", write_clicks(tmp_path / "2", stays.format(price="3.0")), 1)
    (ann,) = table(tmp_path / "lake", "histories").to_dicts()
    assert (ann["purchased"], ann["num_events"], ann["first_event_ts"].hour) == ([], 1, 11)
    prices = dict(table(tmp_path / "lake", "items").select("item_id", "price").iter_rows())
    assert prices["y"] == 3.0
    assert table(tmp_path / "lake", "events")["price"].to_list() == [3.0]

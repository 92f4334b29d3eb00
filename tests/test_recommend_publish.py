"""The job: a night is published whole or not at all, goes on where it was cut off, carries over what is the same."""

import shutil
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import deltalake
import polars as pl
import pytest
import torch
from pyspark.sql import SparkSession

from sparkrec.errors import SparkrecError
from sparkrec.job import Run
from sparkrec.models.second_opinion import SecondOpinion
from sparkrec.models.store import load_model, read_card, save_model
from sparkrec.recommend.left_out import cutoffs
from sparkrec.recommend.people import _carried, people_of
from sparkrec.sample.write import SampleSize, write_sample
from tests.conftest import ROOT
from tests.contests import add_model
from tests.running import commits, content, prepare_night, run_job, table

FIRST, SECOND = 2, 3
"""Days of March 2024."""
SIZE = SampleSize(num_events=4000, num_users=150, num_items=120, num_days=3)
PAST_SCHEMA = (
    "user_id string, item_idxs array<int>, event_types array<tinyint>, event_tss array<bigint>, session_nos array<int>,"
    " prices array<float>, purchased array<int>, num_events bigint"
)
GROUPS = ("--set", "recommend.group_users=10")


@pytest.fixture(scope="module")
def two_nights(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A lake whose first night is prepared and has a candidate, and one where that night is published and the second
    is prepared; the model of the first is to score both."""
    import os

    os.chdir(ROOT)
    folder = tmp_path_factory.mktemp("nights")
    write_sample(folder / "sample", SIZE)
    prepare_night(spark, folder / "one", folder / "sample", FIRST)
    add_model(spark, folder / "one", FIRST, "first")
    shutil.copytree(folder / "one", folder / "two")
    recommend(spark, folder / "two", FIRST)
    prepare_night(spark, folder / "two", folder / "sample", SECOND)
    return folder / "one", folder / "two"


@pytest.fixture
def one(two_nights: tuple[Path, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(two_nights[0], tmp_path / "lake"))


@pytest.fixture
def two(two_nights: tuple[Path, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(two_nights[1], tmp_path / "lake"))


def recommend(spark: SparkSession, lake: Path, day: int, *more: object) -> Run:
    # Random weights: what they recommend is not what the checks are for.
    lenient = ("--set", "recommend.max_concentration=1", "--set", "recommend.max_drift=9")
    return run_job(spark, "recommend", "--lake", lake, "--date", f"2024-03-0{day}", *lenient, *more)


def night(lake: Path, day: int) -> pl.DataFrame:
    return table(lake, "recommendations").filter(run_date=date(2024, 3, day)).sort("user_id", "rank")


def write_input(lake: Path, name: str, rows: Sequence[dict[str, object]]) -> None:
    deltalake.write_deltalake(str(lake / name), pl.DataFrame(list(rows), infer_schema_length=None).to_arrow())


def most(lake: Path) -> str:
    """Return the category of most items."""
    return str(table(lake, "items")["category"].drop_nulls().value_counts().sort("count")["category"][-1])


def newest_run(lake: Path) -> dict[str, Any]:
    return table(lake, "runs").filter(job="recommend").sort("started_at").to_dicts()[-1]


def refused(spark: SparkSession, lake: Path, day: int, told: str, *more: object) -> dict[str, Any]:
    """Check that a night is refused, that readers see what they saw, and return the run's row."""
    names = ("recommendations", "models")
    before = {name: content(lake, name) for name in names if (lake / name).exists()}
    num = commits(lake)
    with pytest.raises(SparkrecError, match=told):
        recommend(spark, lake, day, *more)
    assert {name: content(lake, name) for name in before} == before
    assert {name: num_commits for name, num_commits in commits(lake).items() if name != "runs"} == {
        name: num_commits for name, num_commits in num.items() if name != "runs"
    }
    run = newest_run(lake)
    assert run["status"] == "failed"
    return run


def test_lists_of_before_there_were_chances_of_purchases_are_carried_over(spark: SparkSession) -> None:
    row = {"user_id": "u", "rank": 1, "item_id": "i", "score": 0.5, "because_item_id": None, "made_from": 7}
    types = "user_id string, rank int, item_id string, score double, because_item_id string, made_from bigint"
    (found,) = _carried(spark.createDataFrame([row], types)).collect()
    assert [entry.asDict() for entry in found["carried"]] == [
        {"rank": 1, "item_id": "i", "score": 0.5, "because_item_id": None, "purchase_probability": None}
    ]


def test_a_published_night_leaves_its_figures_and_nothing_else(spark: SparkSession, one: Path) -> None:
    recommend(spark, one, FIRST, *GROUPS)
    rows = night(one, FIRST)
    users = table(one, "histories")["user_id"]
    assert rows.group_by("user_id").agg(pl.col("rank")).select("rank").to_series().to_list() == [
        list(range(1, 11))
    ] * len(users)
    assert set(rows["user_id"]) == set(users)
    figures = newest_run(one)["figures"]
    assert figures["users"] == len(users)
    assert figures["source model"] == len(rows.filter(source="model"))
    assert 0 < figures["coverage"] <= 1
    assert figures["coverage"] == rows["item_id"].n_unique() / len(table(one, "items"))
    assert "overlap" not in figures
    assert not list((one / "_scored").glob("*"))
    assert not list(one.glob("**/*.writing"))
    assert table(one, "models")["status"].to_list() == ["champion"]
    files = deltalake.DeltaTable(one / "recommendations").get_add_actions(flatten=True)
    assert pl.DataFrame(files)["num_records"].sum() == len(rows)


def test_groups_and_partitions_change_no_row(spark: SparkSession, one: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(one, tmp_path / "other"))
    recommend(spark, one, FIRST)
    spark.conf.set("spark.sql.files.maxPartitionBytes", "4096")
    try:
        recommend(spark, other, FIRST, "--set", "recommend.group_users=4")
    finally:
        spark.conf.unset("spark.sql.files.maxPartitionBytes")
    assert content(one, "recommendations") == content(other, "recommendations")
    assert len(deltalake.DeltaTable(other / "recommendations").file_uris()) > 15


def test_a_date_published_again_has_the_same_rows_once(spark: SparkSession, one: Path) -> None:
    recommend(spark, one, FIRST, *GROUPS)
    before = content(one, "recommendations")
    recommend(spark, one, FIRST, *GROUPS)
    assert content(one, "recommendations") == before
    again = recommend(spark, one, FIRST, "--set", "recommend.carry_over=true")
    assert content(one, "recommendations") == before
    assert again.figures["carried"] == 0
    assert "overlap" not in again.figures, "a night is not the night before itself"


def test_a_night_that_was_cut_off_scores_only_what_is_missing(spark: SparkSession, two: Path, tmp_path: Path) -> None:
    unbroken = Path(shutil.copytree(two, tmp_path / "unbroken"))
    recommend(spark, unbroken, SECOND, *GROUPS)
    carrying = (*GROUPS, "--set", "recommend.carry_over=true")
    refused(spark, two, SECOND, "not published", *carrying, "--set", "recommend.min_coverage=1")
    staged = sorted((two / "_scored" / f"2024-03-0{SECOND}" / "recommendations").glob("*/*.parquet"))
    assert len(staged) > 5
    # Some groups with lists that were carried over are kept (the sixth file is), and some are not.
    last = night(two, FIRST)["made_from"].drop_nulls()
    num_carried = {file: pl.read_parquet(file)["made_from"].is_in(last.implode()).sum() for file in staged}
    staged.sort(key=lambda file: -num_carried[file])
    staged.insert(5, staged.pop(0))
    for number, file in enumerate(staged):
        if number % 3 == 0:
            file.unlink()
        if number % 3 == 1:
            file.with_suffix(".json").unlink()  # written, and the kill came before anybody looked at it
        if number == 2:
            file.write_bytes(file.read_bytes()[:100])  # the machine stopped before the file was on the disk
    kept = {file: file.stat().st_mtime_ns for number, file in enumerate(staged) if number % 3 == 2 < number}
    done = {user for file in kept for user in pl.read_parquet(file)["user_id"]}
    run = recommend(spark, two, SECOND, *carrying)
    assert run.figures["reused"] == len(done)
    same = night(two, FIRST).join(night(two, SECOND), on=["user_id", "made_from"], how="semi")["user_id"].unique()
    assert 0 < run.figures["carried"] == len(set(same) - done) < len(same)
    assert run.figures["scored"] == run.figures["users"] - len(set(same) | done)
    assert content(two, "recommendations") == content(unbroken, "recommendations")
    published = two / "recommendations" / f"run_date=2024-03-0{SECOND}"
    assert all((published / file.name).stat().st_mtime_ns == moment for file, moment in kept.items())


def test_what_was_staged_for_other_settings_is_not_taken(spark: SparkSession, one: Path, tmp_path: Path) -> None:
    unbroken = Path(shutil.copytree(one, tmp_path / "unbroken"))
    refused(spark, one, FIRST, "not published", *GROUPS, "--set", "recommend.min_coverage=1")
    write_input(one, "rules", [{"rule": "deny", "category": most(one)}])
    write_input(unbroken, "rules", [{"rule": "deny", "category": most(one)}])
    assert recommend(spark, one, FIRST, *GROUPS).figures["reused"] == 0
    recommend(spark, unbroken, FIRST, *GROUPS)
    assert content(one, "recommendations") == content(unbroken, "recommendations")


def test_what_was_staged_before_other_items_were_popular_is_not_taken(
    spark: SparkSession, one: Path, tmp_path: Path
) -> None:
    write_input(one, "audience", [{"user_id": f"new {number}"} for number in range(20)])
    groups = (*GROUPS, "--set", "recommend.max_fallback_share=1")
    refused(spark, one, FIRST, "not published", *groups, "--set", "recommend.min_coverage=1")
    least = table(one, "item_days").group_by("item_id").agg(pl.col("num_events").sum()).sort("num_events", "item_id")
    told = deltalake.DeltaTable(one / "item_days").update(
        predicate=f"item_id = '{least['item_id'][0]}'", new_values={"num_events": 1_000_000}
    )
    assert told["num_updated_rows"]
    unbroken = Path(shutil.copytree(one, tmp_path / "unbroken"))
    shutil.rmtree(unbroken / "_scored")
    recommend(spark, unbroken, FIRST, *groups)
    assert set(night(unbroken, FIRST).filter(rank=1)["item_id"]) == {least["item_id"][0]}
    assert recommend(spark, one, FIRST, *groups).figures["reused"] == 0
    assert content(one, "recommendations") == content(unbroken, "recommendations")


def test_the_audience_gets_lists_users_never_seen_included(spark: SparkSession, one: Path) -> None:
    known = sorted(table(one, "histories")["user_id"])[:30]
    rows = [{"user_id": user, "segment": "kids" if n % 2 else None} for n, user in enumerate([*known, "new", "newer"])]
    write_input(one, "audience", [*rows, rows[0]])
    write_input(one, "rules", [{"rule": "deny", "category": most(one), "segment": "kids"}])
    denied = set(table(one, "items").filter(category=most(one))["item_id"])
    run = recommend(spark, one, FIRST)
    found = night(one, FIRST)
    assert set(found["user_id"]) == {*known, "new", "newer"}
    assert set(found.filter(user_id="new")["source"]) <= {
        "popular_7_days: never seen", "popular_all_time: never seen"
    }  # fmt: skip
    kids = {row["user_id"] for row in rows if row["segment"]}
    assert not denied & set(found.filter(pl.col("user_id").is_in(kids))["item_id"])
    assert denied & set(found.filter(~pl.col("user_id").is_in(kids))["item_id"])
    assert run.figures["removed rule deny"] == len(denied) * len(kids)
    assert run.rows_in == 32


def test_an_empty_audience_a_wrong_one_and_a_wrong_rule_are_refused(spark: SparkSession, one: Path) -> None:
    write_input(one, "audience", [{"segment": "kids"}])
    with pytest.raises(SparkrecError, match="audience: wanted user_id and, where there is a need, segment"):
        recommend(spark, one, FIRST)
    shutil.rmtree(one / "audience")
    write_input(one, "audience", [{"user_id": "x"}])
    deltalake.DeltaTable(one / "audience").delete()
    with pytest.raises(SparkrecError, match="audience: names no user"):
        recommend(spark, one, FIRST)
    shutil.rmtree(one / "audience")
    write_input(one, "audience", [{"user_id": "x", "segment": "adult"}, {"user_id": "x", "segment": "under 18"}])
    with pytest.raises(SparkrecError, match="user x is of 2 segments"):
        recommend(spark, one, FIRST)
    shutil.rmtree(one / "audience")
    write_input(one, "rules", [{"rule": "deny", "item_id": "x", "Segment": "under 18"}])
    with pytest.raises(SparkrecError, match="rules: wanted rule and, where there is a need, item_id"):
        recommend(spark, one, FIRST)
    shutil.rmtree(one / "rules")
    write_input(one, "rules", [{"rule": "forbid", "item_id": "x"}])
    with pytest.raises(SparkrecError, match=r"rules: 1 rule\(s\) refused"):
        recommend(spark, one, FIRST)


def test_a_night_with_a_tenth_of_the_users_is_refused_and_can_be_forced(spark: SparkSession, two: Path) -> None:
    users = sorted(night(two, FIRST)["user_id"].unique())
    write_input(two, "audience", [{"user_id": user} for user in users[: len(users) // 10]])
    run = refused(spark, two, SECOND, "min_user_share 0.5")
    assert run["figures"]["user_share"] == pytest.approx(0.1, abs=0.01)
    assert "users, as a share of the last night's" in run["message"]
    forced = recommend(spark, two, SECOND, "--force")
    assert "published by --force although 0.0" in forced.messages[0]
    assert forced.figures["reused"] == len(users) // 10
    assert night(two, SECOND)["user_id"].n_unique() == len(users) // 10
    assert newest_run(two)["message"].startswith("published by --force")


def test_an_untrained_candidate_is_refused_and_the_champion_may_step_in(spark: SparkSession, two: Path) -> None:
    metrics = {"validation_ndcg10": 0.001, "validation_champion_ndcg10": 0.3}
    add_model(spark, two, SECOND, "untrained", metrics=metrics)
    run = refused(spark, two, SECOND, "candidate untrained did not pass: validation NDCG@10 0.0010, champion 0.3000")
    assert run["figures"]["validation_ndcg10"] == 0.001
    assert not (two / "_scored" / f"2024-03-0{SECOND}").exists(), "refused before anything is scored"
    recommend(spark, two, SECOND, "--set", "recommend.failed_candidate=champion")
    assert set(night(two, SECOND)["model_version"]) == {"first"}
    recommend(spark, two, SECOND, "--force")
    assert set(night(two, SECOND)["model_version"]) == {"untrained"}


def test_a_model_of_another_vocabulary_and_an_empty_stock_are_refused(spark: SparkSession, two: Path) -> None:
    add_model(spark, two, SECOND, "strange", vocabulary_lineage="elsewhere")
    refused(spark, two, SECOND, "model strange: trained on vocabulary elsewhere")
    shutil.rmtree(two / "models")
    add_model(spark, two, SECOND, "mine")
    write_input(two, "rules", [{"rule": "allow", "item_id": "nowhere"}])
    for force in ((), ("--force",)):
        refused(spark, two, SECOND, "0 items are on offer", *force)


def test_lists_of_users_without_change_are_carried_over_and_equal_new_ones(
    spark: SparkSession, two: Path, tmp_path: Path
) -> None:
    anew = Path(shutil.copytree(two, tmp_path / "anew"))
    recommend(spark, anew, SECOND)
    spark.conf.set("spark.sql.files.minPartitionNum", "1")  # lists of both kinds in one file
    try:
        run = recommend(spark, two, SECOND, "--set", "recommend.carry_over=true")
    finally:
        spark.conf.unset("spark.sql.files.minPartitionNum")
    assert content(two, "recommendations") == content(anew, "recommendations")
    for file in (two / "recommendations" / f"run_date=2024-03-0{SECOND}").glob("*.parquet"):
        keys = pl.read_parquet(file, columns=["user_id", "rank"])
        assert keys.equals(keys.sort("user_id", "rank")), "readers skip row groups by user"
    joined = night(two, FIRST).filter(rank=1).join(night(two, SECOND).filter(rank=1), on=["user_id", "made_from"])
    assert 0 < run.figures["carried"] == len(joined) < run.figures["users"]
    news = table(two, "events").filter(pl.col("event_date") == date(2024, 3, SECOND))["user_id"]
    assert not set(joined["user_id"]) & set(news)


def test_purchases_without_a_time_make_a_list_anew_when_their_days_are_over(spark: SparkSession) -> None:
    cut = cutoffs({"purchase": 2}, date(1970, 1, 10)), cutoffs({"purchase": 2}, date(1970, 1, 11))
    views = [(9 * 86_400 - 7200) * 1_000_000, (9 * 86_400 - 3600) * 1_000_000]
    row = ("ann", [3, 4], [1, 1], views, [1, 1], [1.0, None], [2, 9], 900)
    frame = spark.createDataFrame([row], PAST_SCHEMA)
    hashes = [people_of(frame, None, None, "n", cuts, False).first()["made_from"] for cuts in cut]  # type: ignore[index]
    assert hashes[0] != hashes[1]
    other = spark.createDataFrame([(*row[:5], [None, 1.0], *row[6:])], PAST_SCHEMA)
    assert people_of(other, None, None, "n", cut[0], False).first()["made_from"] != hashes[0]  # type: ignore[index]


def test_a_list_that_is_null_is_empty_and_prices_are_one_per_event(spark: SparkSession) -> None:
    frame = spark.createDataFrame([("ann", [3, 4], [1, 1], [0, 1], [1, 1], None, None, 2)], PAST_SCHEMA)
    found = people_of(frame, None, None, "n", {}, False).first()
    assert found is not None
    assert (found["prices"], found["purchased"]) == ([None, None], [])


def test_a_model_that_gives_no_numbers_is_refused_and_the_reason_kept(spark: SparkSession, two: Path) -> None:
    add_model(spark, two, SECOND, "broken")
    folder = two / "_models" / "broken"
    model = load_model.__wrapped__(str(folder))
    with torch.no_grad():
        model.norm.weight[0] = torch.nan
    save_model(folder, model, read_card(folder))
    run = refused(spark, two, SECOND, "the model gives states that are not numbers")
    assert "states that are not numbers" in run["message"]
    with torch.no_grad():
        model.norm.weight[0] = 1
        model.item_matrix()[5, 0] = torch.inf
    save_model(folder, model, read_card(folder))
    load_model.cache_clear()
    refused(spark, two, SECOND, "item vectors that are not numbers", "--force")


def test_nothing_is_carried_over_where_filters_or_stock_changed(spark: SparkSession, two: Path) -> None:
    write_input(two, "rules", [{"rule": "deny", "category": most(two)}])
    run = recommend(spark, two, SECOND, "--set", "recommend.carry_over=true")
    assert run.figures["carried"] == 0
    shutil.rmtree(two / "rules")
    for changed in ('leave_out={"purchase": 30}', "reasons=similar"):
        other = ("--set", "recommend.carry_over=true", "--set", f"recommend.{changed}")
        assert recommend(spark, two, SECOND, *other).figures["carried"] == 0


@pytest.mark.parametrize("lately", [1.0, 0.0])
def test_lists_are_made_anew_where_other_items_became_popular_if_the_model_counts_that(
    spark: SparkSession, two: Path, lately: float
) -> None:
    shutil.rmtree(two / "recommendations")
    add_model(spark, two, FIRST, "counts", opinion=SecondOpinion(lately=lately))
    recommend(spark, two, FIRST, "--force")
    run = recommend(spark, two, SECOND, "--force", "--set", "recommend.carry_over=true")
    assert set(night(two, SECOND).filter(source="model")["model_version"]) == {"counts"}
    assert (run.figures["carried"] == 0) == bool(lately)


def test_lists_of_a_segment_are_made_anew_where_its_rules_changed(spark: SparkSession, two: Path) -> None:
    write_input(two, "audience", [{"user_id": user, "segment": "kids"} for user in table(two, "histories")["user_id"]])
    one_item, other_item = table(two, "items")["item_id"].sort()[:2]

    def carried(day: int, *rules: dict[str, object]) -> float:
        shutil.rmtree(two / "rules", ignore_errors=True)
        columns = {"item_id": None, "category": None, "max_per_list": None, "segment": "kids"}
        write_input(two, "rules", [{**columns, **rule} for rule in rules])
        run = recommend(spark, two, day, "--force", "--set", "recommend.carry_over=true")
        return run.figures["carried"]

    denied: dict[str, object] = {"rule": "deny", "item_id": one_item}
    capped: dict[str, object] = {"rule": "cap", "category": most(two), "max_per_list": 2}
    carried(FIRST, denied, capped)
    assert carried(SECOND, {**denied, "item_id": other_item}, capped) == 0
    assert carried(SECOND, denied, {**capped, "max_per_list": 1}) == 0
    assert carried(SECOND, denied, capped) > 0


def test_days_that_run_out_make_a_list_anew(spark: SparkSession, two: Path, tmp_path: Path) -> None:
    one_day = ("--set", 'recommend.leave_out={"view": 1, "purchase": null}')
    recommend(spark, two, FIRST, *one_day)
    anew = Path(shutil.copytree(two, tmp_path / "anew"))
    recommend(spark, anew, SECOND, *one_day)
    run = recommend(spark, two, SECOND, *one_day, "--set", "recommend.carry_over=true")
    assert content(two, "recommendations") == content(anew, "recommendations")
    assert run.figures["carried"] < len(table(two, "histories")) / 2, "views of the first day may be offered again"


def test_nights_are_kept_for_as_long_as_the_setting_says(spark: SparkSession, two: Path) -> None:
    recommend(spark, two, SECOND, "--set", "recommend.keep_days=2")
    assert set(table(two, "recommendations")["run_date"]) == {date(2024, 3, FIRST), date(2024, 3, SECOND)}
    recommend(spark, two, SECOND, "--set", "recommend.keep_days=1")
    assert set(table(two, "recommendations")["run_date"]) == {date(2024, 3, SECOND)}


def test_an_older_night_can_be_made_again_when_a_newer_one_is_prepared(spark: SparkSession, two: Path) -> None:
    before = night(two, FIRST)
    run = recommend(spark, two, FIRST, *GROUPS)
    assert "rebuilt from events" in run.messages[0]
    assert night(two, FIRST).equals(before)


def test_variety_reasons_and_their_cost_come_with_the_night(spark: SparkSession, one: Path) -> None:
    plain = recommend(spark, one, FIRST)
    assert "ndcg_varied" not in plain.figures
    before = night(one, FIRST)
    recommend(spark, one, FIRST, "--set", "recommend.diversity=0.5", "--set", "recommend.reasons=similar")
    found = night(one, FIRST)
    assert not found.select("user_id", "rank", "item_id").equals(before.select("user_id", "rank", "item_id"))
    told = found.filter(source="model")
    assert told["because_item_id"].null_count() < len(told) / 2
    pairs = told.drop_nulls("because_item_id").select("user_id", item_id="because_item_id")
    past = table(one, "events").select("user_id", "item_id").drop_nulls()
    assert not len(pairs.join(past, on=["user_id", "item_id"], how="anti"))

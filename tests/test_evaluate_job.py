"""The job: figures of the night's model beside others, and none of models that may have seen what they must find."""

from datetime import date
from pathlib import Path

import deltalake
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from sparkrec.config import load_settings
from sparkrec.config.settings import WindowSettings
from sparkrec.errors import SparkrecError
from sparkrec.evaluate.report.gather import gather
from sparkrec.evaluate.report.heads import TITLES
from sparkrec.lake import Lake
from sparkrec.models.second_opinion import SecondOpinion
from sparkrec.window.held_out import held_out_words
from tests.contests import add_model
from tests.nights import DAY, FEW_DRAWN, LENIENT, earlier, run
from tests.running import commits, table


def refused(spark: SparkSession, lake: Path, told: str, *more: str) -> None:
    """Check that evaluating is refused and leaves the figures as they were."""
    before = commits(lake).get("metrics")
    with pytest.raises(SparkrecError, match=told):
        run(spark, lake, "evaluate", *more)
    assert commits(lake).get("metrics") == before


def of_night(lake: Path) -> pl.DataFrame:
    return table(lake, "metrics").filter(run_date=date(2024, 3, DAY))


def test_figures_of_a_date_stay_what_they_were_when_later_nights_have_come(spark: SparkSession, lake: Path) -> None:
    before = table(lake, "metrics")
    assert set(before["run_date"]) == {date(2024, 3, DAY - 1)}
    keys = [name for name in before.columns if name not in ("value", "low", "high")]
    deltalake.DeltaTable(lake / "items").update(updates={"available": "false"}, predicate="item_idx < 30")
    earlier(spark, lake, "evaluate", "--set", "evaluate.top_k=[20,5]", *FEW_DRAWN)
    again = table(lake, "metrics")
    assert again.sort(keys).equals(before.sort(keys))


def test_figures_come_by_protocol_slice_and_cut_off(spark: SparkSession, lake: Path) -> None:
    found = run(spark, lake, "evaluate")
    rows = of_night(lake).filter(pl.col("protocol").str.starts_with("leave"))
    assert set(rows["protocol"]) == {"leave_one_out_full", "leave_one_out_sampled_999"}
    assert set(rows["metric"]) == {"hr", "recall", "precision", "ndcg", "mrr", "map"}
    assert set(rows["k"]) == {5, 10, 20}
    categories = {name for name in rows["slice"] if name.startswith("category ")}
    assert categories <= {f"category {name}" for name in table(lake, "items")["category"].drop_nulls()}
    assert {"all", "novel", "users light", "items head", "event view"} < set(rows["slice"]) - categories
    windows = table(lake, "windows").filter(split="test", run_date=date(2024, 3, DAY))
    whole = rows.filter(slice="all", protocol="leave_one_out_full", metric="hr", k=10)
    assert set(whole["num_users"]) == {len(windows)} == {found.rows_in}
    repeat = windows.filter(pl.col("relevant_idxs").list.first().is_in(pl.col("seen_idxs")))
    assert set(rows.filter(slice="repeat")["num_users"]) == {len(repeat)}
    for kind, code in (("view", 1), ("purchase", 3)):
        of_kind = windows.filter(pl.col("relevant_types").list.first() == code)
        assert set(rows.filter(slice=f"event {kind}")["num_users"]) == {len(of_kind)}
    # With one thing to be found a hit is all of it, and one of k.
    wide = rows.filter(against="", model_version="first").pivot(
        on="metric", index=["protocol", "slice", "k"], values="value"
    )
    assert (wide["hr"] == wide["recall"]).all()
    assert ((wide["hr"] / wide["k"] - wide["precision"]).abs() < 1e-12).all()
    assert ((wide["mrr"] - wide["map"]).abs() < 1e-12).all()
    assert ((wide["ndcg"] <= wide["hr"]) & (wide["mrr"] <= wide["ndcg"])).all()


def test_lists_are_judged_by_what_they_are_like_and_by_what_users_did_since(spark: SparkSession, lake: Path) -> None:
    run(spark, lake, "evaluate")
    of_lists = of_night(lake).filter(pl.col("protocol").is_in(["published", "realised"]))
    assert set(of_lists["k"]) == {5, 10}, "lists have ten places"
    metrics = of_lists.filter(k=10)
    lists, items = table(lake, "recommendations"), table(lake, "items")
    tonight = lists.filter(run_date=date(2024, 3, DAY))
    found = {row["metric"]: row for row in metrics.filter(protocol="published").to_dicts()}
    assert set(found) == {"novelty", "popularity_share", "diversity", "coverage", "gini"}
    available = items.filter("available")
    assert found["coverage"]["value"] == pytest.approx(tonight["item_id"].n_unique() / len(available))
    assert (found["coverage"]["low"], found["coverage"]["num_users"]) == (None, tonight["user_id"].n_unique())
    bits = items.select("item_id", bits=-(pl.col("num_events") / pl.col("num_events").sum()).log(2))
    assert found["novelty"]["value"] == pytest.approx(tonight.join(bits, on="item_id")["bits"].mean())
    assert found["novelty"]["model_version"] == "first"

    before = lists.filter(run_date=date(2024, 3, DAY - 1))
    events = table(lake, "events").filter(pl.col("item_id").is_not_null())
    done = events.filter(pl.col("event_date") == date(2024, 3, DAY), pl.col("event_type") != "remove")
    taken = done.select("user_id", "item_id").unique().join(before.select("user_id").unique(), on="user_id")
    hits = taken.join(before, on=["user_id", "item_id"])
    of_all = metrics.filter(protocol="realised", slice="all")
    realised = {row["metric"]: row for row in of_all.to_dicts()}
    users = taken["user_id"].n_unique()
    assert realised["hr"]["value"] == pytest.approx(hits["user_id"].n_unique() / users)
    assert realised["precision"]["value"] == pytest.approx(len(hits) / 10 / users)
    assert realised["hr"]["value"] > 0
    assert (realised["hr"]["num_users"], realised["hr"]["model_version"]) == (users, "second")
    assert set(realised) == {"hr", "recall", "precision", "ndcg", "mrr", "map", "serendipity"}
    touched = events.filter(pl.col("event_date") < date(2024, 3, DAY)).select("user_id", "item_id").unique()
    for name, how in (("repeat", "semi"), ("novel", "anti")):
        of_slice = taken.join(touched, on=["user_id", "item_id"], how=how)
        row = metrics.filter(protocol="realised", slice=name, metric="hr").row(0, named=True)
        assert row["num_users"] == of_slice["user_id"].n_unique()


def test_a_model_is_compared_with_another_on_the_same_users(spark: SparkSession, lake: Path) -> None:
    add_model(spark, lake, DAY - 1, "third")
    run(spark, lake, "evaluate", "--against", "third")
    rows = of_night(lake).filter(slice="all", metric="ndcg", k=20, protocol="leave_one_out_full")
    found = {(row["model_version"], row["against"]): row for row in rows.to_dicts()}
    others = ("third", "second", "popular")
    assert set(found) == {(name, "") for name in ("first", *others)} | {("first", name) for name in others}, (
        "the model of the night before without being asked for"
    )
    settings = load_settings("conf/local.yaml", [], lake=str(lake))
    told = gather(Lake(spark, str(lake)), date(2024, 3, DAY), settings)
    history = [(row["run_date"].day, row["who"], row["model_version"]) for row in told.history]
    assert sorted(history) == [
        (DAY - 1, "model", "second"), (DAY - 1, "popular", "popular"),
        (DAY, "model", "first"), (DAY, "popular", "popular"),
    ], "a published model per night, whatever it was compared with"  # fmt: skip
    assert told.champion == "second"
    difference = found["first", "second"]
    assert difference["value"] == pytest.approx(found["first", ""]["value"] - found["second", ""]["value"])
    assert difference["low"] < difference["value"] < difference["high"]
    assert len({row["num_users"] for row in found.values()}) == 1
    refused(spark, lake, "model fourth: is not in the lake's models", "--against", "fourth")
    add_model(spark, lake, DAY + 1, "later")
    refused(spark, lake, "model later: trained for 2024-03-04, after 2024-03-03", "--against", "later")


def test_heads_have_chances_in_the_lists_figures_beside_what_needs_no_model_and_tables_on_the_page(
    spark: SparkSession, lake: Path
) -> None:
    add_model(spark, lake, DAY, "asked", heads=("purchase", "next_action", "own_action"))
    run(spark, lake, "recommend", *LENIENT)
    lists = table(lake, "recommendations").filter(run_date=date(2024, 3, DAY), source="model")
    assert set(lists["model_version"]) == {"asked"}
    assert lists["purchase_probability"].is_between(0, 1, closed="none").all()
    run(spark, lake, "evaluate", *FEW_DRAWN)
    found = of_night(lake).filter(slice="all")
    beside = {"purchase": {"constant"}, "next_action": {"majority", "repeat_last"}, "own_action": {"majority"}}
    for head, others in beside.items():
        of_head = found.filter(protocol=head, against="")
        assert {"asked", *others} <= set(of_head["model_version"]), head
        assert of_head["value"].is_finite().all()
    page = (lake / "_reports" / f"2024-03-0{DAY}.html").read_text()
    assert all(title in page for title in (*(title for title, _ in TITLES.values()), "Purchases, given interest"))


def test_a_model_for_which_nothing_counts_but_what_is_popular_lately_lists_that_and_is_as_good(
    spark: SparkSession, lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("recommend.night", "window.held_out"):
        monkeypatch.setattr(f"sparkrec.{place}.LATELY_DAYS", 1)  # the lake has three
    by_date = ("--set", "window.held_out=date")
    held_out = held_out_words(WindowSettings(held_out="date"))
    run(spark, lake, "window", *by_date)
    add_model(spark, lake, DAY, "fashionable", held_out=held_out, opinion=SecondOpinion(lately=1e4))
    found = run(spark, lake, "recommend", *LENIENT, *by_date, "--set", "recommend.diversity=0.2")
    assert found.figures["ndcg_plain"] > 0
    days = table(lake, "item_days").filter(event_date=date(2024, 3, DAY))
    events = days.group_by("item_id").agg(pl.col("num_events").sum())
    lists = table(lake, "recommendations").filter(run_date=date(2024, 3, DAY), source="model")
    told = lists.join(events, on="item_id", how="left").sort("user_id", "rank")
    assert set(told["model_version"]) == {"fashionable"}
    assert (told["score"] / 1e4 - told["num_events"].fill_null(0).log1p()).abs().max() < 0.01
    run(spark, lake, "evaluate", *FEW_DRAWN, *by_date)
    figures = of_night(lake).filter(slice="all", metric="ndcg", k=20, against="")
    for protocol in ("by_date_full", "by_date_sampled_20"):
        values = dict(figures.filter(protocol=protocol).select("model_version", "value").iter_rows())
        assert values["fashionable"] == pytest.approx(values["popular_7_days"], rel=0.05), protocol
        assert values["fashionable"] >= values["popular_7_days"] != values["popular"], (
            "equals are told apart by the model"
        )


def test_models_that_may_have_seen_what_they_must_find_are_refused(spark: SparkSession, lake: Path) -> None:
    add_model(spark, lake, DAY, "other", held_out=held_out_words(WindowSettings(held_out="date")))
    refused(spark, lake, "model other: its training held out 'date", "--against", "other")
    purchases = ("--set", 'window.held_out_events=["purchase"]')
    run(spark, lake, "window", *purchases)
    refused(spark, lake, "model first: its training held out 'last_items cart", *purchases)


def test_windows_whose_training_part_reaches_what_is_held_out_are_refused(spark: SparkSession, lake: Path) -> None:
    run(spark, lake, "evaluate")
    windows = table(lake, "windows").filter(run_date=date(2024, 3, DAY))
    held = windows.filter(split="validation").row(0, named=True)
    # The user's newest training window ends one event later: its last target is the one of validation.
    (file,) = (
        file
        for file in deltalake.DeltaTable(lake / "windows").file_uris()
        if f"run_date=2024-03-0{DAY}/train-" in file and held["user_id"] in pq.read_table(file)["user_id"].to_pylist()
    )
    rows = pq.ParquetFile(file).read()
    frame = rows.to_pydict()
    for place, (user, number) in enumerate(zip(frame["user_id"], frame["window_no"], strict=True)):
        if (user, number) == (held["user_id"], 2):
            assert frame["user_num_events"][place] == held["user_num_events"] - 1
            frame["user_num_events"][place] += 1
    metadata = rows.schema.metadata
    pq.write_table(pa.table(frame, schema=rows.schema).replace_schema_metadata(metadata), file)
    refused(spark, lake, f"training windows of 1 users \\(such as {held['user_id']}\\) reach what is held out")

"""The whole night on a small sample: the tables as promised, twice equals once, a kill leaves no trace."""

import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import deltalake
import duckdb
import polars as pl
import psutil
import pyarrow.compute as pc
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from sparkrec.models.store import read_card
from sparkrec.sample.write import SampleSize, write_sample
from sparkrec.tables import ALL
from tests.conftest import ROOT
from tests.running import content, run_job, table

DATE = "2024-03-05"
SIZE = SampleSize(num_events=15_000, num_users=500, num_items=300, num_days=5)
QUICK = (
    "train.num_workers=1",
    "train.members=1",
    "train.max_epochs=8",
    "train.width=32",
    "train.batch_size_per_rank=16",
    "train.learning_rate=0.005",
    "train.warmup_steps=10",
)
SAME_ACROSS_RUNS = ("events", "quarantine", "items", "item_days", "histories", "windows", "recommendations", "metrics")


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clicks") / "sample"
    write_sample(folder, SIZE)
    return folder


def words(sample: Path, lake: Path) -> list[str]:
    settings = [word for setting in QUICK for word in ("--set", setting)]
    source = ["--source", "conf/sources/sample.yaml", "--input", str(sample)]
    return [*source, "--date", DATE, "--lake", str(lake), *settings]


@pytest.fixture(scope="module")
def lake(spark: SparkSession, sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    os.chdir(ROOT)
    root = tmp_path_factory.mktemp("night") / "lake"
    run_job(spark, "nightly", *words(sample, root))
    return root


def test_every_user_has_ten_recommendations_without_a_gap(lake: Path) -> None:
    rows = table(lake, "recommendations")
    lists = rows.group_by("user_id").agg(pl.col("rank").sort(), pl.col("item_id").n_unique())
    assert lists["rank"].to_list() == [list(range(1, 11))] * len(lists)
    assert lists["item_id"].to_list() == [10] * len(lists)
    assert set(lists["user_id"]) == set(table(lake, "events")["user_id"])
    assert rows["score"].is_finite().all()
    assert rows["model_version"].n_unique() == 1


def test_nothing_bought_is_recommended(lake: Path) -> None:
    bought = table(lake, "events").filter(event_type="purchase").select("user_id", "item_id")
    assert len(bought) > 100
    assert not len(table(lake, "recommendations").join(bought, on=["user_id", "item_id"], how="semi"))


def test_every_table_is_there_with_its_columns_comments_and_key(spark: SparkSession, lake: Path) -> None:
    for promised in ALL:
        described = spark.sql(f"DESCRIBE delta.`{lake / promised.name}`").collect()
        found = {row["col_name"]: (row["data_type"], row["comment"]) for row in reversed(described)}
        for field in promised.schema:
            assert found[field.name] == (field.dataType.simpleString(), field.metadata["comment"])
        rows = table(lake, promised.name)
        assert len(rows)
        if promised.key:
            assert not rows.select(promised.key).is_duplicated().any(), promised.name


def test_tables_open_with_the_oldest_reader(lake: Path) -> None:
    for promised in ALL:
        protocol = deltalake.DeltaTable(lake / promised.name).protocol()
        assert protocol.min_reader_version == 1, promised.name


def test_other_engines_read_the_output(lake: Path) -> None:
    by_polars = pl.scan_delta(str(lake / "recommendations")).filter(pl.col("rank") == 1).collect()
    nights = deltalake.DeltaTable(lake / "recommendations").to_pyarrow_dataset()  # noqa: F841 - DuckDB finds it by name
    by_duckdb = duckdb.sql("SELECT user_id, item_id FROM nights WHERE rank = 1").fetchall()
    assert sorted(by_duckdb) == sorted(by_polars.select("user_id", "item_id").rows())
    assert len(by_duckdb) == len(table(lake, "histories"))


def test_no_engine_loses_a_row_to_what_the_log_says_of_files(spark: SparkSession, lake: Path) -> None:
    """PyArrow and DuckDB skip files by the log's bounds: one value of every column must be found in every table."""
    for promised in ALL:
        opened = deltalake.DeltaTable(lake / promised.name).to_pyarrow_dataset()
        by_spark = spark.read.format("delta").load(str(lake / promised.name))
        rows = table(lake, promised.name)
        simple = [name for name, kind in rows.schema.items() if not kind.is_nested()]
        for name in simple:
            values = rows[name].drop_nulls()
            wanted = {values.min(), values.max()} - {None}
            for value in wanted:
                num = int((rows[name] == value).sum())
                assert opened.to_table(filter=pc.field(name) == value).num_rows == num, (promised.name, name, value)
            if rows[name].null_count():
                assert opened.to_table(filter=pc.field(name).is_null()).num_rows == rows[name].null_count()
        for name in simple[:3]:
            value = rows[name].drop_nulls().max()
            assert by_spark.where(F.col(name) == F.lit(value)).count() == int((rows[name] == value).sum())


def test_each_job_left_one_row_in_runs(lake: Path) -> None:
    runs = table(lake, "runs").sort("started_at")
    assert runs["job"].to_list() == ["prepare", "window", "train", "recommend", "evaluate"]
    assert set(runs["status"]) == {"complete"}
    assert all(ended >= started for started, ended in runs.select("started_at", "ended_at").rows())
    of_prepare = runs.to_dicts()[0]
    written = of_prepare["rows_out"]
    assert written["events"] == len(table(lake, "events"))
    assert of_prepare["rows_in"] == len(table(lake, "events")) + len(table(lake, "quarantine"))


def test_the_sample_has_the_dirt_of_real_logs(lake: Path) -> None:
    reasons = set(table(lake, "quarantine")["reason"])
    assert reasons >= {"bot", "duplicate", "malformed", "null user", "null item", "unknown event type"}


def test_the_model_learns_more_than_popularity(lake: Path) -> None:
    figures = {row["model_version"]: row for row in table(lake, "metrics").to_dicts()
               if (row["slice"], row["metric"], row["k"], row["against"]) == ("all", "ndcg", 10, "")
               and row["protocol"] == "leave_one_out_full"}  # fmt: skip
    ours = next(row for name, row in figures.items() if name != "popular")
    assert ours["low"] > figures["popular"]["high"]
    assert ours["num_users"] == figures["popular"]["num_users"] > 300


def test_the_model_is_champion_with_its_held_out_figures(lake: Path) -> None:
    (model,) = table(lake, "models").to_dicts()
    metrics = model["metrics"]
    assert model["status"] == "champion"
    assert metrics["validation_ndcg10"] > metrics["validation_popular_ndcg10"]
    assert Path(model["path"]).is_relative_to(lake)
    assert model["vocabulary_size"] == table(lake, "items")["item_idx"].max() + 1


def test_a_date_run_twice_leaves_the_same_rows(spark: SparkSession, sample: Path, lake: Path) -> None:
    before = {name: content(lake, name) for name in SAME_ACROSS_RUNS}
    models = content(lake, "models")
    run_job(spark, "nightly", *words(sample, lake))
    assert {name: content(lake, name) for name in SAME_ACROSS_RUNS} == before
    assert content(lake, "models") == models
    assert len(table(lake, "runs")) == 10


def test_a_killed_night_run_again_equals_an_unbroken_one(
    spark: SparkSession, sample: Path, lake: Path, tmp_path: Path
) -> None:
    other = tmp_path / "lake"
    command = [str(Path(sys.executable).parent / "spark-submit"), "jobs/nightly.py", *words(sample, other)]
    environment = {
        k: v for k, v in os.environ.items() if not k.startswith(("PYSPARK_SUBMIT", "SPARK_", "PYSPARK_GATEWAY"))
    }
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    # A session of its own: the kill takes the JVM and the ranks too, as a machine that stops would.
    night = subprocess.Popen(command, env=environment, cwd=ROOT, start_new_session=True, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 300
        while not list(other.glob("_models/*.attempt/progress.json")):
            assert night.poll() is None, "the night ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        members = [process for process in psutil.process_iter() if is_of_session(process, night.pid)]
        for process in members:
            process.send_signal(signal.SIGKILL)
        night.wait()
    assert not (other / "recommendations").exists()

    run_job(spark, "nightly", *words(sample, other))
    for name in SAME_ACROSS_RUNS:
        assert content(other, name) == content(lake, name), name


def is_of_session(process: psutil.Process, session: int) -> bool:
    try:
        return os.getsid(process.pid) == session
    except (ProcessLookupError, psutil.Error):
        return False


def test_the_next_night_can_be_fine_tuned_and_refitted_and_is_measured_against_the_champion(
    spark: SparkSession, sample: Path, lake: Path
) -> None:
    (first,) = table(lake, "models").to_dicts()
    changed = [
        ("prepare.min_day_share", 0),
        ("train.start", "champion"),
        ("train.refit", "true"),
        ("train.max_epochs", "3"),
    ]
    more = [word for name, value in changed for word in ("--set", f"{name}={value}")]
    # The file of the night has no click of that day: the catalogue and the people are those of the day before.
    next_night = [*words(sample, lake), "--date", "2024-03-06", "--set", "prepare.allow_empty_day=true", *more]
    run_job(spark, "nightly", *next_night)

    models = {row["model_version"]: row for row in table(lake, "models").to_dicts()}
    assert models.pop(first["model_version"])["status"] == "retired"
    ((version, refitted),) = models.items()
    assert version.endswith("-refit")
    assert refitted["status"] == "champion"
    told = refitted["metrics"]
    # On the same windows the first model's figures are its own again.
    assert told["validation_champion_ndcg10"] == pytest.approx(first["metrics"]["validation_ndcg10"])
    assert told["validation_ndcg10"] > 0.8 * told["validation_champion_ndcg10"], "three epochs, but not from scratch"
    assert set(table(lake, "recommendations").filter(run_date=date(2024, 3, 6))["model_version"]) == {version}
    evaluated = Path(refitted["path"]).with_name(version.removesuffix("-refit"))
    assert (evaluated / "weights.safetensors").read_bytes() != (
        Path(refitted["path"]) / "weights.safetensors"
    ).read_bytes()
    assert read_card(Path(refitted["path"])).held_out == "", "it has seen all"
    assert read_card(evaluated).held_out.startswith("last_items")
    figures = table(lake, "metrics").filter(run_date=date(2024, 3, 6), slice="all", metric="ndcg", against="", k=10)
    ours = figures.filter(model_version=version, protocol="leave_one_out_full")["value"].item()
    assert ours == pytest.approx(told["test_ndcg10"]), "figures are of the model that has not seen what is held out"
    assert list((lake / "_models" / "tensorboard" / evaluated.name).glob("events.*"))


def test_a_night_cut_by_date_holds_out_what_happened_on_its_last_days(
    spark: SparkSession, sample: Path, lake: Path, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(lake, tmp_path / "lake"))
    changed = ("window.held_out=date", "train.num_workers=2", "train.max_epochs=1", "train.members=null")
    run_job(spark, "nightly", *words(sample, other), *(word for setting in changed for word in ("--set", setting)))
    newest = table(other, "models").sort("trained_at").to_dicts()[-1]
    assert read_card(Path(newest["path"])).shape.num_members == 2, "where there is little to learn from"
    windows = table(other, "windows").filter(run_date=date(2024, 3, 5))
    kept = table(other, "events").sort("user_id", "event_ts").group_by("user_id", maintain_order=True).tail(200)
    events = kept.with_columns(is_item=pl.col("item_id").is_not_null())
    for split, day in (("test", date(2024, 3, 5)), ("validation", date(2024, 3, 4))):
        is_wanted = pl.col("is_item") & (pl.col("event_type") != "remove") & (pl.col("event_date") == day)
        before = events.filter(pl.col("event_date") < day).group_by("user_id").len()
        wanted = events.filter(is_wanted).join(before, on="user_id", how="semi")
        told = windows.filter(split=split).join(before, on="user_id", how="left")
        assert set(told["user_id"]) == set(wanted["user_id"])
        assert (told["user_num_events"] == told["len"]).all(), "predicted from what came before the period"
    longest = events.filter(pl.col("event_date") < date(2024, 3, 4)).group_by("user_id").len()
    trained = windows.filter(split="train").group_by("user_id").agg(pl.col("user_num_events").max())
    together = trained.join(longest, on="user_id", how="left")
    # The newest event before the periods is a target only.
    assert (together["user_num_events"] == together["len"] - 1).all()
    night = table(other, "metrics").filter(run_date=date(2024, 3, 5))
    assert set(night["protocol"]) == {"by_date_full", "by_date_sampled_999", "published"}
    others = {"popular", "popular_7_days"}
    assert others < set(night.filter(protocol="by_date_full")["model_version"])
    assert set(night["against"]) == {"", *others}

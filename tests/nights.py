"""A lake of two evaluated nights, which several test files take copies of."""

import os
import shutil
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from sparkrec.job import Run
from sparkrec.sample.write import SampleSize, write_sample
from tests.conftest import ROOT
from tests.contests import add_model
from tests.running import prepare_night, run_job

DAY = 3
SIZE = SampleSize(num_events=4000, num_users=150, num_items=120, num_days=3)
FEW_DRAWN = ("--set", "evaluate.drawn_items=20")
"""Fewer than there are items, so that it shows which ones are drawn."""
LENIENT = ("--set", "recommend.max_concentration=1", "--set", "recommend.max_drift=9")


@pytest.fixture(scope="session")
def night(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake with windows, two models without training, the lists of the first, and those of the night before."""
    os.chdir(ROOT)
    folder = tmp_path_factory.mktemp("night")
    lake = folder / "lake"
    write_sample(folder / "sample", SIZE)
    prepare_night(spark, lake, folder / "sample", DAY - 1)
    add_model(spark, lake, DAY - 1, "second")
    earlier(spark, lake, "recommend", *LENIENT)
    earlier(spark, lake, "window")
    earlier(spark, lake, "evaluate", *FEW_DRAWN)
    prepare_night(spark, lake, folder / "sample", DAY)
    run(spark, lake, "window")
    add_model(spark, lake, DAY, "first")
    run(spark, lake, "recommend", *LENIENT)
    return lake


@pytest.fixture
def lake(night: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(night, tmp_path / "lake"))


def run(spark: SparkSession, lake: Path, job: str, *more: str) -> Run:
    return run_job(spark, job, "--lake", lake, "--date", f"2024-03-0{DAY}", *more)


def earlier(spark: SparkSession, lake: Path, job: str, *more: str) -> Run:
    return run_job(spark, job, "--lake", lake, "--date", f"2024-03-0{DAY - 1}", *more)

"""One Spark session for the whole run, and small things that every test file needs."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from pyspark.sql import SparkSession

pytest_plugins = ["tests.nights"]
# The tensors of tests are small: threads that wait for one another cost more than they give.
torch.set_num_threads(1)

ROOT = Path(__file__).parents[1]
SHARED_DATA = ROOT.parent / "shared" / "data"
sys.path[:0] = [str(ROOT / "jobs"), str(ROOT / "benchmarks")]
# Tests are short: code that is compiled quickly beats code that is compiled well. All of it must fit, though: the
# JVM reserves a fifth of the usual room for a single compiler, and dies where that is full.
JAVA = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -XX:ReservedCodeCacheSize=256m"
os.environ["PYSPARK_SUBMIT_ARGS"] = f"--master local[2] --driver-java-options '{JAVA}' pyspark-shell"


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    from sparkrec.config.settings import SparkSettings
    from sparkrec.session import start_session

    session = start_session(
        SparkSettings(
            app_name="sparkrec-tests",
            properties={
                "spark.sql.shuffle.partitions": "2",
                "spark.databricks.delta.snapshotPartitions": "1",
                "spark.ui.showConsoleProgress": "false",
                # To generate code for a handful of rows takes longer than to do without. The night that is killed in
                # test_nightly.py runs with it, and is held against one that does not.
                "spark.sql.codegen.wholeStage": "false",
                "spark.sql.codegen.factoryMode": "NO_CODEGEN",
            },
        )
    )
    yield session
    session.stop()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs the Spark session, for `make test` to run it and the others at once: before `-m` is looked at."""
    for item in items:
        if "spark" in getattr(item, "fixturenames", ()):
            item.add_marker("spark")


@pytest.fixture(autouse=True)
def _in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The public excerpts beside the project; tests that want them skip where they are not."""
    if not SHARED_DATA.exists():
        pytest.skip(f"no public excerpts in {SHARED_DATA}")
    return SHARED_DATA

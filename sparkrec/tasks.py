"""Run a Python function in Spark's tasks, once per number; what comes back is what it says of its work."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import polars as pl
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

REPORT = "report string"
"""Schema of reports: one JSON object a row."""


Work = Callable[[int], list[dict[str, Any]]]


def run_tasks(spark: SparkSession, *works: tuple[int, Work]) -> list[list[dict[str, Any]]]:
    """Run `work(0)` to `work(count - 1)` of every (count, work), each in a task of its own, all in one Spark job.

    Out  for every work what its tasks report.
    """
    places = [(which, number) for which, (count, _) in enumerate(works) for number in range(count)]
    if not places:
        return [[] for _ in works]
    count = len(places)

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for place in batch.column("id").to_pylist():
                which, number = places[place]
                yield as_batch([{**row, "work": which} for row in works[which][1](number)])

    numbers = spark.range(count).repartitionById(count, F.col("id").cast("int"))
    told = reports(numbers.mapInArrow(run, REPORT))
    return [[row for row in told if row["work"] == which] for which in range(len(works))]


def as_batch(told: list[dict[str, Any]]) -> pa.RecordBatch:
    # pyarrow would import pandas to look at a Python list, which takes longer than many a task.
    column = pl.Series([json.dumps(row) for row in told], dtype=pl.String)
    return pa.RecordBatch.from_arrays([column.to_arrow().cast(pa.string())], ["report"])


def reports(frame: DataFrame) -> list[dict[str, Any]]:
    """Run the frame's tasks and return what they report: a few rows per task, never data."""
    # How many tasks there are is fixed: planning again after the shuffle costs two seconds and finds nothing.
    with sql_settings(frame.sparkSession, spark__sql__adaptive__enabled="false"):
        return [json.loads(row["report"]) for row in frame.collect()]


@contextmanager
def sql_settings(spark: SparkSession, **settings: str) -> Iterator[None]:
    """Set SQL settings (dots written as double underscores) for the actions inside."""
    before: dict[str, str | None] = {}
    for key, value in settings.items():
        name = key.replace("__", ".")
        before[name] = spark.conf.get(name, None)
        spark.conf.set(name, value)
    try:
        yield
    finally:
        for name, old in before.items():
            spark.conf.unset(name) if old is None else spark.conf.set(name, old)

"""Write a night's report beside the tables, whatever became of the night."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyspark.sql import SparkSession

from sparkrec.arguments import Asked
from sparkrec.evaluate.report.gather import Night, gather
from sparkrec.evaluate.report.page import as_json, as_page
from sparkrec.evaluate.report.verdict import as_lines
from sparkrec.lake import Lake
from sparkrec.spark_errors import cause_of
from sparkrec.tables import RUNS

FOLDER = "_reports"
FORMATS = {"html": as_page, "json": as_json}


def write_report(night: Night, root: str, kind: str = "html") -> Path:
    """Write `<root>/_reports/<date>.<kind>` and return its place; a reader never sees half of it."""
    file = Path(root) / FOLDER / f"{night.date}.{kind}"
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_suffix(f".{uuid.uuid4().hex}.writing")
    aside.write_text(FORMATS[kind](night), encoding="utf-8")
    aside.rename(file)
    return file


@contextmanager
def reported(root: str, spark: SparkSession, asked: Asked) -> Iterator[None]:
    """Write the report of what was done inside, also where that failed and there is a lake to tell of.

    A report that cannot be written is said to be so, and ends nothing: the tables are what they are.
    """
    failure = "the command was interrupted"
    try:
        yield
        failure = ""
    except Exception as error:
        failure = cause_of(error) or type(error).__name__
        raise
    finally:
        lake = Lake(spark, root)
        if lake.has(RUNS):
            try:
                night = gather(lake, asked.date, asked.settings, failure)
                file = write_report(night, root, asked.format)
                print(f"{as_lines(night)}\n  report: {file}\n", flush=True)
            except Exception as error:
                print(f"report: not written, {type(error).__name__}: {error}; the tables are as told above", flush=True)

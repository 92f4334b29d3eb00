"""Write a night's report beside the tables, whatever became of the night."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import date
from pathlib import Path

from pyspark.sql import SparkSession

from sparkrec.arguments import Asked
from sparkrec.config import Settings
from sparkrec.evaluate.report.gather import gather
from sparkrec.evaluate.report.page import as_json, as_page
from sparkrec.lake import Lake
from sparkrec.tables import RUNS

FOLDER = "_reports"
FORMATS = {"html": as_page, "json": as_json}


def write_report(lake: Lake, run_date: date, settings: Settings, kind: str = "html") -> Path:
    """Write `<lake>/_reports/<date>.<kind>` and return its place; a reader never sees half of it."""
    file = Path(lake.root) / FOLDER / f"{run_date}.{kind}"
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_suffix(f".{uuid.uuid4().hex}.writing")
    aside.write_text(FORMATS[kind](gather(lake, run_date, settings)), encoding="utf-8")
    aside.rename(file)
    return file


@contextmanager
def reported(root: str, spark: SparkSession, asked: Asked) -> Iterator[None]:
    """Write the report of what was done inside, also where that failed and there is a lake to tell of."""
    try:
        yield
    except Exception:
        lake = Lake(spark, root)
        if lake.has(RUNS):
            with suppress(Exception):  # the failure itself is what must be told
                _tell(write_report(lake, asked.date, asked.settings, asked.format))
        raise
    _tell(write_report(Lake(spark, root), asked.date, asked.settings, asked.format))


def _tell(file: Path) -> None:
    print(f"report: {file}", flush=True)

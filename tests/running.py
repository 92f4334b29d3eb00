"""Run jobs in the test session exactly as their command lines would, and look at the tables they leave."""

import importlib
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
from pyspark.sql import SparkSession

from sparkrec.arguments import parse
from sparkrec.job import Run, alone, carry_out, now
from sparkrec.lake import check_writable, locked


def run_job(spark: SparkSession, job: str, *words: object) -> Run:
    """Run one job; errors come out as they are."""
    asked = parse(job, job, [str(word) for word in words])
    check_writable(asked.settings.lake.root)
    with locked(asked.settings.lake.root):
        module = importlib.import_module(job)
        return carry_out(job, asked, now(), spark, module.main, getattr(module, "reported", alone))


def prepare_night(spark: SparkSession, lake: Path, clicks: Path, day: int, *more: object) -> None:
    """Prepare a day of March 2024 from rows in the sample's format; any share of them may be refused."""
    words = ("--source", "conf/sources/sample.yaml", "--input", clicks, "--lake", lake, "--date", f"2024-03-0{day}")
    run_job(spark, "prepare", *words, "--set", "prepare.max_quarantine_share=1", *more)


def table(lake: Path, name: str) -> pl.DataFrame:
    """Return a table as another engine sees it."""
    return pl.read_delta(str(lake / name))


def content(lake: Path, name: str, leave_out: tuple[str, ...] = ()) -> list[tuple[Any, ...]]:
    """Return a table's rows in an order of their own, to compare two tables."""
    rows = table(lake, name).drop(leave_out)
    return sorted(rows.select(sorted(rows.columns)).rows(), key=repr)


def commits(lake: Path) -> dict[str, int]:
    """Return how many commits every table has: what a job that was refused must not change."""
    logs = lake.glob("*/_delta_log") if lake.exists() else []
    return {log.parent.name: len(list(log.glob("*.json"))) for log in logs}


def write_clicks(folder: Path, *lines: str, name: str = "clicks.csv") -> Path:
    """Write literal rows in the sample's format: time,type,user,item[,price[,category[,query]]]."""
    folder.mkdir(parents=True, exist_ok=True)
    head = "event_time,event_type,user_id,item_id,price,category,query,brand"
    full = [line + "," * (7 - line.count(",")) for line in lines]
    (folder / name).write_text("\n".join([head, *full]) + "\n")
    return folder / name


def day(text: str) -> date:
    return date.fromisoformat(text)

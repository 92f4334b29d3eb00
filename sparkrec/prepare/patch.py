"""Rewrite the days that late or repeated deliveries change: file by file, only the users that changed."""

from collections.abc import Callable
from datetime import date
from typing import Any

import polars as pl

from sparkrec.parquet import open_file
from sparkrec.prepare.outcome import write_events
from sparkrec.prepare.plan import NightPlan
from sparkrec.prepare.staged import read_files
from sparkrec.prepare.stored import read_file


def patch_units(plan: NightPlan, units: list[tuple[str, int]]) -> Callable[[int], list[dict[str, Any]]]:
    """Return the task that rewrites one unit, a (day, bucket), and reports the new file and those it replaces."""

    def work(number: int) -> list[dict[str, Any]]:
        day, bucket = units[number]
        return _patch(plan, date.fromisoformat(day), bucket)

    return work


def _patch(plan: NightPlan, day: date, bucket: int) -> list[dict[str, Any]]:
    unit = plan.folder(f"patches/{day}/{bucket}")
    users = read_files(unit / "users")
    is_unit = (pl.col("user_bucket") == bucket) & (pl.col("event_date") == day)
    files = open_file(plan.event_files).filter(is_unit).collect()
    told: list[dict[str, Any]] = []
    # A file after the other, for the sake of memory.
    for file in sorted((unit / "rows").glob("*.parquet")):
        rows = open_file(file).collect()
        if len(rows):
            told.append(write_events(plan, bucket, rows, day, f"{bucket}-changed"))
    for path, log_path in files.select("path", "log_path").iter_rows():
        stored = read_file(path, day).rename({"old_session": "session_id"})
        stays = stored.join(users, on="user_id", how="anti", maintain_order="left")
        if len(stays) == len(stored):
            continue  # none of the users is in it
        told.append({"kind": "replaced", "path": log_path})
        if len(stays):
            told.append(write_events(plan, bucket, stays, day, f"{bucket}-others"))
    return told

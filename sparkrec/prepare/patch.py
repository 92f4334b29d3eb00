"""Rewrite the days that late or repeated deliveries change: file by file, only the users that changed."""

from collections.abc import Callable
from datetime import date
from typing import Any

import polars as pl

from sparkrec.parquet import open_file
from sparkrec.prepare.outcome import write_events
from sparkrec.prepare.plan import ROWS, NightPlan
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
    rows = read_files(unit / "rows").drop("old_session")
    users = read_files(unit / "users")
    is_unit = (pl.col("user_bucket") == bucket) & (pl.col("event_date") == day)
    files = open_file(plan.event_files).filter(is_unit).collect()
    stays = [
        read_file(path, day)
        .join(users, on="user_id", how="anti", maintain_order="left")
        .rename({"old_session": "session_id"})
        for path in files["path"]
    ]
    names = [name for name in [*ROWS, "session_id"] if name not in ("user_key", "old_session")]
    together = pl.concat([part.select(names) for part in [*stays, rows]])
    told: list[dict[str, Any]] = [{"kind": "replaced", "path": path} for path in files["log_path"]]
    if len(together):
        told.append(write_events(plan, bucket, together, day, f"{bucket}-patched"))
    return told

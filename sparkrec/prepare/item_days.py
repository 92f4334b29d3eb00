"""How often every item occurred on every day, counted again for the days that changed."""

from collections.abc import Sequence
from datetime import date
from typing import Any

import polars as pl

from sparkrec.parquet import open_file
from sparkrec.prepare.plan import NightPlan
from sparkrec.prepare.staged import write_part
from sparkrec.tasks import Work


def recount_days(plan: NightPlan, days: Sequence[date]) -> Work:
    """Return the task that counts one of the days anew from `events`, and reports the file it wrote."""

    def work(number: int) -> list[dict[str, Any]]:
        day = days[number]
        files = open_file(plan.event_files).filter(pl.col("event_date") == day).collect()
        names = ["item_id", "event_type"]
        per_file = [
            open_file(path)
            .filter(pl.col("item_id").is_not_null())
            .group_by(names)
            .agg(pl.len().cast(pl.Int64).alias("num_events"))
            .collect()
            for path in files["path"]
        ]
        if not per_file:
            return []
        counted = pl.concat(per_file).group_by(names).agg(pl.col("num_events").sum()).sort(names)
        return [write_part(counted, plan.folder("item_days"), f"{plan.run_date}", {"event_date": str(day)})]

    return work

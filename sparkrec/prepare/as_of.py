"""Histories as they were after the run of a date."""

from datetime import date

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from sparkrec.config.settings import PrepareSettings
from sparkrec.errors import RefusedError
from sparkrec.lake import Lake
from sparkrec.prepare.histories import build_histories
from sparkrec.tables import EVENTS, HISTORIES, ITEMS


def rebuild_histories(lake: Lake, run_date: date, settings: PrepareSettings) -> DataFrame:
    """Return the histories after the run of `run_date`, built from `events`; events of later runs do not count."""
    events = lake.read(EVENTS).where(F.col("run_date") <= F.lit(run_date))
    return build_histories(
        events,
        lake.read(ITEMS),
        run_date,
        settings.max_history,
        settings.max_purchased,
        settings.user_buckets,
    )


def histories_as_of(lake: Lake, run_date: date, settings: PrepareSettings) -> tuple[DataFrame, str]:
    """Return the histories of a date and a sentence about where they came from ('' for the table itself)."""
    stored = lake.read(HISTORIES)
    reaches = stored.agg(F.max("as_of").alias("day")).first()
    day = reaches["day"] if reaches else None
    if day == run_date:
        return stored, ""
    ran = lake.read(EVENTS).where(F.col("run_date") == F.lit(run_date))
    if ran.isEmpty():
        raise RefusedError(
            f"{lake.path(EVENTS)}: no events of the run of {run_date}; run 'make prepare DATE={run_date}' first"
        )
    rebuilt = rebuild_histories(lake, run_date, settings)
    return rebuilt, f"histories reach to {day}, those of {run_date} were rebuilt from events; "

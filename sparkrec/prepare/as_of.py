"""What the lake knew after the run of a date: its histories and its counts, also when later nights came since."""

from dataclasses import dataclass
from datetime import date

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from sparkrec.config.settings import PrepareSettings
from sparkrec.errors import RefusedError
from sparkrec.lake import Lake
from sparkrec.prepare.heal import reach
from sparkrec.prepare.histories_plain import build_histories
from sparkrec.prepare.items import count_item_days
from sparkrec.prepare.resession import resession
from sparkrec.tables import EVENTS, HISTORIES, ITEM_DAYS, ITEMS, RUNS


@dataclass(frozen=True)
class Known:
    """Histories and item_days as they were after a run, and a remark where they had to be rebuilt ('' if not)."""

    histories: DataFrame
    item_days: DataFrame
    remark: str


def known_as_of(lake: Lake, run_date: date, settings: PrepareSettings) -> Known:
    """Return what was known after the run of `run_date`; events that later runs brought in do not count.

    For the newest run these are the tables themselves. For an older one they are built from `events`, with sessions cut
    as they were before later runs delivered late events.
    """
    runs = lake.read(RUNS).where((F.col("job") == "prepare") & (F.col("status") == "complete"))
    if runs.where(F.col("run_date") == F.lit(run_date)).isEmpty():
        raise RefusedError(f"{lake.root}: {run_date} was not prepared; run 'make prepare DATE={run_date}' first")
    reaches = reach(lake)
    if reaches == run_date:
        return Known(lake.read(HISTORIES), lake.read(ITEM_DAYS), "")
    events = lake.read(EVENTS).where(F.col("run_date") <= F.lit(run_date))
    as_then = resession(events, lake.num_rows(EVENTS), settings)
    remark = f"histories reach to {reaches}, what was known on {run_date} was rebuilt from events; "
    histories = build_histories(
        as_then, lake.read(ITEMS), run_date, settings.max_history, settings.max_purchased, settings.user_buckets
    )
    return Known(histories, count_item_days(events), remark)

"""The night that was published last before a date: what today's is compared with, and carried over from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from sparkrec.evaluate.drift import figures_by_night
from sparkrec.lake import Lake
from sparkrec.models.published import night_before
from sparkrec.tables import RUNS


@dataclass(frozen=True)
class LastNight:
    """A published night: its rows of `recommendations`, its users, and the figures of the runs that published it and
    those before it, newest first."""

    run_date: date
    lists: DataFrame
    users: int
    figures: Sequence[Mapping[str, float]]


def last_night(lake: Lake, run_date: date, num_nights: int) -> LastNight | None:
    """Return the newest night before a date, with the figures of `num_nights` nights; None without one."""
    before = night_before(lake, run_date)
    if before is None:
        return None
    last_date, lists = before
    users = lists.where(F.col("rank") == 1).count()
    complete = lake.read_or_empty(RUNS).where(F.col("status") == "complete")
    nights = figures_by_night(complete, last_date, num_nights)
    return LastNight(last_date, lists, users, [figures for _, figures in nights])


def lists_to_carry(last: LastNight | None, carry_over: bool) -> DataFrame | None:
    """Return the rows that may be carried over, None where nothing is."""
    return last.lists if last and carry_over else None

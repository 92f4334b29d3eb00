"""One night's raw rows, judged, merged with the lake and cut into sessions, ready to be written."""

from dataclasses import dataclass
from datetime import date, timedelta

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from sparkrec.config import Source
from sparkrec.config.settings import PrepareSettings
from sparkrec.prepare.clean import LATER, judge, refuse_bots, too_busy
from sparkrec.prepare.ledger import Ledger, check_day, check_share, count_verdicts, keep_ledger
from sparkrec.prepare.merge import KEPT, KNOWN, merge
from sparkrec.prepare.sessions import sessionize
from sparkrec.tables import EVENTS, QUARANTINE, conform


@dataclass(frozen=True)
class Night:
    """What a run puts into the lake."""

    ledger: Ledger
    first_day: date
    """Earliest day that changes; `events` holds all of that day and of those after it."""
    events: DataFrame
    refused: DataFrame
    held: tuple[DataFrame, ...]

    def release(self) -> None:
        """Give back the memory of what was held between the steps."""
        for frame in self.held:
            frame.unpersist()


def take_in(
    clicks: DataFrame,
    stored: DataFrame,
    source: Source,
    run_date: date,
    where: str,
    settings: PrepareSettings,
) -> Night:
    """Decide where every raw row goes; raise before anything is written if the input cannot be used.

    In   clicks: raw rows of `read_clicks`. stored: `events` as they are. where: the input's name, for messages.
    """
    judged = judge(clicks, source, run_date).persist()
    checked = refuse_bots(judged, too_busy(judged, settings.max_user_day_events))
    first_verdicts = count_verdicts(checked, run_date)
    check_day(first_verdicts, run_date, where, settings.allow_empty_day)

    # A date that runs again replaces what it wrote; only other runs' events stay.
    own_first_day = _first_day(stored.where(F.col("run_date") == F.lit(run_date)))
    is_first_run = stored.where(F.col("run_date") < F.lit(run_date)).isEmpty()
    oldest = None if is_first_run else run_date - timedelta(days=settings.late_days)
    if oldest and own_first_day and own_first_day < oldest:
        oldest = None  # it was a first run when it ran before; an older date came since
    reach = _earliest(first_verdicts.first_day, own_first_day, run_date) - timedelta(days=1)
    kept = stored.where((F.col("run_date") != F.lit(run_date)) & (F.col("event_date") >= F.lit(reach)))

    merged = merge(checked.where(F.col("verdict").isNull()), kept, oldest).persist()
    second_verdicts = count_verdicts(merged, run_date)
    ledger = keep_ledger(first_verdicts, second_verdicts)
    check_share(ledger, settings.max_quarantine_share, where)

    first_day = _earliest(second_verdicts.first_day, own_first_day, run_date)
    return Night(
        ledger=ledger,
        first_day=first_day,
        events=_sessions_from(merged, first_day, run_date, settings.gap_minutes),
        refused=_refused(checked, merged, run_date),
        held=(judged, merged),
    )


def _sessions_from(merged: DataFrame, first_day: date, run_date: date, gap_minutes: int) -> DataFrame:
    # Sessions may have begun on the day before; a gap is shorter than a day, so no earlier day matters.
    stays = F.col("verdict").isNull() | (F.col("verdict") == KEPT)
    nearby = merged.where(stays & (F.col("event_date") >= F.lit(first_day - timedelta(days=1))))
    is_unchanged = F.col("event_date") < F.lit(first_day)
    known_sessions = nearby.withColumn("session_id", F.when(is_unchanged, F.col("session_id")))
    events = sessionize(known_sessions, gap_minutes).where(~is_unchanged)
    return conform(events.withColumn("run_date", F.coalesce("run_date", F.lit(run_date))), EVENTS)


def _refused(checked: DataFrame, merged: DataFrame, run_date: date) -> DataFrame:
    by_itself = checked.where(F.col("verdict") != LATER)
    beside_others = merged.where(~F.col("verdict").isin(KEPT, KNOWN))
    columns = ["verdict", "raw", "source_file"]
    refused = by_itself.select(columns).unionByName(beside_others.select(columns))
    return conform(refused.withColumnRenamed("verdict", "reason").withColumn("run_date", F.lit(run_date)), QUARANTINE)


def _first_day(events: DataFrame) -> date | None:
    row = events.agg(F.min("event_date").alias("day")).first()
    return row["day"] if row else None


def _earliest(*days: date | None) -> date:
    return min(day for day in days if day is not None)

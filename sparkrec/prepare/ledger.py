"""Count where every raw row went; refuse a run that refuses too much."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from sparkrec.errors import RefusedError
from sparkrec.prepare.clean import LATER
from sparkrec.prepare.merge import KEPT, KNOWN


@dataclass(frozen=True)
class Verdicts:
    """How many rows have which verdict (None: they stand), and over which days."""

    counts: Mapping[str | None, int]
    first_day: date | None
    last_day: date | None
    rows_of_day: int


def count_verdicts(rows: DataFrame, run_date: date) -> Verdicts:
    """Count judged or merged rows by verdict. The days are those of rows without one."""
    stands = F.col("verdict").isNull()
    counted = rows.groupBy("verdict").agg(
        F.count("*").alias("num_rows"),
        F.min(F.when(stands, F.col("event_date"))).alias("first_day"),
        F.max(F.when(stands, F.col("event_date"))).alias("last_day"),
        F.count_if(F.col("event_date") == F.lit(run_date)).alias("rows_of_day"),
    )
    groups = counted.collect()  # a row per verdict
    days = [group for group in groups if group["verdict"] is None]
    return Verdicts(
        counts={group["verdict"]: group["num_rows"] for group in groups},
        first_day=days[0]["first_day"] if days else None,
        last_day=days[0]["last_day"] if days else None,
        rows_of_day=sum(group["rows_of_day"] for group in groups),
    )


@dataclass(frozen=True)
class Ledger:
    """Rows in and where they went."""

    rows_in: int
    new: int
    known: int
    later: int
    refused: Mapping[str, int]

    @property
    def num_refused(self) -> int:
        return sum(self.refused.values())

    def sentence(self) -> str:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(self.refused.items()))
        known = f", {self.known:,} known already" if self.known else ""
        later = f", {self.later:,} of later days skipped" if self.later else ""
        refused = f"{self.num_refused:,} quarantined" + (f" ({reasons})" if reasons else "")
        return f"{self.rows_in:,} raw rows -> {self.new:,} events, {refused}{known}{later}"


def keep_ledger(judged: Verdicts, merged: Verdicts) -> Ledger:
    """Bring the counts of both steps together; they must add up."""
    rows_in = sum(judged.counts.values())
    first = {reason: count for reason, count in judged.counts.items() if reason not in (None, LATER)}
    second = {reason: count for reason, count in merged.counts.items() if reason not in (None, KEPT, KNOWN)}
    refused = {str(reason): count for reason, count in {**first, **second}.items()}
    ledger = Ledger(
        rows_in, merged.counts.get(None, 0), merged.counts.get(KNOWN, 0), judged.counts.get(LATER, 0), refused
    )
    if ledger.new + ledger.known + ledger.later + ledger.num_refused != rows_in:
        raise RuntimeError(f"the ledger does not add up: {ledger}")
    return ledger


def check_day(judged: Verdicts, run_date: date, where: str, allow_empty_day: bool) -> None:
    """Refuse an input without rows, or without rows of the run's own date."""
    if not sum(judged.counts.values()):
        raise RefusedError(f"{where}: no rows; was the download cut off?")
    if judged.rows_of_day or allow_empty_day:
        return
    span = (
        f"those that can be used are of {judged.first_day} to {judged.last_day}"
        if judged.first_day
        else "none is usable"
    )
    later = judged.counts.get(LATER, 0)
    raise RefusedError(
        f"{where}: no row of {run_date}; {span}, {later:,} are of later days, {_reasons(judged.counts)};"
        " check --date and the source's time unit and zone, or set prepare.allow_empty_day=true"
    )


def check_share(ledger: Ledger, max_share: float, where: str) -> None:
    """Refuse a run of which too much would go to the quarantine."""
    looked_at = ledger.rows_in - ledger.later
    share = ledger.num_refused / max(looked_at, 1)
    if share > max_share:
        raise RefusedError(
            f"{where}: {share:.1%} of {looked_at:,} rows would be quarantined ({_reasons(dict(ledger.refused))}),"
            f" prepare.max_quarantine_share allows {max_share:.1%}; check the source mapping, or raise that setting"
        )


def _reasons(counts: Mapping[str | None, int] | Mapping[str, int]) -> str:
    told = [f"{count:,} {reason}" for reason, count in counts.items() if reason not in (None, LATER)]
    return ", ".join(sorted(told)) or "none refused"

"""Count where every raw row went; refuse a run that refuses too much, or that brings too little."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from statistics import median
from typing import Any

from sparkrec.errors import RefusedError
from sparkrec.prepare.plan import KNOWN, TAKEN_IN

FEW_ROWS = 1_000
"""Days with fewer rows than this have no usual size."""


@dataclass(frozen=True)
class Ledger:
    """Rows in and where they went."""

    rows_in: int
    new: Mapping[date, int]
    """Events that the lake did not have, by day."""
    known: Mapping[date, int]
    later: int
    refused: Mapping[str, int]

    @property
    def num_new(self) -> int:
        return sum(self.new.values())

    @property
    def num_known(self) -> int:
        return sum(self.known.values())

    @property
    def num_refused(self) -> int:
        return sum(self.refused.values())

    def sentence(self) -> str:
        known = f", {self.num_known:,} known already" if self.num_known else ""
        later = f", {self.later:,} of later days skipped" if self.later else ""
        reasons = f" ({_reasons(self.refused)})" if self.refused else ""
        refused = f"{self.num_refused:,} quarantined{reasons}"
        return f"{self.rows_in:,} raw rows -> {self.num_new:,} events, {refused}{known}{later}"


def keep_ledger(told: Iterable[Mapping[str, Any]], rows_in: int, later: int) -> Ledger:
    """Add up what the tasks report; it must come to the rows that were read."""
    new: Counter[date] = Counter()
    known: Counter[date] = Counter()
    refused: Counter[str] = Counter()
    for row in told:
        if row["kind"] == "rows":
            (new if row["name"] == TAKEN_IN else known)[date.fromisoformat(row["day"])] += row["num"]
            assert row["name"] in (TAKEN_IN, KNOWN)
        elif row["kind"] == "refused" and row["num"]:
            refused[row["name"]] += row["num"]
    ledger = Ledger(rows_in, new, known, later, refused)
    if ledger.num_new + ledger.num_known + ledger.later + ledger.num_refused != rows_in:
        raise RuntimeError(f"the ledger does not add up: {ledger.sentence()}")
    return ledger


def check_day(ledger: Ledger, run_date: date, where: str, allow_empty_day: bool) -> None:
    """Refuse an input without rows, or without rows of the run's own date."""
    if not ledger.rows_in:
        raise RefusedError(f"{where}: no rows; was the download cut off?")
    if ledger.new.get(run_date, 0) + ledger.known.get(run_date, 0) or allow_empty_day:
        return
    days = sorted({*ledger.new, *ledger.known})
    span = f"those that can be used are of {days[0]} to {days[-1]}" if days else "none is usable"
    raise RefusedError(
        f"{where}: no row of {run_date}; {span}, {ledger.later:,} are of later days, {_reasons(ledger.refused)};"
        " check --date and the source's time unit and zone, or set prepare.allow_empty_day=true"
    )


def check_share(ledger: Ledger, max_share: float, where: str) -> None:
    """Refuse a run of which too much would go to the quarantine."""
    looked_at = ledger.rows_in - ledger.later
    share = ledger.num_refused / max(looked_at, 1)
    if share > max_share:
        raise RefusedError(
            f"{where}: {share:.1%} of {looked_at:,} rows would be quarantined ({_reasons(ledger.refused)}),"
            f" prepare.max_quarantine_share allows {max_share:.1%}; check the source mapping, or raise that setting"
        )


def check_usual(ledger: Ledger, rows_of_week: Sequence[int], run_date: date, where: str, min_share: float) -> None:
    """Refuse a run whose day is much smaller than the days before: half a folder, an export that broke off.

    In   rows_of_week: events of up to seven days before the run's; fewer than three say nothing.
    """
    if len(rows_of_week) < 3 or median(rows_of_week) < FEW_ROWS:
        return
    usual = median(rows_of_week)
    found = ledger.new.get(run_date, 0) + ledger.known.get(run_date, 0)
    if found < min_share * usual:
        raise RefusedError(
            f"{where}: {found:,} events of {run_date}, a usual day of the week before has {usual:,.0f},"
            f" prepare.min_day_share wants {min_share:.0%} of that; is the delivery complete?"
            " If it is, set prepare.min_day_share=0 for this run"
        )


def _reasons(refused: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in sorted(refused.items())) or "none refused"

"""A night in a sentence, and in a few lines for a terminal."""

from collections.abc import Mapping
from typing import Any

from sparkrec.config.settings import GATE_K
from sparkrec.evaluate.night import REALISED
from sparkrec.evaluate.protocols import protocol_of
from sparkrec.evaluate.report.gather import STAGES, Night

SHOWN = {"ndcg": "NDCG", "hr": "HR"}


def verdict_of(night: Night) -> str:
    """Return the night in a sentence."""
    failed = _failed(night)
    if failed:
        return f"Failed in {failed}: {night.stages[failed]['message']}"
    if night.version is None:
        missing = next((stage for stage in STAGES if stage not in night.stages), None)
        why = night.failure or (f"{missing} has not run" if missing else "")
        return f"Nothing is published{f' ({why})' if why else ''}; readers see the nights before."
    ended = f" The command that wrote this ended with: {night.failure}" if night.failure else ""
    return (
        f"Published: {night.counts['rows published']:,} rows for {night.counts['users with a list']:,} users,"
        f" by {night.version}.{ended}"
    )


def is_well(night: Night) -> bool:
    """Whether the night is published, and nothing failed."""
    return night.version is not None and not _failed(night) and not night.failure


def as_lines(night: Night) -> str:
    """Return what a terminal shows."""
    rows = headline_of(night)
    told = [f"\nThe night of {night.date}. {verdict_of(night)}"]
    for metric, word in SHOWN.items():
        ours = rows.get((metric, GATE_K, str(night.version), ""))
        if ours:
            paired = [
                f"{row['value']:+.4f}{_interval(row, '+.4f')} against {against}"
                for (of, k, _, against), row in rows.items()
                if (of, k) == (metric, GATE_K) and against
            ]
            told.append(f"{word}@{GATE_K} {ours['value']:.4f}{_interval(ours, '.4f')}, {', '.join(paired)}")
    realised = [
        row for row in night.metrics if (row["protocol"], row["slice"], row["metric"]) == (REALISED, "all", "hr")
    ]
    for row in [row for row in realised if row["k"] <= GATE_K][-1:]:
        told.append(
            f"the last night's lists: HR@{row['k']} {row['value']:.4f}{_interval(row, '.4f')} over"
            f" {row['num_users']:,} users who came back"
        )
    passed = [limit.in_words() for limit in night.limits if not limit.is_kept]
    if night.limits:
        told.append(f"limits exceeded: {'; '.join(passed)}" if passed else f"all {len(night.limits)} limits are kept")
    return "\n  ".join(told)


def headline_of(night: Night) -> dict[tuple[str, int, str, str], Mapping[str, Any]]:
    """Return the figures over all users among all items by metric, cut-off, model and the model compared with."""
    full = protocol_of(night.settings.window)
    return {
        (row["metric"], row["k"], row["model_version"], row["against"]): row
        for row in night.metrics
        if row["protocol"] == full and row["slice"] == "all"
    }


def _failed(night: Night) -> str | None:
    return next((stage for stage, run in night.stages.items() if run["status"] != "complete"), None)


def _interval(row: Mapping[str, Any], form: str) -> str:
    return "" if row["low"] is None else f" ({row['low']:{form}} to {row['high']:{form}})"

"""Tables in Markdown, and the places of a page that a command fills in."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lakes import Entry, Rows

Found = dict[tuple[str, str, str, str, str], dict[str, Any]]
"""Rows of `metrics` by protocol, slice, model, the model it is compared with or '', and metric."""


def table_of(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table.

    >>> print(table_of(["a", "b"], [["1", "2"]]))
    | a | b |
    |---|---|
    | 1 | 2 |
    """
    return "\n".join([line_of(columns), f"|{'---|' * len(columns)}", *map(line_of, rows)])


def line_of(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def fill_in(page: Path, parts: Mapping[str, str]) -> None:
    """Put each part where the page has its name."""
    told = page.read_text()
    for name, text in parts.items():
        told = filled_in(told, name, text)
    page.write_text(told)


def filled_in(page: str, name: str, text: str) -> str:
    """Return the page with the text in place of what stands there.

    >>> filled_in("a <!-- x -->old<!-- end of x --> b", "x", "new")
    'a <!-- x -->\\nnew\\n<!-- end of x --> b'
    """
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    before, found, rest = page.partition(begin)
    _, ended, after = rest.partition(end)
    if not found or not ended:
        raise SystemExit(f"the page has no place '{begin} … {end}' for what belongs there; put it in")
    return f"{before}{begin}\n{text}\n{end}{after}"


def named(rows: Rows, names: Mapping[str, str]) -> Found:
    """Return rows by what they are of. In: names: of models by version; most-popular has its own."""
    found: Found = {}
    for row in rows:
        models = (names.get(row["model_version"], row["model_version"]), names.get(row["against"], row["against"]))
        found[row["protocol"], row["slice"], *models, row["metric"]] = row
    return found


def short(value: float) -> str:
    """Return four digits after the point, and none before it.

    >>> short(0.06321), short(1.0)
    ('.0632', '1.0000')
    """
    return f"{value:.4f}".removeprefix("0")


def with_interval(row: Mapping[str, float | None]) -> str:
    """Return a figure with its 95 % interval, where it has one."""
    told = short(row["value"] or 0.0)
    return (
        told if row["low"] is None or row["high"] is None else f"{told} ({short(row['low'])} to {short(row['high'])})"
    )


def as_difference(row: Mapping[str, Any]) -> str:
    """Return a difference with its interval; a star where it excludes zero.

    >>> as_difference({"value": -0.01, "low": -0.02, "high": -0.001})
    '-0.0100 (-0.0200 to -0.0010) *'
    """
    value, low, high = row["value"], row["low"], row["high"]
    if low is None or high is None:
        return f"{value:+.4f}"
    return f"{value:+.4f} ({low:+.4f} to {high:+.4f}){'' if low <= 0 <= high else ' *'}"


def turned_round(row: Mapping[str, Any]) -> dict[str, float | None]:
    """Return a difference the other way round.

    >>> turned_round({"value": 3.0, "low": 1.0, "high": 5.0})
    {'value': -3.0, 'low': -5.0, 'high': -1.0}
    """
    ends = {"value": row["value"], "low": row["high"], "high": row["low"]}
    return {name: None if value is None else -value for name, value in ends.items()}


def taken_by(entry: Entry, told: Mapping[str, Any]) -> list[str]:
    """Return best epoch, seconds and settings of a model. In: told: see `Lake.trained`.

    >>> taken_by(Entry("a", ("b=c",)), {"epochs": 3, "seconds": 61.2, "resumed": True, "on": "H200"})
    ['3', '61+ (H200)', '`--set b=c`']
    """
    settings = " ".join(f"--set {setting}" for setting in entry.settings)
    seconds = "" if told["seconds"] is None else f"{told['seconds']:.0f}{'+' if told['resumed'] else ''}"
    if on := told.get("on"):
        seconds += f" ({on})"
    return [str(told["epochs"] or ""), seconds, f"`{settings}`" if settings else ""]


def remarks(missing: Sequence[str], codes: Iterable[str]) -> Iterable[str]:
    """Yield what a reader must know of a table. In: codes: the version of the code of every row."""
    yield f"Not run yet: {'; '.join(missing)}." if missing else "Nothing is left to run."
    told = ", ".join(f"{code} ({num})" for code, num in sorted(Counter(codes).items()))
    yield f"Versions of the code, with rows: {told or 'none'}. Seconds are the job's; + means that it was cut off once."
    yield "Where a GPU is named, `jobs/train.py` planned the training and took the model up, and seconds are its rank's"
    yield "there, beside others."
    yield "Clicks are taken in as below; `jobs/window.py` and `jobs/train.py` follow with the same settings and those"
    yield "of the row:"

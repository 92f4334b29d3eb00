"""The page's drawings, as SVG that takes its colour of text and lines from the page."""

import io
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl

mpl.use("svg")
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK = "#010203"
"""Stands for the page's colour of text, which is another in the dark."""
OURS, OTHERS = "#2f7ed8", "#e07b39"
WIDTH, HEIGHT = 6.2, 2.6
LEGEND: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1), "ncols": 2, "borderaxespad": 0.2}
"""Above the drawing, where it covers nothing."""
LONGEST = 28
"""Letters of a name beside a drawing."""
STYLE: dict[Any, Any] = {
    "font.size": 9, "font.family": "sans-serif", "svg.fonttype": "none", "svg.hashsalt": "sparkrec", "text.color": INK,
    "axes.edgecolor": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK, "axes.spines.top": False,
    "axes.spines.right": False, "legend.frameon": False, "figure.facecolor": "none", "axes.facecolor": "none",
    "text.parse_math": False,  # names are shown as they are, dollars too
}  # fmt: skip


def nights(history: Sequence[Mapping[str, Any]]) -> str:
    """Draw NDCG@10 over nights with its intervals, the model's and most-popular's."""
    with mpl.rc_context(STYLE):
        figure, axes = _new()
        for who, colour, words in (("model", OURS, "published model"), ("popular", OTHERS, "most-popular")):
            rows = [row for row in history if row["who"] == who]
            days, values = [row["run_date"] for row in rows], [row["value"] for row in rows]
            ends = [(row["value"] if row[end] is None else row[end]) for end in ("low", "high") for row in rows]
            axes.fill_between(days, ends[: len(rows)], ends[len(rows) :], color=colour, alpha=0.2, linewidth=0)
            axes.plot(days, values, color=colour, marker="o", markersize=4, label=words)
        axes.set_ylabel("NDCG@10")
        axes.set_ylim(bottom=0)
        axes.set_xticks(sorted({row["run_date"] for row in history})[:: max(1, len(history) // 12)])
        axes.tick_params(axis="x", rotation=30)
        axes.legend(**LEGEND)
        return _svg(figure, "NDCG@10 by night, with 95 % intervals")


def slices(rows: Sequence[Mapping[str, Any]], popular: Mapping[str, float]) -> str:
    """Draw a figure of every slice with its interval, and most-popular's beside it; users in brackets."""
    with mpl.rc_context(STYLE):
        figure, axes = _new(height=0.9 + 0.26 * len(rows))
        for place, row in enumerate(reversed(rows)):
            low, high = (row["value"] if row[end] is None else row[end] for end in ("low", "high"))
            axes.plot([max(low, 0), min(high, 1)], [place, place], color=OURS, linewidth=2)
            axes.plot(row["value"], place, "o", color=OURS, label="" if place else "published model")
            axes.plot(
                popular.get(row["slice"], float("nan")), place, "x", color=OTHERS, label="" if place else "most-popular"
            )
        axes.set_yticks(range(len(rows)), [_of_slice(row) for row in reversed(rows)])
        axes.set_xlim(left=-0.02 * axes.get_xlim()[1])  # room for what is 0
        axes.set_xlabel("NDCG@10")
        axes.legend(**LEGEND)
        return _svg(figure, "NDCG@10 by slice, with 95 % intervals")


def bars(values: Mapping[str, float], unit: str) -> str:
    """Draw a bar per name with its number."""
    with mpl.rc_context(STYLE):
        figure, axes = _new(height=0.45 + 0.28 * len(values))
        names = list(values)[::-1]
        drawn = axes.barh(range(len(names)), [values[name] for name in names], color=OURS)
        axes.set_yticks(range(len(names)), [_short(name) for name in names])
        axes.bar_label(drawn, [f" {values[name]:,.0f}" for name in names])
        axes.margins(x=0.15)
        axes.set_xlabel(unit)
        return _svg(figure, unit)


def lines(rows: Sequence[Mapping[str, Any]], limit: float | None) -> str:
    """Draw the stability index of every group over nights, and the limit if there is one."""
    with mpl.rc_context(STYLE):
        figure, axes = _new()
        for group in sorted({row["group"] for row in rows}):
            own = [row for row in rows if row["group"] == group]
            axes.plot(
                [row["run_date"] for row in own], [row["value"] for row in own], marker="o", markersize=4, label=group
            )
        if limit is not None:
            axes.axhline(limit, color=OTHERS, linestyle="--", linewidth=1, label="limit")
        axes.set_xticks(sorted({row["run_date"] for row in rows})[:: max(1, len(rows) // 24)])
        axes.tick_params(axis="x", rotation=30)
        axes.set_ylabel("stability index")
        axes.set_ylim(bottom=0)
        axes.legend(**LEGEND | {"fontsize": 7})
        return _svg(figure, "population stability index by night")


def _of_slice(row: Mapping[str, Any]) -> str:
    word, space, name = str(row["slice"]).partition(" ")
    return f"{word}{space}{_short(name)} ({row['num_users']:,})"


def _short(name: str) -> str:
    """Return a name that leaves room for the drawing; paths of categories differ at their ends."""
    return name if len(name) <= LONGEST else f"…{name[-LONGEST + 1 :]}"


def _new(height: float = HEIGHT) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.subplots()


def _svg(figure: Figure, words: str) -> str:
    """Return the drawing for the middle of a page, as wide as it, with words for who cannot see it."""
    file = io.StringIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # letters stay letters; the reader has the font
        figure.savefig(file, format="svg", metadata={"Date": None})
    svg = file.getvalue()
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg[svg.index("<svg") :].replace(INK, "currentColor"), count=1)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    return svg.replace("<svg", f'<svg role="img" aria-label="{words}"', 1)

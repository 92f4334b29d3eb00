"""A few figures for a row of `models`, a log line or a terminal."""

from collections.abc import Iterable

from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from sparkrec.config.settings import GATE_K
from sparkrec.evaluate.contest import CHAMPION, POPULAR

WORDS = {"hr": "HR", "ndcg": "NDCG"}
"""The metrics of a headline."""


def headline(figures: DataFrame) -> list[Row]:
    """Return hit rate and NDCG over all users among all items, a few rows. In: rows of METRICS, or see `summed`."""
    chosen = (F.col("slice") == "all") & F.col("protocol").endswith("_full") & F.col("metric").isin(*WORDS)
    return figures.where(chosen).orderBy(F.desc("metric"), "k").collect()


def by_name(rows: Iterable[Row], version: str) -> dict[str, float]:
    """Return {ndcg10: …, popular_ndcg10: …, champion_ndcg10: …, users: …} of one split; nothing without users."""
    prefixes = {version: "", POPULAR: "popular_", CHAMPION: "champion_"}
    found: dict[str, float] = {}
    for row in rows:
        if row["model_version"] in prefixes and not row["against"]:
            found[f"{prefixes[row['model_version']]}{row['metric']}{row['k']}"] = float(row["value"])
            found["users"] = float(row["num_users"])
    return found


def figures_by_split(figures: DataFrame, version: str) -> dict[str, float]:
    """Return {validation_ndcg10: …, test_popular_ndcg10: …, test_users: …}; see `by_name`."""
    rows = headline(figures)
    found = {f"{split}_users": 0.0 for split in ("validation", "test")}
    for split in ("validation", "test"):
        named = by_name((row for row in rows if row["split"] == split), version)
        found |= {f"{split}_{name}": value for name, value in named.items()}
    return found


def sentence_of(rows: Iterable[Row], version: str) -> str:
    """Return a model's headline in words, at one cut-off: its figures, most-popular's, and the paired difference."""
    found = {(row["model_version"], row["against"], row["metric"], row["k"]): row for row in rows}
    if not found:
        return "no user has enough events to hold one out, so there is nothing to measure"
    cutoffs = {k for _, _, _, k in found}
    k = GATE_K if GATE_K in cutoffs else max(cutoffs)
    told = []
    for metric, word in WORDS.items():
        ours, popular = found[version, "", metric, k], found[POPULAR, "", metric, k]
        paired = found[version, POPULAR, metric, k]
        told.append(
            f"{word}@{k} {ours['value']:.4f} (most-popular {popular['value']:.4f},"
            f" difference {paired['value']:+.4f}{_interval(paired)})"
        )
    return f"{max(row['num_users'] for row in found.values()):,} users; " + "; ".join(told)


def _interval(row: Row) -> str:
    return "" if row["low"] is None else f", 95 % from {row['low']:+.4f} to {row['high']:+.4f}"

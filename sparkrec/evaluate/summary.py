"""A few figures for a row of `models`, a log line or a terminal."""

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from sparkrec.config.settings import EvaluateSettings
from sparkrec.evaluate.figures import POPULAR, figures_of
from sparkrec.evaluate.held_out import rank_held_out
from sparkrec.models.published import evaluated
from sparkrec.models.store import has_model
from sparkrec.sequences import Ints


def held_out_figures(ranks: DataFrame, version: str, run_date: date, top_k: Sequence[int]) -> dict[str, float]:
    """Return <split>_<metric><k> and <split>_popular_<metric><k> over all users of each split that has targets."""
    held = ranks.persist()  # both splits are read from one scoring
    found: dict[str, float] = {}
    for split in ("validation", "test"):
        of_split = held.where(F.col("split") == split)
        figures = figures_of(of_split, run_date, version, _with_gate(top_k)).persist()  # read twice
        for name, value in overall(figures).items():
            found[f"{split}_{name}"] = value
        found[f"{split}_users"] = float(num_users(figures))
        figures.unpersist()
    held.unpersist()
    return found


def validation_figures(
    windows: DataFrame,
    champion: Path | None,
    popularity: Mapping[str, Ints],
    run_date: date,
    settings: EvaluateSettings,
) -> dict[str, float]:
    """Return validation_champion_<metric><k>: the champion's figures on the same users; nothing without a champion.

    A champion never trained on what is held out now, for it is older; of a refit its first training is measured.
    """
    folder = evaluated(champion) if champion else None
    if folder is None or not has_model(folder):
        return {}
    ranks = rank_held_out(windows.where(F.col("split") == "validation"), folder, popularity, settings.tile_users)
    found = overall(figures_of(ranks, run_date, "champion", _with_gate(settings.top_k)))
    return {f"validation_champion_{name}": value for name, value in found.items() if not name.startswith(POPULAR)}


def _with_gate(top_k: Sequence[int]) -> list[int]:
    """Return the cut-offs with the one by which candidates pass or not."""
    return sorted({10, *top_k})


def overall(figures: DataFrame) -> dict[str, float]:
    """Return the figures over all users as {hr10: …, popular_hr10: …}; NaN for those without a target."""
    chosen = figures.where((F.col("slice") == "all") & (F.col("against") == ""))
    rows = chosen.select("model_version", "metric", "k", "value").collect()  # four per cut-off
    return {f"{'popular_' if row[0] == POPULAR else ''}{row[1]}{row[2]}": float(row[3]) for row in rows}


def num_users(figures: DataFrame) -> int:
    """Return how many users were measured."""
    row = figures.where(F.col("slice") == "all").agg(F.max("num_users").alias("users")).first()
    return int(row["users"] or 0) if row else 0


def sentence_of(figures: DataFrame) -> str:
    """Return all users' figures in words: ours, most-popular's, and the paired difference with its interval."""
    rows = figures.where(F.col("slice") == "all").orderBy(F.desc("metric"), "k").collect()  # six per cut-off
    if not rows:
        return "no user has three items or more, so there is nothing to measure"
    told = []
    for ours in (row for row in rows if row["model_version"] != POPULAR and not row["against"]):
        same = [row for row in rows if (row["metric"], row["k"]) == (ours["metric"], ours["k"])]
        popular = next(row for row in same if row["model_version"] == POPULAR)
        paired = next(row for row in same if row["against"])
        name = {"hr": "HR", "ndcg": "NDCG"}[ours["metric"]]
        told.append(
            f"{name}@{ours['k']} {ours['value']:.4f} (most-popular {popular['value']:.4f},"
            f" difference {paired['value']:+.4f}, 95 % from {paired['low']:+.4f} to {paired['high']:+.4f})"
        )
    return f"{rows[0]['num_users']:,} users; " + "; ".join(told)

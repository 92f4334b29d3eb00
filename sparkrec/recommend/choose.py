"""Which model a night is scored with, and what its publication makes of the others."""

import math
from collections.abc import Sequence
from datetime import date

from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from sparkrec.config.settings import RecommendSettings
from sparkrec.errors import SparkrecError

GATE = "validation_ndcg10"
CHAMPION, POPULAR = "validation_champion_ndcg10", "validation_popular_ndcg10"
"""Figures of a candidate, of the champion of its day and of most-popular, on the same users."""
USERS, ENOUGH_USERS = "validation_users", 100
"""With fewer users, most-popular is no judge."""


def choose_model(
    models: Sequence[Row], published: str | None, run_date: date, settings: RecommendSettings
) -> tuple[Row, list[str], str]:
    """Return the model to score with, what speaks against it, and a remark where it is not the date's candidate.

    The date's candidate; where it fails and `failed_candidate` says so, or there is none, the model that published the
    date before, else the newest champion until then.

    In   models: rows of `models`. published: model_version of the date's rows in `recommendations`, if any.
    """
    until_now = [model for model in models if model["run_date"] <= run_date]
    candidates = [model for model in until_now if model["status"] == "candidate" and model["run_date"] == run_date]
    doubts = {model["model_version"]: doubts_of(model, settings) for model in candidates}
    passed = [model for model in candidates if not doubts[model["model_version"]]]
    refused = [model for model in candidates if model not in passed]
    earlier = [model for model in until_now if model["model_version"] == published]
    champions = sorted(
        (model for model in until_now if model["status"] == "champion"), key=lambda model: model["run_date"]
    )
    if not passed and refused and settings.failed_candidate == "refuse":
        return refused[0], doubts[refused[0]["model_version"]], ""
    remark = "".join(f"{doubt}; " for model in refused for doubt in doubts[model["model_version"]])
    for choice in (passed, earlier, champions[::-1]):
        if choice:
            return choice[0], [], remark
    raise SparkrecError(
        f"models: {remark}no champion up to {run_date} to score with instead; run 'make train DATE={run_date}' first"
    )


def figures_of_model(model: Row) -> dict[str, float]:
    """Return the held-out figures by which a model passes or not."""
    metrics = model["metrics"] or {}
    return {name: metrics[name] for name in (GATE, CHAMPION, POPULAR, USERS) if name in metrics}


def doubts_of(candidate: Row, settings: RecommendSettings) -> list[str]:
    """Return in words why a candidate should not publish: it is much worse than the champion, or than most-popular."""
    metrics = candidate["metrics"] or {}
    # Without users to measure on, or without a champion, there is nothing to fail against.
    ours, champion, popular = (metrics.get(name, math.nan) for name in (GATE, CHAMPION, POPULAR))
    told = f"candidate {candidate['model_version']} did not pass: validation NDCG@10 {ours:.4f}"
    doubts = []
    if ours < champion * (1 - settings.max_ndcg_drop):
        doubts.append(
            f"{told}, champion {champion:.4f} on the same users (recommend.max_ndcg_drop {settings.max_ndcg_drop})"
        )
    enough = metrics.get(USERS, 0.0) >= ENOUGH_USERS
    if enough and ours < popular * settings.min_popular_ratio:
        doubts.append(f"{told}, most-popular {popular:.4f} (recommend.min_popular_ratio {settings.min_popular_ratio})")
    return doubts


def check_vocabulary(model: Row, lineage: str, vocabulary_size: int) -> None:
    """Refuse a model of another lake, or of a vocabulary larger than the lake's."""
    if model["vocabulary_lineage"] != lineage or model["vocabulary_size"] > vocabulary_size:
        raise SparkrecError(
            f"model {model['model_version']}: trained on vocabulary {model['vocabulary_lineage']} of"
            f" {model['vocabulary_size']:,} indices, this lake has {lineage} of {vocabulary_size:,};"
            " train a model on this lake (make train)"
        )


def with_champion(models: DataFrame, version: str, run_date: date) -> DataFrame:
    """Return `models` after a publication: the newest published model is champion, those it follows are retired."""
    is_it = F.col("model_version") == version
    is_champion = F.col("status") == "champion"
    newer = models.where(is_champion & ~is_it & (F.col("run_date") > F.lit(run_date)))
    ours = "retired" if not newer.isEmpty() else "champion"
    status = F.when(is_it, ours).when(is_champion & (F.col("run_date") <= F.lit(run_date)), "retired")
    return models.withColumn("status", status.otherwise(F.col("status")))

"""Which model a night is scored with, and what its publication makes of the others."""

import math
from collections.abc import Sequence
from datetime import date

from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from sparkrec.errors import SparkrecError

GATE = "validation_ndcg10"
CHAMPION = "validation_champion_ndcg10"
"""Figures of a candidate, and of the champion of its day on the same users, by which it passes or not."""


def choose_model(models: Sequence[Row], published: str | None, run_date: date, max_drop: float) -> tuple[Row, str]:
    """Return the model to score with, and a remark where it is not the date's candidate ('' if it is).

    The date's candidate if it passes against the champion; else the model that published the date before, else the
    newest champion until then.

    In   models: rows of `models`. published: model_version of the date's rows in `recommendations`, if any.
         max_drop: by what share of the champion's NDCG@10 a candidate may be worse.
    """
    until_now = [model for model in models if model["run_date"] <= run_date]
    candidates = [model for model in until_now if model["status"] == "candidate" and model["run_date"] == run_date]
    failed = [model for model in candidates if not passes(model, max_drop)]
    passed = [model for model in candidates if model not in failed]
    earlier = [model for model in until_now if model["model_version"] == published]
    champions = sorted(
        (model for model in until_now if model["status"] == "champion"), key=lambda model: model["run_date"]
    )
    remark = "".join(
        f"candidate {model['model_version']} did not pass (validation NDCG@10 {model['metrics'][GATE]:.4f}, champion"
        f" {model['metrics'][CHAMPION]:.4f} on the same users, recommend.max_ndcg_drop {max_drop}); "
        for model in failed
    )
    for choice in (passed, earlier, champions[::-1]):
        if choice:
            return choice[0], remark
    raise SparkrecError(
        f"models: {remark}no champion up to {run_date} to score with instead; run 'make train DATE={run_date}' first"
    )


def passes(candidate: Row, max_drop: float) -> bool:
    """Whether a candidate is at most a share worse than the champion on the same users; the first one always is."""
    metrics = candidate["metrics"] or {}
    ours, theirs = metrics.get(GATE, math.nan), metrics.get(CHAMPION, math.nan)
    # Without users to measure on, or without a champion, there is nothing to fail against.
    return not ours < theirs * (1 - max_drop)


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

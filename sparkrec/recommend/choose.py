"""Which model a night is scored with, and what its publication makes of the others."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path

from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from sparkrec.errors import SparkrecError


def choose_model(models: Sequence[Row], published: str | None, run_date: date) -> Row:
    """Return the date's candidate, else the model that published the date before, else the newest champion until then.

    In   models: rows of `models`. published: model_version of the date's rows in `recommendations`, if any.
    """
    until_now = [model for model in models if model["run_date"] <= run_date]
    candidates = [model for model in until_now if model["status"] == "candidate" and model["run_date"] == run_date]
    earlier = [model for model in until_now if model["model_version"] == published]
    champions = sorted(
        (model for model in until_now if model["status"] == "champion"), key=lambda model: model["run_date"]
    )
    for choice in (candidates, earlier, champions[::-1]):
        if choice:
            return choice[0]
    raise SparkrecError(f"models: no candidate or champion up to {run_date}; run 'make train DATE={run_date}' first")


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


def published_version(night: DataFrame) -> str | None:
    """Return the model of a night's published rows, None where nothing is published."""
    row = night.select("model_version").first()
    return row["model_version"] if row else None


def published_model(night: DataFrame, models: DataFrame, run_date: date) -> tuple[str, Path]:
    """Return version and folder of the model of a night's published rows."""
    version = published_version(night)
    model = models.where(F.col("model_version") == F.lit(version)).select("path").first()
    if version is None or model is None:
        raise SparkrecError(
            f"recommendations {run_date}: nothing is published; run 'make recommend DATE={run_date}' first"
        )
    return version, Path(model["path"])

"""From a date's windows to the plan of its training, and from the trained model to its row in `models`."""

from collections.abc import Mapping
from datetime import date, datetime
from pathlib import Path

import numpy as np
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from sparkrec.config import Settings
from sparkrec.config.load import settings_hash
from sparkrec.models.sequence_model import ModelShape
from sparkrec.models.store import Card
from sparkrec.sequences import Ints
from sparkrec.tables import MODELS
from sparkrec.train.plan import TrainingSet, TrainPlan, name_version
from sparkrec.window.layout import known_mask
from sparkrec.window.negatives import law_of


def plan_training(
    training_set: TrainingSet,
    counts: Ints,
    lineage: str,
    run_date: date,
    settings: Settings,
    model_root: Path,
    code: str,
) -> TrainPlan:
    """Fix everything that a training run depends on. `counts` are events by item index, (V,)."""
    train = settings.train
    version = name_version(
        run_date, train.model, settings_hash(settings), code, training_set.fingerprint, str(settings.run.seed)
    )
    shape = ModelShape(
        len(counts), settings.window.length, train.width, train.num_blocks, train.num_heads, train.dropout
    )
    return TrainPlan(
        training_set=training_set,
        settings=train,
        shape=shape,
        card=Card(version, train.model, shape, lineage),
        folder=model_root / version,
        attempt=model_root / f"{version}.attempt",
        is_known=known_mask(counts, settings.window.min_item_events).tobytes(),
        log_chance=_log_chance(counts, settings).tobytes(),
        seed=settings.run.seed,
    )


def model_row(
    spark: SparkSession,
    plan: TrainPlan,
    run_date: date,
    settings: Settings,
    tables_read: Mapping[str, int],
    metrics: Mapping[str, float],
    trained_at: datetime,
) -> DataFrame:
    """Return the candidate's row."""
    row = {
        "model_version": plan.card.model_version,
        "run_date": run_date,
        "model": plan.card.architecture,
        "path": str(plan.folder),
        "vocabulary_lineage": plan.card.vocabulary_lineage,
        "vocabulary_size": plan.shape.vocabulary_size,
        "settings_hash": settings_hash(settings),
        "tables_read": dict(tables_read),
        "metrics": dict(metrics),
        "status": "candidate",
        "trained_at": trained_at,
    }
    return spark.createDataFrame([tuple(row[name] for name in MODELS.schema.names)], MODELS.schema).coalesce(1)


def with_candidate(models: DataFrame, candidate: DataFrame, version: str, run_date: date) -> DataFrame:
    """Return `models` with this version as the one candidate of its date.

    A version that is there already keeps its row, for it is the same model; a champion stays champion.
    """
    is_it = F.col("model_version") == version
    was_candidate = (F.col("run_date") == F.lit(run_date)) & (F.col("status") == "candidate")
    status = (
        F.when(is_it & (F.col("status") != "champion"), "candidate")
        .when(~is_it & was_candidate, "retired")
        .otherwise(F.col("status"))
    )
    known = models.withColumn("status", status)
    new = candidate.join(models.select("model_version"), "model_version", how="left_anti").select(models.columns)
    return known.unionByName(new).coalesce(1)


def _log_chance(counts: Ints, settings: Settings) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    window = settings.window
    law = law_of(counts, window.min_item_events, window.popularity_power if window.negatives == "popularity" else 0.0)
    chances = np.ones(len(counts))
    chances[law.item_idxs] = np.diff(law.cumulated, prepend=0.0)
    return np.log(np.maximum(chances, 1e-12)).astype(np.float32)

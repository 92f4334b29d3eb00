"""Models that are counted or solved for: no ranks, no steps; Spark does the work."""

import json
import shutil
import time
from dataclasses import asdict

import numpy as np
import torch
from pyspark.ml.recommendation import ALS
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from torch import Tensor

from sparkrec.models.item_knn import ItemKNN, least_of
from sparkrec.models.mf import CONFIDENCE, MF, REGULARISATION
from sparkrec.models.popular import Popular
from sparkrec.models.second_opinion import SecondOpinion
from sparkrec.models.store import save_model
from sparkrec.tables import FIRST_ITEM, PAD
from sparkrec.train.feed import FileSet
from sparkrec.train.place import Place
from sparkrec.train.plan import FINAL, TrainPlan, Vocabulary
from sparkrec.train.untrained import untrained
from sparkrec.window.rows import FIRST_TRAINING

ROUNDS, CUT_EVERY = 15, 4
"""Rounds of the alternation, and after how many what was found is written down: a long chain of what depends on what
overflows Java's stack."""


def count(spark: SparkSession, plan: TrainPlan, vocabulary: Vocabulary) -> None:
    """Leave the model in the plan's folder, with what rank 0 of a training tells."""
    began = time.monotonic()
    model = untrained(plan, vocabulary, Place(0, 1, torch.device("cpu")))
    if isinstance(model, Popular):
        model.events_V1 = vocabulary.counts.float()[:, None]
    if isinstance(model, ItemKNN):
        model.popularity_V1 = least_of(vocabulary.counts)
    if isinstance(model, MF):
        files = plan.training_set.train if plan.fixed_epochs is None else plan.training_set.everything()
        model.factors_VD = _factors(spark, files, plan)
    told = {
        "epochs": 0, "best_epoch": 0, "steps": 0, "resumed_at": 0, "seconds": time.monotonic() - began,
        "wait_share": 0.0, "in_training_ndcg10": 0.0, "second_opinion": asdict(SecondOpinion()), "repeated": 0,
        "mean_travel": 0.0, "ranks": 0, "history": [],
    }  # fmt: skip
    ready = plan.attempt / FINAL
    save_model(ready, model, plan.card)
    (ready / "training.json").write_text(json.dumps(told), encoding="utf-8")
    ready.rename(plan.folder)
    shutil.rmtree(plan.attempt)


def _factors(spark: SparkSession, files: FileSet, plan: TrainPlan) -> Tensor:
    """Return the factors of all items, (V, D); zeros for those without events. D numbers per item pass through the
    driver."""
    windows = spark.read.parquet(*files.urls)
    # An event is the target of one window, while it can be an input of several; a user's first one is no target.
    is_oldest = (F.element_at("item_idxs", 1) == PAD) & (F.col("window_no") >= FIRST_TRAINING)
    inputs = F.filter("item_idxs", lambda item: item != PAD)
    past = F.when(is_oldest, F.concat("target_idxs", F.slice(inputs, 1, 1))).otherwise(F.col("target_idxs"))
    events = windows.select("user_idx", F.explode(past).alias("item")).where(F.col("item") >= FIRST_ITEM)
    counted = events.groupBy("user_idx", "item").agg(F.count("*").cast("float").alias("events"))
    spark.sparkContext.setCheckpointDir(str(plan.attempt))
    als = ALS(
        rank=plan.shape.width, maxIter=ROUNDS, regParam=REGULARISATION, alpha=CONFIDENCE, implicitPrefs=True,
        checkpointInterval=CUT_EVERY,
        userCol="user_idx", itemCol="item", ratingCol="events", seed=plan.seed,
    )  # fmt: skip
    rows = als.fit(counted).itemFactors.toArrow().combine_chunks()
    factors = np.zeros((plan.shape.vocabulary_size, plan.shape.width), dtype=np.float32)
    values = rows.column("features").combine_chunks().flatten().to_numpy(zero_copy_only=False)
    factors[rows.column("id").to_numpy()] = values.reshape(len(rows), -1)
    return torch.from_numpy(factors)

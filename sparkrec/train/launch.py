"""Start the ranks under TorchDistributor and see that every one of them finished."""

import json
import logging
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pyspark.ml.torch.distributor import TorchDistributor
from pyspark.sql import SparkSession

from sparkrec.errors import SparkrecError
from sparkrec.models.store import has_model
from sparkrec.session import is_local
from sparkrec.train.plan import TrainPlan
from sparkrec.train.progress import Bar, failures, missing_ranks
from sparkrec.train.rank import train_rank


def train_or_reuse(spark: SparkSession, plan: TrainPlan) -> dict[str, Any]:
    """Train unless the same version lies there whole; return what rank 0 said of it, with `reused`.

    Rank 0 tells epochs, best_epoch, steps, seconds, in_training_ndcg10 and passes.
    """
    reused = has_model(plan.folder)
    if not reused:
        launch(spark, plan)
    told: dict[str, Any] = json.loads((plan.folder / "training.json").read_text(encoding="utf-8"))
    return {**told, "reused": reused}


def in_words(told: Mapping[str, Any], figures: Mapping[str, float]) -> str:
    """Return what happened and the held-out figures of the epoch that was kept."""
    ours, popular = (figures.get(f"validation_{name}", math.nan) for name in ("ndcg10", "popular_ndcg10"))
    when = "trained before and used again" if told["reused"] else f"trained in {told['seconds']:.1f} s"
    return (
        f"{when}: {told['epochs']} epochs, {told['steps']:,} steps on {told['ranks']} rank(s),"
        f" {told['passes']} passes of the feed counted and complete; best epoch {told['best_epoch']},"
        f" validation NDCG@10 {ours:.4f} (most-popular {popular:.4f})"
    )


def launch(spark: SparkSession, plan: TrainPlan) -> None:
    """Start the ranks and wait; raise unless every one of them left its completion mark."""
    shutil.rmtree(plan.folder, ignore_errors=True)
    shutil.rmtree(plan.attempt, ignore_errors=True)
    plan.attempt.mkdir(parents=True)
    num_ranks = plan.settings.num_workers
    context = spark.sparkContext
    distributor = TorchDistributor(
        num_processes=num_ranks,
        local_mode=is_local(context.master),
        # Where Spark hands out GPUs each rank gets its own; in local mode ranks find the machine's GPUs themselves.
        use_gpu=plan.settings.device != "cpu" and "gpu" in context.resources,
    )
    distributor.logger.setLevel(logging.WARNING)
    failed: Exception | None = None
    with Bar(plan.attempt):
        try:
            distributor.run(train_rank, plan)
        except Exception as error:
            failed = error
    _check_finished(plan.attempt, num_ranks, failed)
    shutil.rmtree(plan.attempt)


def _check_finished(attempt: Path, num_ranks: int, failed: Exception | None) -> None:
    # TorchDistributor can return as if all were well when a rank died: only the marks count.
    missing = missing_ranks(attempt, num_ranks)
    if not missing and failed is None:
        return
    reasons = failures(attempt) or ([str(failed).strip().split("\n")[0]] if failed else ["killed, without a word"])
    raise SparkrecError(
        f"training: {len(missing)} of {num_ranks} ranks did not finish ({'; '.join(reasons)});"
        f" the models in use are as they were; traces are in {attempt}"
    ) from failed

"""Start the ranks under TorchDistributor and see that every one of them finished."""

import json
import shutil
from pathlib import Path
from typing import Any

from pyspark.ml.torch.distributor import TorchDistributor
from pyspark.sql import SparkSession

from sparkrec.errors import SparkrecError
from sparkrec.session import is_local
from sparkrec.train.plan import TrainPlan
from sparkrec.train.progress import Bar, failures, missing_ranks
from sparkrec.train.rank import train_rank


def launch(spark: SparkSession, plan: TrainPlan) -> dict[str, Any]:
    """Train; return what rank 0 says of it: epochs, best_epoch, steps, seconds, in_training_ndcg10, passes."""
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
    failed: Exception | None = None
    with Bar(plan.attempt):
        try:
            distributor.run(train_rank, plan)
        except Exception as error:
            failed = error
    _check_finished(plan.attempt, num_ranks, failed)
    shutil.rmtree(plan.attempt)
    return training_summary(plan.folder)


def training_summary(folder: Path) -> dict[str, Any]:
    """Return what rank 0 wrote beside the weights."""
    summary: dict[str, Any] = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    return summary


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

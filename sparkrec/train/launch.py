"""Start the ranks under TorchDistributor and see that every one of them finished."""

import json
import logging
import math
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pyspark.ml.torch.distributor import TorchDistributor
from pyspark.sql import SparkSession

from sparkrec.errors import SparkrecError
from sparkrec.models.registry import LEARNT
from sparkrec.models.second_opinion import SecondOpinion
from sparkrec.models.store import has_model
from sparkrec.session import is_local
from sparkrec.spark_errors import cause_of
from sparkrec.train.candidate import refit_of
from sparkrec.train.checkpoint import newest_checkpoint
from sparkrec.train.counted import count
from sparkrec.train.plan import TrainPlan, Vocabulary, write_plan
from sparkrec.train.progress import Bar, clear_marks, missing_ranks, reasons
from sparkrec.train.rank import train_rank_alone

OF_RANKS = {
    "OMP_WAIT_POLICY": "passive",
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(4 << 30),
}
"""What ranks of local mode inherit unless the environment says otherwise. Threads that spin while they wait take the
cores from the feed, other ranks and Spark; memory that goes back to the system after every step costs a step a tenth of
its time."""


def train_or_reuse(
    spark: SparkSession, plan: TrainPlan, vocabulary: Vocabulary, all_known: Vocabulary
) -> tuple[TrainPlan, dict[str, Any]]:
    """Train what does not lie there whole; return the plan of the model to publish, and what rank 0 said.

    In   vocabulary: what is known without what is held out. all_known: with it, for a refit.
    With `train.refit` the model to publish is a second one, trained on all windows for as many epochs as were best.
    Rank 0 tells epochs, best_epoch, steps, resumed_at, seconds, wait_share, in_training_ndcg10, second_opinion,
    repeated, mean_travel, ranks and history; `reused` is added.
    """
    told = _train(spark, plan, vocabulary)
    if not plan.settings.refit:
        return plan, told
    again = refit_of(plan, told["best_epoch"], SecondOpinion(**told["second_opinion"]))
    _train(spark, again, all_known)
    return again, told


def in_words(told: Mapping[str, Any], figures: Mapping[str, float]) -> str:
    """Return what happened and the held-out figures of the epoch that was kept."""
    ours, popular = (figures.get(f"validation_{name}", math.nan) for name in ("ndcg10", "popular_ndcg10"))
    champion = figures.get("validation_champion_ndcg10")
    beside = f"most-popular {popular:.4f}" + ("" if champion is None else f", the champion {champion:.4f}")
    when = "trained before and used again" if told["reused"] else f"trained in {told['seconds']:.1f} s"
    if not told["ranks"]:
        return f"{when}: counted, without steps; validation NDCG@10 {ours:.4f} ({beside})"
    opinion = told["second_opinion"]
    members = f", {told['members']} models side by side" if told["members"] > 1 else ""
    resumed = f", taken up at step {told['resumed_at']:,}" if told["resumed_at"] else ""
    return (
        f"{when}{resumed}{members}: {told['epochs']} epochs, {told['steps']:,} steps on {told['ranks']} rank(s),"
        f" {told['epochs']} passes of the feed counted and complete, {told['repeated']:,} windows repeated to fill"
        f" steps, {100 * told['wait_share']:.1f} % of the time spent waiting for data; best epoch {told['best_epoch']},"
        f" validation NDCG@10 {ours:.4f} ({beside}); neighbours count {opinion['counts']:g}, an event"
        f" {opinion['fades']:g} of the one after it, what is popular lately {opinion['lately']:g}"
    )


def _train(spark: SparkSession, plan: TrainPlan, vocabulary: Vocabulary) -> dict[str, Any]:
    reused = has_model(plan.folder)
    if not reused:
        (_launch if plan.card.architecture in LEARNT else count)(spark, plan, vocabulary)
    told: dict[str, Any] = json.loads((plan.folder / "training.json").read_text(encoding="utf-8"))
    return {**told, "reused": reused}


def _launch(spark: SparkSession, plan: TrainPlan, vocabulary: Vocabulary) -> None:
    """Start the ranks and wait; raise unless every one of them left its completion mark."""
    shutil.rmtree(plan.folder, ignore_errors=True)
    write_plan(plan, vocabulary)
    clear_marks(plan.attempt)
    num_ranks = plan.settings.num_workers
    context = spark.sparkContext
    distributor = TorchDistributor(
        num_processes=num_ranks,
        local_mode=is_local(context.master),
        use_gpu=plan.settings.device != "cpu" and _hands_out_gpus(spark),
    )
    distributor.logger.setLevel(logging.WARNING)
    for name, value in OF_RANKS.items():
        os.environ.setdefault(name, value)
    failed: Exception | None = None
    with Bar(plan.attempt):
        try:
            distributor.run(train_rank_alone, str(plan.attempt), True)
        except Exception as error:
            failed = error
    check_finished(plan.attempt, num_ranks, failed)
    shutil.rmtree(plan.attempt)


def _hands_out_gpus(spark: SparkSession) -> bool:
    """Whether Spark gives each rank a GPU; in local mode without that, ranks find the machine's GPUs themselves."""
    context = spark.sparkContext
    if is_local(context.master):
        return "gpu" in context.resources
    return float(context.getConf().get("spark.task.resource.gpu.amount", "0") or 0) >= 1


def check_finished(attempt: Path, num_ranks: int, failed: Exception | None) -> None:
    """Raise with the reasons unless every rank left its completion mark."""
    # TorchDistributor can return as if all were well when a rank died, and the other way round, when one aborts after
    # its work is done: only the marks count.
    missing = missing_ranks(attempt, num_ranks)
    if not missing:
        return
    told = reasons(attempt, num_ranks)
    if failed is not None and len(missing) == num_ranks and not list(attempt.glob("failed-*")):
        told = [f"no rank has come up or said anything, Spark says: {cause_of(failed)}"]
    checkpoint = newest_checkpoint(attempt)
    goes_on = f"goes on from {checkpoint.name}" if checkpoint else "starts anew, for there was no checkpoint yet"
    raise SparkrecError(
        f"training: {len(missing)} of {num_ranks} ranks did not finish ({'; '.join(told)}); the models in use are as"
        f" they were. The same command {goes_on}; traces are in {attempt}"
    ) from failed

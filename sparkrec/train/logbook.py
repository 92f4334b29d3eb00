"""What TensorBoard and MLflow show of a training: loss per step, and what every epoch came to."""

import contextlib
import math
import os
from collections.abc import Mapping
from typing import Any

from sparkrec.train.plan import TrainPlan

EVERY_STEPS = 10


class Logbook:
    """Rank 0 writes `_models/tensorboard/<model_version>`; the others write nothing."""

    def __init__(self, plan: TrainPlan, rank: int, step: int) -> None:
        self._writer: Any = None
        self._next = step + 1
        if rank == 0:
            from torch.utils.tensorboard import SummaryWriter  # slow to import

            folder = plan.folder.parent / "tensorboard" / plan.card.model_version
            # What an attempt wrote that was cut off after this step is dropped.
            self._writer = SummaryWriter(str(folder), purge_step=step)

    def __enter__(self) -> "Logbook":
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            if self._writer is not None:
                self._writer.close()

    def step(self, step: int, loss: float) -> None:
        if self._writer is not None and step >= self._next:
            self._next = step + EVERY_STEPS
            with contextlib.suppress(OSError):  # a full disk stops the next checkpoint, and is told there
                self._writer.add_scalar("loss", loss, step)

    def epoch(self, step: int, loss: float, ndcg: float, travel: float) -> None:
        if self._writer is not None:
            with contextlib.suppress(OSError):
                self._writer.add_scalar("epoch/loss", loss, step)
                self._writer.add_scalar("epoch/validation_ndcg10", ndcg, step)
                self._writer.add_scalar("epoch/shuffle_travel", travel, step)
                self._writer.flush()


def tell_mlflow(plan: TrainPlan, told: Mapping[str, Any], figures: Mapping[str, float]) -> None:
    """Write a run with settings, epochs and figures where MLFLOW_TRACKING_URI says; a night does not fail for it."""
    if not os.environ.get("MLFLOW_TRACKING_URI") or told["reused"]:
        return
    try:
        import mlflow

        mlflow.set_experiment("sparkrec")
        with mlflow.start_run(run_name=plan.card.model_version):
            mlflow.log_params({name: str(value) for name, value in plan.depends_on.items()})
            for epoch, (loss, ndcg) in enumerate(told["history"], start=1):
                mlflow.log_metrics({"loss": loss, "validation_ndcg10": ndcg}, step=epoch)
            mlflow.log_metrics({name: value for name, value in figures.items() if math.isfinite(value)})
    except Exception as error:
        why = "is not installed (pip install mlflow-skinny)" if isinstance(error, ImportError) else f"failed: {error}"
        print(f"train: MLFLOW_TRACKING_URI is set, but mlflow {why}; this training was not logged there", flush=True)

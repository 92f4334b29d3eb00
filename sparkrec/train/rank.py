"""Run one rank from its start to its end, and leave a mark of how it went."""

import os
import signal
import sys
import traceback
from pathlib import Path

import torch.distributed as dist

from sparkrec.train.place import end_with_the_launcher, join
from sparkrec.train.plan import read_plan
from sparkrec.train.progress import EndedError, mark_done, mark_failed
from sparkrec.train.training import Training


def train_rank_alone(attempt: str, under_spark: bool) -> None:
    """Run one rank in a process of its own, which ends with it: what TorchDistributor or torchrun calls."""
    try:
        signal.signal(signal.SIGTERM, _end)
        if under_spark:
            end_with_the_launcher()
        train_rank(attempt)
    except BaseException:
        traceback.print_exc()
        _leave(1)
    if not under_spark:  # Spark waits for what the function returns
        _leave(0)


def _leave(code: int) -> None:
    """End without the interpreter's own end, where threads of torch's may wait for one another or abort the process."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _end(*_: object) -> None:
    raise EndedError("ended by torchrun")


def train_rank(attempt: str) -> None:
    """Run one rank of the training that is planned in a folder; torchrun's variables say which."""
    folder, rank = Path(attempt), int(os.environ.get("RANK", "0"))
    try:
        plan, vocabulary = read_plan(folder)
        Training(plan, vocabulary, join(plan.settings)).run()
        mark_done(folder, rank)
    except BaseException as error:
        mark_failed(folder, rank, error, traceback.format_exc())
        # The gradients' reducer must be gone before the process group is, or both wait for one another.
        traceback.clear_frames(error.__traceback__)
        raise
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()

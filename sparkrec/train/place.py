"""Where a rank stands among the others, and where it computes; it ends when those who started it are gone."""

import os
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
import torch.distributed as dist

from sparkrec.config.train_settings import TrainSettings
from sparkrec.errors import SparkrecError

T = TypeVar("T")
LOOK_EVERY_S = 0.5


@dataclass(frozen=True)
class Place:
    rank: int
    num_ranks: int
    device: torch.device

    @property
    def is_gpu(self) -> bool:
        return self.device.type == "cuda"

    def gather(self, value: T) -> list[T]:
        """Return every rank's value, in their order."""
        everyone = [value] * self.num_ranks
        dist.all_gather_object(everyone, value)
        return everyone


def join(settings: TrainSettings) -> Place:
    """Meet the other ranks: NCCL between GPUs, gloo between CPUs."""
    wants_gpu = settings.device != "cpu" and torch.cuda.is_available()
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise SparkrecError("train.device=cuda, but torch sees no GPU here; use auto or cpu")
    ranks_here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if wants_gpu and ranks_here > torch.cuda.device_count():
        raise SparkrecError(
            f"{ranks_here} ranks share {torch.cuda.device_count()} GPU(s) here; lower train.num_workers"
        )
    if wants_gpu:
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    else:
        device = torch.device("cpu")
        torch.set_num_threads(settings.threads_per_worker or threads_for(ranks_here))
    try:
        dist.init_process_group("nccl" if wants_gpu else "gloo", device_id=device if wants_gpu else None)
    except dist.DistNetworkError as error:
        where = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        raise SparkrecError(
            f"ranks cannot meet at {where} ({str(error).splitlines()[0]}); if the port is in use, name another one"
            " (MASTER_PORT, or --master-port of torchrun), or run the command again"
        ) from error
    return Place(dist.get_rank(), dist.get_world_size(), device)


def threads_for(ranks_here: int) -> int:
    """Return the threads of each of a machine's ranks on CPUs: half as many as it has CPUs, all ranks together.

    Two of what a cloud calls a CPU are mostly one core for arithmetic: no step is quicker for a second thread there.
    """
    return max(1, (os.cpu_count() or 1) // (2 * ranks_here))


def end_with_the_launcher() -> None:
    """End this process, and torchrun above it, when either has lost its parent: nobody would wait for the result."""
    parent = os.getppid()
    above = _parent_of(parent)

    def watch() -> None:
        while os.getppid() == parent and _parent_of(parent) == above:
            time.sleep(LOOK_EVERY_S)
        if os.getppid() == parent:
            os.kill(parent, signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)

    # Process 1 adopts orphans; a rank that a container starts by itself has it as its parent from the beginning.
    if parent != 1 and above not in (None, 1):
        threading.Thread(target=watch, daemon=True).start()


def _parent_of(process: int) -> int | None:
    try:
        return int(Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[1])
    except (OSError, IndexError, ValueError):
        return None

"""Where a worker process scores."""

import torch
from pyspark import TaskContext

from sparkrec.errors import SparkrecError


def device_of(wanted: str) -> torch.device:
    """Return the GPU that Spark gave this task, or the first there is where `cuda` is asked for, or the CPU."""
    torch.set_num_threads(1)  # Spark runs a task per core already
    if wanted == "cuda" and not torch.cuda.is_available():
        raise SparkrecError("recommend.device=cuda, but torch sees no GPU here; use auto or cpu")
    if wanted == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    context = TaskContext.get()
    given = context.resources().get("gpu") if context else None
    if given is None and wanted == "auto":
        return torch.device("cpu")
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    return torch.device("cuda", int(given.addresses[0]) if given else 0)

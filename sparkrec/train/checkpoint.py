"""Where training stands, on disk: a folder that appears whole or not at all, and is read back to the same bits.

checkpoint-<step>/
  weights.safetensors    the model
  average.safetensors    the running mean of its weights
  optimizer.safetensors  AdamW's moments and step, by parameter
  state.json             progress, what the training depends on, and the hashes of these files
Nothing in it is a pickle.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from sparkrec.errors import SparkrecError
from sparkrec.models.sequence_model import SequenceModel
from sparkrec.models.store import WEIGHTS, on_cpu, sync_folder
from sparkrec.train.average import Average

AVERAGE, OPTIMIZER, STATE = "average.safetensors", "optimizer.safetensors", "state.json"
FILES = (WEIGHTS, AVERAGE, OPTIMIZER)
NAME = "checkpoint-"


@dataclass(frozen=True)
class Progress:
    """How far training is. The rest (dropout, negatives, the order of windows) follows from the seed and these."""

    step: int = 0
    epoch: int = 1
    """The epoch under way, from 1."""
    rows_in_epoch: int = 0
    """Windows that all ranks together have trained on in it."""
    best: float = -1.0
    best_epoch: int = 0
    loss_sum: float = 0.0
    """Of the steps of the epoch under way."""
    seconds: float = 0.0
    """Spent until here, over all attempts."""
    history: tuple[tuple[float, float], ...] = ()
    """Mean loss and validation NDCG@10 of the epochs that are complete."""


def save_checkpoint(
    attempt: Path,
    model: SequenceModel,
    average: Average,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    depends_on: Mapping[str, Any],
) -> Path:
    """Write the checkpoint aside, sync, rename; older ones go only then."""
    folder = attempt / f"{NAME}{progress.step:010d}"
    aside = attempt / "checkpoint.writing"
    shutil.rmtree(aside, ignore_errors=True)
    try:
        aside.mkdir(parents=True)
        save_file(on_cpu(model.state_dict()), str(aside / WEIGHTS))
        save_file(on_cpu(average.weights()), str(aside / AVERAGE))
        save_file(_moments(model, optimizer), str(aside / OPTIMIZER))
        hashes = {name: _sha256(aside / name) for name in FILES}
        told = {"progress": asdict(progress), "depends_on": dict(depends_on), "sha256": hashes}
        (aside / STATE).write_text(json.dumps(told, indent=1), encoding="utf-8")
        sync_folder(aside)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(aside, ignore_errors=True)
        last = newest_checkpoint(attempt)
        raise SparkrecError(
            f"checkpoint at step {progress.step}: cannot be written to {attempt} ({error}); free some space and run the"
            f" same command again, it goes on from {last.name if last else 'the start'}"
        ) from error
    shutil.rmtree(folder, ignore_errors=True)
    aside.rename(folder)
    for other in attempt.glob(f"{NAME}*"):
        if other != folder:
            shutil.rmtree(other, ignore_errors=True)
    return folder


def newest_checkpoint(attempt: Path) -> Path | None:
    found = sorted(attempt.glob(f"{NAME}*"))
    return found[-1] if found else None


def load_checkpoint(folder: Path, model: SequenceModel, average: Average, optimizer: torch.optim.Optimizer) -> Progress:
    """Put weights and moments back, and return where training stood; refuse files that are not those saved."""
    told = read_state(folder)
    for name, wanted in told["sha256"].items():
        file = folder / name
        found = _sha256(file) if file.exists() else "nothing"
        if found != wanted:
            raise SparkrecError(
                f"{file}: not what was saved (sha256 {found[:12]}, wanted {wanted[:12]}); it was cut off or swapped."
                f" Delete {folder} to start this training anew; the models in use are as they were"
            )
    model.load_state_dict(load_file(str(folder / WEIGHTS)))
    average.take_over(load_file(str(folder / AVERAGE)))
    _put_moments(model, optimizer, load_file(str(folder / OPTIMIZER)))
    progress = told["progress"]
    return Progress(**{**progress, "history": tuple((loss, ndcg) for loss, ndcg in progress["history"])})


def read_state(folder: Path) -> dict[str, Any]:
    """Return progress, depends_on and sha256 of a checkpoint."""
    try:
        told: dict[str, Any] = json.loads((folder / STATE).read_text(encoding="utf-8"))
        Progress(**told["progress"])
        dict(told["depends_on"]), {name: told["sha256"][name] for name in FILES}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise SparkrecError(
            f"{folder / STATE}: not a readable checkpoint ({error}); delete {folder} to start this training anew"
        ) from error
    return told


def check_fits(folder: Path, depends_on: Mapping[str, Any]) -> None:
    """Refuse a checkpoint of other settings, other windows or another vocabulary; name every difference."""
    there = read_state(folder)["depends_on"]
    names = sorted(set(there) | set(depends_on))
    other = [
        f"{name} is {there.get(name, 'absent')} there and {depends_on.get(name, 'absent')} here"
        for name in names
        if there.get(name) != depends_on.get(name)
    ]
    if other:
        raise SparkrecError(
            f"{folder}: of another training ({'; '.join(other)}); set these back to go on from it, or"
            " delete it (and leave train.resume_from out) to start anew"
        )


def _moments(model: SequenceModel, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    names: dict[Any, str] = {parameter: name for name, parameter in model.named_parameters()}
    return on_cpu(
        {
            f"{names[parameter]}/{key}": torch.as_tensor(value)
            for parameter, values in optimizer.state.items()
            for key, value in values.items()
        }
    )


def _put_moments(model: SequenceModel, optimizer: torch.optim.Optimizer, saved: Mapping[str, Tensor]) -> None:
    parameters = dict(model.named_parameters())
    for place, value in saved.items():
        name, key = place.rsplit("/", 1)
        parameter = parameters[name]
        # AdamW counts its steps on the CPU, unless it is fused on a GPU.
        optimizer.state[parameter][key] = value.to(parameter.device)


def _sha256(file: Path) -> str:
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()

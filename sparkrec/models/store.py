"""A model on disk: a folder with weights.safetensors and model.json, which appears whole or not at all.

The folder lies on a path that the driver and every worker mount. Nothing in it is a pickle.
"""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from sparkrec.errors import SparkrecError
from sparkrec.models.registry import build_model
from sparkrec.models.sequence_model import SequenceModel
from sparkrec.models.shape import ModelShape

WEIGHTS, CARD = "weights.safetensors", "model.json"
LAYOUT = 4
"""Which weights a model has, and what they mean; it changes where they do."""
REFIT = "-refit"
"""End of the version of a model that was trained again on all windows, held-out ones included."""


@dataclass(frozen=True)
class Card:
    """What one must know to use the weights."""

    model_version: str
    architecture: str
    shape: ModelShape
    vocabulary_lineage: str
    held_out: str = ""
    """What its training never saw, see `held_out_words`; '' where nobody knows."""
    layout: int = LAYOUT


def save_model(folder: Path, model: SequenceModel, card: Card) -> None:
    """Write aside, sync, rename: a kill in between leaves no half model under the folder's name."""
    aside = folder.with_name(folder.name + ".writing")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        aside.mkdir(parents=True)
        save_file(on_cpu(model.state_dict()), str(aside / WEIGHTS))
        (aside / CARD).write_text(json.dumps(asdict(card), indent=1), encoding="utf-8")
        sync_folder(aside)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise SparkrecError(
            f"{folder}: the model cannot be written ({error}); free some space and run the same command again"
        ) from error
    shutil.rmtree(folder, ignore_errors=True)
    aside.rename(folder)


def has_model(folder: Path) -> bool:
    """Whether a whole model lies in the folder."""
    return (folder / CARD).exists() and (folder / WEIGHTS).exists()


def is_readable(folder: Path) -> bool:
    """Whether a model lies in the folder that this version of sparkrec can score with."""
    return has_model(folder) and read_card(folder).layout == LAYOUT


def read_card(folder: Path) -> Card:
    try:
        told = json.loads((folder / CARD).read_text(encoding="utf-8"))
        return Card(**{"layout": 1, **told, "shape": ModelShape.read(told["shape"])})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise SparkrecError(f"{folder / CARD}: not a readable model ({error}); train it again (make train)") from error


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Return the tensors by name, memory-mapped; refuse anything but safetensors, a pickle above all."""
    try:
        return load_file(str(folder / WEIGHTS))
    except (OSError, SafetensorError) as error:
        raise SparkrecError(
            f"{folder / WEIGHTS}: not whole weights in safetensors ({error}); train the model again (make train)"
        ) from error


def on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors as safetensors takes them."""
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def sync_folder(folder: Path) -> None:
    """Have the files of a folder, and their names, on the disk."""
    for place in [*folder.iterdir(), folder]:
        sync_file(place)


def sync_file(place: Path) -> None:
    """Have a file, or the names in a folder, on the disk."""
    handle = os.open(place, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@lru_cache(maxsize=4)
def load_model(folder: str) -> SequenceModel:
    """Return the model, ready to score on CPU. Each worker process keeps a few; weights are memory-mapped."""
    return read_model(Path(folder))


def read_model(folder: Path) -> SequenceModel:
    """Return the model, ready to score on CPU."""
    card = read_card(folder)
    if card.layout != LAYOUT:
        raise SparkrecError(f"{folder}: a model of another version of sparkrec; train it again (make train)")
    model = build_model(card.architecture, card.shape)
    model.load_state_dict(read_weights(folder), assign=True)
    return model.eval()

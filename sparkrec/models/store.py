"""A model on disk: a folder with weights.safetensors and model.json, which appears whole or not at all.

The folder lies on a path that the driver and every worker mount. Nothing in it is a pickle.
"""

import json
import os
import shutil
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

from safetensors.torch import load_file, save_file

from sparkrec.errors import SparkrecError
from sparkrec.models.registry import build_model
from sparkrec.models.sequence_model import ModelShape, SequenceModel

WEIGHTS, CARD = "weights.safetensors", "model.json"


@dataclass(frozen=True)
class Card:
    """What one must know to use the weights."""

    model_version: str
    architecture: str
    shape: ModelShape
    vocabulary_lineage: str


def save_model(folder: Path, model: SequenceModel, card: Card) -> None:
    """Write aside, sync, rename: a kill in between leaves no half model under the folder's name."""
    aside = folder.with_name(folder.name + ".writing")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    save_file(tensors, str(aside / WEIGHTS))
    (aside / CARD).write_text(json.dumps(asdict(card), indent=1), encoding="utf-8")
    for file in aside.iterdir():
        with file.open("rb") as handle:
            os.fsync(handle.fileno())
    shutil.rmtree(folder, ignore_errors=True)
    aside.rename(folder)


def has_model(folder: Path) -> bool:
    """Whether a whole model lies in the folder."""
    return (folder / CARD).exists() and (folder / WEIGHTS).exists()


def read_card(folder: Path) -> Card:
    try:
        told = json.loads((folder / CARD).read_text(encoding="utf-8"))
        return Card(**{**told, "shape": ModelShape(**told["shape"])})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise SparkrecError(f"{folder / CARD}: not a readable model ({error}); train it again (make train)") from error


@lru_cache(maxsize=1)
def load_model(folder: str) -> SequenceModel:
    """Return the model, ready to score on CPU. Each worker process loads it once; the weights are memory-mapped."""
    card = read_card(Path(folder))
    model = build_model(card.architecture, card.shape)
    model.load_state_dict(load_file(str(Path(folder) / WEIGHTS)), assign=True)
    return model.eval()

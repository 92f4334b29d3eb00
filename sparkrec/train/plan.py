"""What a training run needs to know: fixed before step 1, written into the attempt's folder, read by every rank."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import torch
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from sparkrec.config.train_settings import TrainSettings
from sparkrec.errors import RefusedError, SparkrecError
from sparkrec.models.second_opinion import SecondOpinion
from sparkrec.models.shape import ModelShape
from sparkrec.models.store import Card
from sparkrec.spark_errors import cause_of
from sparkrec.tables import PAD
from sparkrec.train.feed import FileSet

FINAL = "final"
"""The folder within the attempt in which the model to publish is made ready."""
PLAN, VOCABULARY = "plan.json", "vocabulary.safetensors"


@dataclass(frozen=True)
class TrainingSet:
    """One date's windows, pinned to one version of the table: files by split, and a fingerprint of the content."""

    train: FileSet
    validation: FileSet
    test: FileSet
    fingerprint: str

    def everything(self) -> FileSet:
        """Return all three splits as one."""
        parts = (self.train, self.validation, self.test)
        urls = tuple(url for part in parts for url in part.urls)
        sums = (sum(getattr(part, name) for part in parts) for name in ("num_rows", "sum_of_ids", "num_targets"))
        return FileSet(urls, *sums)


@dataclass(frozen=True)
class Vocabulary:
    """What training knows of every item, by item index, (V,)."""

    counts: Tensor
    is_known: Tensor
    categories: Tensor
    """A number per category, NO_CATEGORY for none."""
    attributes: Tensor = field(default_factory=lambda: torch.zeros(0, 0, dtype=torch.long))
    """Numbers of the item's attributes, padded, (V, A)."""
    attribute_keys: Tensor = field(default_factory=lambda: torch.zeros(1, dtype=torch.long))
    """What the numbers stand for, (1 + M,)."""
    next_items: Tensor = field(default_factory=lambda: torch.zeros(0, 0, dtype=torch.int32))
    """Neighbours of the item, padded, (V, K)."""
    next_weights: Tensor = field(default_factory=lambda: torch.zeros(0, 0))
    lately_events: Tensor = field(default_factory=lambda: torch.zeros(0))
    """Events in the days before what is validated on; none where they do not count."""

    @property
    def attributes_hash(self) -> str:
        told = self.attributes.numpy().tobytes() + self.attribute_keys.numpy().tobytes()
        return hashlib.sha256(told).hexdigest()[:12]


@dataclass(frozen=True)
class TrainPlan:
    """Everything a rank is told."""

    training_set: TrainingSet
    settings: TrainSettings
    num_negatives: int
    """Negatives per target in `windows` (K)."""
    popularity_power: float
    shape: ModelShape
    card: Card
    folder: Path
    """Where the model ends up."""
    attempt: Path
    """Where ranks leave checkpoints, progress and completion marks; every rank and the driver mount it."""
    seed: int
    depends_on: dict[str, Any]
    """All that decides about the weights, by name; a checkpoint of anything else is not gone on from."""
    start_from: Path | None = None
    """Folder of the model whose weights are fine-tuned; None starts from random ones."""
    fixed_epochs: int | None = None
    """Train so many epochs and keep the last: a refit on all windows has nothing left to validate on."""
    second_opinion: SecondOpinion | None = None
    """What counts beside the model's own scores; None chooses it on validation."""
    by_steps: bool = False
    """Whether every target of a validation row is to be found, not what the row as a whole holds out."""


def write_plan(plan: TrainPlan, vocabulary: Vocabulary) -> None:
    """Leave the plan in the attempt's folder."""
    plan.attempt.mkdir(parents=True, exist_ok=True)
    save_file(asdict(vocabulary), str(plan.attempt / VOCABULARY))
    told = {**asdict(plan), "settings": plan.settings.model_dump(mode="json")}
    (plan.attempt / PLAN).write_text(json.dumps(told, indent=1, default=str), encoding="utf-8")


def read_plan(attempt: Path) -> tuple[TrainPlan, Vocabulary]:
    """Return what `write_plan` left."""
    try:
        told = json.loads((attempt / PLAN).read_text(encoding="utf-8"))
        vocabulary = Vocabulary(**load_file(str(attempt / VOCABULARY)))
    except (OSError, ValueError) as error:
        raise SparkrecError(
            f"{attempt}: no training is planned there ({error}); jobs/train.py plans one, and each rank must mount it"
        ) from error
    told["settings"] = TrainSettings.model_validate(told["settings"])
    told["shape"] = ModelShape.read(told["shape"])
    told["card"] = Card(**{**told["card"], "shape": ModelShape.read(told["card"]["shape"])})
    splits = {name: _file_set(told["training_set"][name]) for name in ("train", "validation", "test")}
    told["training_set"] = TrainingSet(**splits, fingerprint=told["training_set"]["fingerprint"])
    told["second_opinion"] = told["second_opinion"] and SecondOpinion(**told["second_opinion"])
    for name in ("folder", "attempt", "start_from"):
        told[name] = told[name] and Path(told[name])
    return TrainPlan(**told), vocabulary


def pin_training_set(windows: DataFrame, where: str) -> TrainingSet:
    """Look up the files, rows and ids of a date's windows; refuse a date that cannot be trained on.

    In   windows: the rows of one date in one version of the table.
    """
    file = F.col("_metadata.file_path").alias("file")
    targets = F.size(F.array_remove("target_idxs", PAD))
    listed = (
        windows.select("split", file, "window_id", targets.alias("targets"))
        .groupBy("split", "file")
        .agg(
            F.count("*").alias("num_rows"),
            F.sum(F.col("window_id").cast("decimal(38,0)")).alias("sum_of_ids"),
            F.sum("targets").alias("num_targets"),
        )
    )
    try:
        rows = sorted(listed.collect(), key=lambda row: (row["split"], row["file"]))  # a row per file
    except (PySparkException, Py4JJavaError) as error:
        raise SparkrecError(f"{where}: {cause_of(error)}; run 'make window' for that date again") from error
    by_split = {split: [row for row in rows if row["split"] == split] for split in ("train", "validation", "test")}
    if not by_split["train"]:
        raise RefusedError(f"{where}: no training windows; run 'make window' for that date first")
    if len({row["file"] for row in rows}) != len(rows):
        raise SparkrecError(f"{where}: a file holds several splits; run 'make window' again")
    # Files are named after their content.
    names = "|".join(Path(row["file"]).name for row in rows)
    return TrainingSet(
        **{
            split: FileSet(
                tuple(unquote(row["file"]) for row in of_split),  # Spark writes a space as %20
                sum(row["num_rows"] for row in of_split),
                int(sum(row["sum_of_ids"] for row in of_split)),
                sum(row["num_targets"] for row in of_split),
            )
            for split, of_split in by_split.items()
        },
        fingerprint=hashlib.sha256(names.encode()).hexdigest()[:12],
    )


def name_version(run_date: object, model: str, *decides: str) -> str:
    """Return <date>-<model>-<hash of all that decides about the weights>."""
    return f"{run_date}-{model}-{hashlib.sha256('|'.join(decides).encode()).hexdigest()[:8]}"


def _file_set(told: dict[str, Any]) -> FileSet:
    return FileSet(**{**told, "urls": tuple(told["urls"])})

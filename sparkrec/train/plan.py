"""What a training run needs to know, fixed before step 1 and sent to every rank."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from sparkrec.config.settings import TrainSettings
from sparkrec.errors import RefusedError, SparkrecError
from sparkrec.models.sequence_model import ModelShape
from sparkrec.models.store import Card
from sparkrec.train.feed import FileSet


@dataclass(frozen=True)
class TrainingSet:
    """One date's windows, pinned to one version of the table: files by split, and a fingerprint of the content."""

    train: FileSet
    validation: FileSet
    fingerprint: str


@dataclass(frozen=True)
class TrainPlan:
    """Everything a rank is told."""

    training_set: TrainingSet
    settings: TrainSettings
    shape: ModelShape
    card: Card
    folder: Path
    """Where the model ends up."""
    attempt: Path
    """Where ranks leave their progress and their completion marks; every rank and the driver mount it."""
    is_known: bytes
    """Per item index, one byte: may the model know it."""
    log_chance: bytes
    """Per item index, a float32: the log of the chance that the law of negatives draws it."""
    seed: int


def pin_training_set(windows: DataFrame, where: str) -> TrainingSet:
    """Look up the files, rows and ids of a date's windows; refuse a date that cannot be trained on.

    In   windows: the rows of one date in one version of the table.
    """
    file = F.col("_metadata.file_path").alias("file")
    content = F.xxhash64("window_id", "item_idxs", "event_types", "target_idxs", "negative_idxs")
    listed = (
        windows.select("split", file, "window_id", content.alias("content"))
        .groupBy("split", "file")
        .agg(
            F.count("*").alias("num_rows"),
            F.sum(F.col("window_id").cast("decimal(20,0)")).alias("sum_of_ids"),
            F.bit_xor("content").alias("content"),
        )
    )
    rows = sorted(listed.collect(), key=lambda row: (row["split"], row["file"]))  # a row per file
    by_split = {split: [row for row in rows if row["split"] == split] for split in ("train", "validation", "test")}
    if not by_split["train"]:
        raise RefusedError(f"{where}: no training windows; run 'make window' for that date first")
    if len({row["file"] for row in rows}) != len(rows):
        raise SparkrecError(f"{where}: a file holds several splits; run 'make window' again")
    xored: dict[str, tuple[int, int]] = {}
    fileset: dict[str, FileSet] = {}
    for split, of_split in by_split.items():
        fileset[split] = FileSet(
            tuple(row["file"] for row in of_split),
            sum(row["num_rows"] for row in of_split),
            int(sum(row["sum_of_ids"] for row in of_split)),
        )
        together = 0
        for row in of_split:
            together ^= int(row["content"])
        xored[split] = (fileset[split].num_rows, together)
    fingerprint = hashlib.sha256(json.dumps(xored, sort_keys=True).encode()).hexdigest()[:12]
    return TrainingSet(fileset["train"], fileset["validation"], fingerprint)


def name_version(run_date: object, model: str, *decides: str) -> str:
    """Return <date>-<model>-<hash of all that decides about the weights>."""
    return f"{run_date}-{model}-{hashlib.sha256('|'.join(decides).encode()).hexdigest()[:8]}"

"""A training planned on a lake's windows as jobs/train.py plans it, but without Spark."""

import shutil
from pathlib import Path

import polars as pl
import torch

from sparkrec.config.train_settings import TrainSettings
from sparkrec.models.store import Card
from sparkrec.tables import PAD
from sparkrec.train.candidate import num_members_of, shape_of
from sparkrec.train.feed import FileSet
from sparkrec.train.plan import TrainingSet, TrainPlan, Vocabulary, write_plan

SPLITS = ("train", "validation", "test")


def plan_on(
    lake: Path,
    day: str,
    folder: Path,
    length: int = 50,
    popularity_power: float = 0.75,
    max_files: int | None = None,
    **settings: object,
) -> tuple[TrainPlan, Vocabulary]:
    """Write the plan; `settings` are those of train, `max_files` takes the first files of each split only."""
    counts = pl.read_delta(str(lake / "items")).sort("item_idx")["num_events"].to_list()
    size = len(counts) + 2
    train = TrainSettings.model_validate(settings)
    known = torch.tensor([False, False] + [True] * (size - 2))
    vocabulary = Vocabulary(torch.tensor([0, 0, *counts]), known, torch.full((size,), -1))
    files = {name: files_of(lake, day, name, max_files) for name in SPLITS}
    shape = shape_of(train, length, vocabulary, num_members_of(train, files["train"].num_targets, None))
    plan = TrainPlan(
        training_set=TrainingSet(**files, fingerprint=""),
        settings=train,
        num_negatives=4,
        popularity_power=popularity_power,
        shape=shape,
        card=Card(folder.name, train.model, shape, ""),
        folder=folder,
        attempt=folder.with_name(f"{folder.name}.attempt"),
        seed=7,
        depends_on={},
    )
    shutil.rmtree(plan.folder, ignore_errors=True)
    shutil.rmtree(plan.attempt, ignore_errors=True)
    write_plan(plan, vocabulary)
    return plan, vocabulary


def files_of(lake: Path, day: str, split: str, max_files: int | None = None) -> FileSet:
    """Return the files of a split, with rows, ids and targets as the files themselves have them."""
    paths = sorted((lake / "windows" / f"run_date={day}").glob(f"{split}-*.parquet"))[:max_files]
    if not paths:
        return FileSet((), 0, 0)
    rows = pl.concat(pl.read_parquet(path, columns=["window_id", "target_idxs"]) for path in paths)
    num_targets = int((rows["target_idxs"].explode() != PAD).sum())
    return FileSet(tuple(f"file://{path}" for path in paths), len(rows), int(rows["window_id"].sum()), num_targets)

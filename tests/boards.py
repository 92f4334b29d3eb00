"""A checkerboard as training material: white users walk over the white squares in order, black users over the black."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch

from sparkrec.config.settings import WindowSettings
from sparkrec.config.train_settings import TrainSettings
from sparkrec.models.shape import ModelShape
from sparkrec.models.store import Card
from sparkrec.train.feed import FileSet
from sparkrec.train.plan import TrainingSet, TrainPlan, Vocabulary, write_plan
from sparkrec.window.cut import CutPlan, cut_windows
from sparkrec.window.held_out import held_out_words
from tests.pasts import catalogue, histories, known

LENGTH = 8
SQUARES = 20
VOCABULARY = SQUARES + 2
SPLITS = ("train", "validation", "test")


def checkerboard(num_users: int = 300, seed: int = 7) -> pa.Table:
    """The next square is known from the last one. Items: 2 + square."""
    rng = np.random.default_rng(seed)
    pasts = []
    for user in range(num_users):
        start, steps = int(rng.integers(0, SQUARES // 2)), int(rng.integers(5, 9))
        pasts.append([2 + user % 2 + 2 * ((start + step) % (SQUARES // 2)) for step in range(steps)])
    plan = CutPlan(date(2024, 3, 1), LENGTH, LENGTH, 4, seed)
    return pa.Table.from_batches([cut_windows(histories(*pasts), plan, catalogue(VOCABULARY))])


def split(rows: pa.Table, name: str) -> pa.Table:
    return rows.filter(pc.equal(rows.column("split"), name))


def write_files(folder: Path, rows: pa.Table, num_files: int, row_group_rows: int) -> FileSet:
    folder.mkdir(parents=True, exist_ok=True)
    urls = []
    for number in range(num_files):
        file = folder / f"part-{number}.parquet"
        pq.write_table(rows.take(list(range(number, len(rows), num_files))), file, row_group_size=row_group_rows)
        urls.append(f"file://{file}")
    return FileSet(tuple(urls), len(rows), sum(rows.column("window_id").to_pylist()))


def plan_for(board: pa.Table, folder: Path, architecture: str = "sasrec", **settings: object) -> TrainPlan:
    """Write the files and the plan of a training on the board; `settings` change those of train."""
    small = TrainSettings(
        width=32, num_blocks=1, max_epochs=30, patience=30, batch_size_per_rank=32, dropout=0.0, learning_rate=0.005,
        warmup_steps=5, device="cpu", num_shared_negatives=64, threads_per_worker=1, members=1,
    )  # fmt: skip
    train = TrainSettings.model_validate({**small.model_dump(), **settings})
    shape = ModelShape(
        VOCABULARY,
        LENGTH,
        32,
        1,
        2,
        train.dropout,
        train.temperature,
        num_users=train.num_users,
        heads=tuple(train.heads),
        num_members=train.members or 1,
    )
    files = {name: write_files(folder / name, split(board, name), 2, 64) for name in SPLITS}
    plan = TrainPlan(
        training_set=TrainingSet(**files, fingerprint="board"),
        settings=train,
        num_negatives=4,
        popularity_power=0.75,
        shape=shape,
        card=Card("v", architecture, shape, "line", held_out_words(WindowSettings())),
        folder=folder / "model",
        attempt=folder / "model.attempt",
        seed=7,
        depends_on={"train.width": 32, "vocabulary size": VOCABULARY},
    )
    write_plan(plan, all_known())
    return plan


def changed(plan: TrainPlan, vocabulary: Vocabulary | None = None, **changes: object) -> TrainPlan:
    """Write a plan with some of it changed, and return it."""
    other = replace(plan, **changes)  # type: ignore[arg-type]
    write_plan(other, vocabulary or all_known())
    return other


def all_known(counts: Sequence[int] | None = None, categories: Sequence[int] | None = None) -> Vocabulary:
    size = VOCABULARY
    return Vocabulary(
        torch.tensor(counts if counts is not None else [0, 0] + [5] * SQUARES),
        torch.from_numpy(known(size)),
        torch.tensor(categories if categories is not None else [-1] * size),
    )

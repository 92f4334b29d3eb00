"""Rank the held-out targets of `windows` by a model and by popularity, in Spark."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import BooleanType, LongType, StringType, StructType

from sparkrec.errors import RefusedError
from sparkrec.evaluate.ranks import left_out_mask, model_ranks, target_ranks
from sparkrec.models.sequence_model import SequenceModel
from sparkrec.models.store import load_model
from sparkrec.sequences import Ints

RANKS = (
    StructType()
    .add("user_id", StringType())
    .add("split", StringType())
    .add("is_repeat", BooleanType())
    .add("model_rank", LongType())
    .add("popular_rank", LongType())
)


def existing(windows: DataFrame, where: str) -> DataFrame:
    """Return a date's windows; refuse a date that has none, for figures over nothing would replace real ones."""
    if windows.isEmpty():
        raise RefusedError(f"{where}: no windows; they are kept for window.keep_days, run 'make window' for that date")
    return windows


def rank_held_out(windows: DataFrame, folder: Path, counts: Ints, tile_users: int) -> DataFrame:
    """Return a row per held-out target with its rank by the model and by most-popular, on the same users.

    In   windows: one date's rows. counts: events by item index up to that date,
         the held-out ones included; what a split must not know is taken off here.
    """
    held_out = windows.where(F.col("split") != "train")
    popularity = {split: popularity_before(held_out, counts, split) for split in ("validation", "test")}
    inputs = load_model(str(folder)).inputs
    columns = ["user_id", "split", "target_idxs", "seen_idxs", *inputs]
    return held_out.select(columns).mapInArrow(_ranker(str(folder), popularity, tile_users), RANKS)


def popularity_before(held_out: DataFrame, counts: Ints, split: str) -> Ints:
    """Return the counts without the targets that a split predicts, (V,): test alone, or validation and test."""
    future = held_out.where(F.col("split").isin(["test"] if split == "test" else ["test", "validation"]))
    targets = future.groupBy(F.element_at("target_idxs", -1).alias("item_idx")).count().toArrow()
    before = counts.copy()
    before[targets.column("item_idx").to_numpy()] -= targets.column("count").to_numpy()
    return before


def _ranker(
    folder: str, popularity: dict[str, Ints], tile_users: int
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def rank(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        torch.set_num_threads(1)
        model = load_model(folder)
        popular = {split: torch.from_numpy(counts).double() for split, counts in popularity.items()}
        for batch in batches:
            for start in range(0, batch.num_rows, tile_users):
                yield _rank_tile(batch.slice(start, tile_users), model, popular)

    return rank


def _rank_tile(tile: pa.RecordBatch, model: SequenceModel, popular: dict[str, torch.Tensor]) -> pa.RecordBatch:
    target_B = matrix(tile.column("target_idxs"))[:, -1]
    seen = [np.asarray(items, dtype=np.int64) for items in tile.column("seen_idxs").to_pylist()]
    inputs = {name: matrix(tile.column(name)) for name in model.inputs}
    model_rank_B = model_ranks(model, inputs, target_B, left_out_mask(seen, model.shape.vocabulary_size))
    # Popularity knows the whole catalogue, also what is newer than the model.
    counts_BV = torch.stack([popular[split] for split in tile.column("split").to_pylist()])
    popular_rank_B = target_ranks(counts_BV, target_B, left_out_mask(seen, counts_BV.shape[1]))
    is_repeat = [int(target) in set(items.tolist()) for target, items in zip(target_B, seen, strict=True)]
    return pa.RecordBatch.from_pydict(
        {
            "user_id": tile.column("user_id"),
            "split": tile.column("split"),
            "is_repeat": pa.array(is_repeat),
            "model_rank": pa.array(model_rank_B.numpy()),
            "popular_rank": pa.array(popular_rank_B.numpy()),
        },
        schema=pa.schema(
            [
                ("user_id", pa.string()),
                ("split", pa.string()),
                ("is_repeat", pa.bool_()),
                ("model_rank", pa.int64()),
                ("popular_rank", pa.int64()),
            ]
        ),
    )


def matrix(column: pa.ListArray) -> torch.Tensor:
    """Return a list column of one length as (B, L)."""
    values = column.flatten().to_numpy(zero_copy_only=False).astype(np.int64)
    return torch.from_numpy(values.reshape(len(column), -1))

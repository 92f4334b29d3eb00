"""Rank the held-out targets of `windows` by a model and by popularity, in Spark."""

from collections.abc import Callable, Iterator, Mapping
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import BooleanType, LongType, StringType, StructType

from sparkrec.config.settings import WindowSettings
from sparkrec.errors import RefusedError
from sparkrec.evaluate.ranks import left_out_mask, model_ranks, target_ranks
from sparkrec.models.sequence_model import SequenceModel
from sparkrec.models.store import load_model
from sparkrec.popularity import count_by_index
from sparkrec.sequences import Ints, hide_unknown
from sparkrec.window.held_out import last_known_day

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


def rank_held_out(windows: DataFrame, folder: Path, popularity: Mapping[str, Ints], tile_users: int) -> DataFrame:
    """Return a row per held-out target with its rank by the model and by most-popular, on the same users.

    In   windows: one date's rows. popularity: see `popularity_by_split`.
    """
    inputs = load_model(str(folder)).inputs
    columns = ["user_id", "split", "target_idxs", "seen_idxs", *inputs]
    held_out = windows.where(F.col("split") != "train").select(columns)
    return held_out.mapInArrow(_ranker(str(folder), popularity, tile_users), RANKS)


def popularity_by_split(
    windows: DataFrame, counts: Ints, items: DataFrame, item_days: DataFrame, run_date: date, settings: WindowSettings
) -> dict[str, Ints]:
    """Return by split how often every item occurred, (V,), without what that split has to predict.

    By date these are the events before the split's period; where last items are held out, all events but the targets:
    test's for test, test's and validation's for validation.

    In   counts: events by item index up to the run's date, (V,).
    """
    if settings.held_out == "date":
        return {
            split: count_by_index(items, item_days, last_known_day(run_date, split, settings))
            for split in ("validation", "test")
        }
    return {
        "validation": _without_targets(windows, counts, ["test", "validation"]),
        "test": _without_targets(windows, counts, ["test"]),
    }


def _without_targets(windows: DataFrame, counts: Ints, splits: list[str]) -> Ints:
    future = windows.where(F.col("split").isin(splits))
    targets = future.groupBy(F.element_at("target_idxs", -1).alias("item_idx")).count().toArrow()
    before = counts.copy()
    before[targets.column("item_idx").to_numpy()] -= targets.column("count").to_numpy()
    return before


def _ranker(
    folder: str, popularity: Mapping[str, Ints], tile_users: int
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
    model_rank_B = model_ranks(
        model, held_out_inputs(tile, model), target_B, left_out_mask(seen, model.shape.vocabulary_size)
    )
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


def held_out_inputs(tile: pa.RecordBatch, model: SequenceModel) -> dict[str, torch.Tensor]:
    """Return the model's inputs from rows of `windows`, (B, L) each, where the model is."""
    # An earlier model may have been made for shorter windows.
    inputs = {name: matrix(tile.column(name))[:, -model.shape.length :] for name in model.inputs}
    # An earlier model does not know the newest items.
    known = hide_unknown(inputs["item_idxs"].numpy(), model.is_known_V.cpu().numpy())
    inputs["item_idxs"] = torch.from_numpy(known)
    return {name: values_BL.to(model.is_known_V.device) for name, values_BL in inputs.items()}


def matrix(column: pa.ListArray) -> torch.Tensor:
    """Return a list column of one length as (B, L)."""
    values = column.flatten().to_numpy(zero_copy_only=False).astype(np.int64)
    return torch.from_numpy(values.reshape(len(column), -1))

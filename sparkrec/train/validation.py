"""Validation in training: the held-out items of some users, ranked among all items, the ranks sharing the users.

B users of a tile   L positions   V vocabulary size
"""

from collections.abc import Iterator
from dataclasses import dataclass

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from sparkrec.evaluate.held_out import held_out_inputs, matrix
from sparkrec.evaluate.ranks import left_out_mask, model_ranks, ndcg_of
from sparkrec.models.sequence_model import SequenceModel
from sparkrec.train.feed import FileSet
from sparkrec.train.place import Place

TILE = 64


@dataclass(frozen=True)
class Tile:
    """Some users: what the model sees, the item to find, and the items that do not compete."""

    inputs: dict[str, Tensor]
    target_B: Tensor
    seen: list[np.ndarray]


def read_tiles(files: FileSet, model: SequenceModel, num_users: int, place: Place) -> list[Tile]:
    """Return a rank's share of the first `num_users` validation rows; rows lie in random order in their files."""
    tiles: list[Tile] = []
    left = num_users
    for url in files.urls:
        if left <= 0:
            break
        with fsspec.open(url, "rb") as file:
            rows = pq.read_table(file, columns=[*model.inputs, "target_idxs", "seen_idxs"]).slice(0, left)
        left -= len(rows)
        mine = rows.take(pa.array(range(place.rank, len(rows), place.num_ranks), pa.int64()))
        tiles += _tiles(mine.combine_chunks(), model, place.device)
    return tiles


def validate(model: SequenceModel, tiles: list[Tile], place: Place) -> float:
    """Return NDCG@10 over all ranks' users, full ranking; the same number on every rank."""
    model.eval()
    gain, users = 0.0, 0
    for tile in tiles:
        left_out_BV = left_out_mask(tile.seen, model.shape.vocabulary_size).to(tile.target_B.device)
        gain += ndcg_of(model_ranks(model, tile.inputs, tile.target_B, left_out_BV), 10).sum().item()
        users += len(tile.seen)
    gains, nums = zip(*place.gather((gain, users)), strict=True)
    return float(sum(gains) / max(sum(nums), 1))


def _tiles(rows: pa.Table, model: SequenceModel, device: torch.device) -> Iterator[Tile]:
    for tile in rows.to_batches(max_chunksize=TILE):
        yield Tile(
            inputs=held_out_inputs(tile, model),
            target_B=matrix(tile.column("target_idxs"))[:, -1].to(device),
            seen=[np.asarray(items, dtype=np.int64) for items in tile.column("seen_idxs").to_pylist()],
        )

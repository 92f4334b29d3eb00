"""Score users against the whole catalogue in tiles, on Spark's workers, Arrow in, Arrow out.

B users of a tile   L positions   D width   V vocabulary size   N items per user
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import DoubleType, IntegerType, StringType, StructType

from sparkrec.models.sequence_model import SequenceModel
from sparkrec.models.store import load_model
from sparkrec.recommend.fallback import Step, fill_up
from sparkrec.sequences import Ints, align_right, flatten, hide_unknown, read_pasts
from sparkrec.tables import FIRST_ITEM, RECOMMENDATIONS, conform

SCORED = (
    StructType()
    .add("user_id", StringType())
    .add("rank", IntegerType())
    .add("item_idx", IntegerType())
    .add("score", DoubleType())
    .add("source", StringType())
)
HISTORY_COLUMNS = ["user_id", "item_idxs", "event_types", "event_tss", "session_nos", "prices", "purchased"]
NO_HISTORY, TOO_SHORT = "no known item in the history", "too few items left"


@dataclass(frozen=True)
class ScorePlan:
    """What a worker is told; small, for the model itself is read from its folder."""

    folder: str
    top_n: int
    tile_users: int
    may_offer: npt.NDArray[np.bool_]
    """By item index, (V,): in the catalogue and available."""
    ladder: tuple[Step, ...]


def score_users(histories: DataFrame, plan: ScorePlan) -> DataFrame:
    """Return N rows per user: user_id, rank from 1, item_idx, score, source."""
    return histories.select(HISTORY_COLUMNS).mapInArrow(_scorer(plan), SCORED)


def name_items(scored: DataFrame, items: DataFrame, run_date: date, model_version: str) -> DataFrame:
    """Return the rows of `recommendations`: items by their ids, the night and the model on every row."""
    named = scored.join(items.select("item_idx", "item_id"), "item_idx", how="left")  # one row per item_idx
    told = {
        "run_date": F.lit(run_date),
        "because_item_id": F.lit(None).cast("string"),
        "model_version": F.lit(model_version),
    }
    return conform(named.withColumns(told), RECOMMENDATIONS)


def _scorer(plan: ScorePlan) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def score(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        torch.set_num_threads(1)  # Spark runs a task per core already
        model = load_model(plan.folder)
        for batch in batches:
            for start in range(0, batch.num_rows, plan.tile_users):
                yield score_tile(batch.slice(start, plan.tile_users), model, plan)

    return score


@torch.inference_mode()
def score_tile(tile: pa.RecordBatch, model: SequenceModel, plan: ScorePlan) -> pa.RecordBatch:
    """Return the ranked items of a tile's users: the model's best, then the fallbacks where places stay free."""
    inputs, can_score_B = _inputs(tile, model, plan.tile_users)
    bought = _bought(tile)
    scores_BV = model.scores(model.states(inputs)[:, -1])[: tile.num_rows]
    offer_V = torch.from_numpy(plan.may_offer[: scores_BV.shape[1]])
    scores_BV[:, ~offer_V] = -torch.inf
    row = torch.tensor([row for row, items in enumerate(bought) for _ in items], dtype=torch.long)
    item = torch.tensor([item for items in bought for item in items], dtype=torch.long)
    inside = item < scores_BV.shape[1]
    scores_BV[row[inside], item[inside]] = -torch.inf
    scores_BV[torch.from_numpy(~can_score_B)] = -torch.inf
    scores_BN, items_BN = best_of(scores_BV, plan.top_n)
    return _rows(tile, scores_BN.numpy(), items_BN.numpy(), can_score_B, bought, plan)


def best_of(scores_BV: torch.Tensor, top_n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the N best scores and their items, (B, N) each; equal scores in the order of their index."""
    top_n = min(top_n, scores_BV.shape[1])
    scores_BN, items_BN = scores_BV.topk(top_n, dim=1)
    last_B1 = scores_BN[:, -1:]
    # Only where more items tie at the last place than fit can topk have picked the wrong ones.
    crowded_B = ((scores_BV >= last_B1).sum(dim=1) > top_n) & torch.isfinite(last_B1).squeeze(1)
    for user in torch.nonzero(crowded_B).flatten().tolist():
        items_BN[user] = scores_BV[user].argsort(descending=True, stable=True)[:top_n]
        scores_BN[user] = scores_BV[user, items_BN[user]]
    return scores_BN, items_BN


def _inputs(
    tile: pa.RecordBatch, model: SequenceModel, tile_users: int
) -> tuple[dict[str, torch.Tensor], npt.NDArray[np.bool_]]:
    pasts = read_pasts(tile)
    known = replace(pasts, item_idxs=hide_unknown(pasts.item_idxs, model.is_known_V.numpy()))
    inputs = {}
    for name in model.inputs:
        values_BL = align_right(getattr(known, name), known.starts, known.ends, model.shape.length)
        # Always a full tile: the same user gets the same bits whoever shares the tile.
        full_BL = np.zeros((tile_users, model.shape.length), dtype=np.int64)
        full_BL[: len(values_BL)] = values_BL
        inputs[name] = torch.from_numpy(full_BL)
    items_BL = inputs["item_idxs"][: tile.num_rows]
    return inputs, (items_BL >= FIRST_ITEM).any(dim=1).numpy()


def _bought(tile: pa.RecordBatch) -> list[frozenset[int]]:
    items, starts, ends = flatten(tile.column("purchased"))
    return [frozenset(items[start:end].tolist()) for start, end in zip(starts, ends, strict=True)]


def _rows(
    tile: pa.RecordBatch,
    scores_BN: npt.NDArray[np.float32],
    items_BN: Ints,
    can_score_B: npt.NDArray[np.bool_],
    bought: list[frozenset[int]],
    plan: ScorePlan,
) -> pa.RecordBatch:
    num_scored = np.isfinite(scores_BN).sum(axis=1)
    users: list[int] = []
    ranks: list[int] = []
    items: list[int] = []
    scores: list[float] = []
    sources: list[str] = []
    for user, count in enumerate(num_scored.tolist()):
        # Equal scores stand in the order of their index.
        order = np.lexsort((items_BN[user, :count], -scores_BN[user, :count]))
        items_of_user = items_BN[user, order].tolist()
        scores_of_user = scores_BN[user, order].astype(np.float64).tolist()
        sources_of_user = ["model"] * count
        if count < plan.top_n:
            why = TOO_SHORT if can_score_B[user] else NO_HISTORY
            for item, score, source in fill_up(items_of_user, bought[user], plan.ladder, plan.top_n):
                items_of_user.append(item)
                scores_of_user.append(score)
                sources_of_user.append(f"{source}: {why}")
        users += [user] * len(items_of_user)
        ranks += range(1, len(items_of_user) + 1)
        items += items_of_user
        scores += scores_of_user
        sources += sources_of_user
    return pa.RecordBatch.from_arrays(
        [
            tile.column("user_id").take(pa.array(users, pa.int64())),
            pa.array(ranks, pa.int32()),
            pa.array(items, pa.int32()),
            pa.array(scores, pa.float64()),
            pa.array(sources, pa.string()),
        ],
        names=SCORED.names,
    )


def available_mask(items: DataFrame, vocabulary_size: int) -> npt.NDArray[np.bool_]:
    """Return by item index whether it may be offered, (V,)."""
    offered = items.where(F.col("available")).select("item_idx").toArrow().column("item_idx").to_numpy()
    mask = np.zeros(vocabulary_size, dtype=bool)
    mask[offered] = True
    return mask

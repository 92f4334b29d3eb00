"""What variety costs: NDCG of held-out targets in plain lists and in varied ones, on the same users.

B users   N items per list
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from torch import Tensor

from sparkrec.config.settings import RecommendSettings, WindowSettings
from sparkrec.evaluate.cases import held_out_inputs, matrix
from sparkrec.evaluate.gains import ndcg_at
from sparkrec.lake import Lake
from sparkrec.models.best import vectors_of
from sparkrec.models.lately import scored_items, scored_states
from sparkrec.models.published import evaluated
from sparkrec.models.store import has_model, load_model
from sparkrec.prepare.as_of import Known
from sparkrec.recommend.device import device_of
from sparkrec.recommend.groups import GroupPlan
from sparkrec.recommend.offer import NOWHERE, Offer, read_offer, write_offer
from sparkrec.recommend.ranking import Ranking
from sparkrec.recommend.tile import Tile, added_to
from sparkrec.sequences import flatten
from sparkrec.tables import WINDOWS
from sparkrec.window.held_out import lately_by_split

GAINS = "plain double, varied double, users long"


def cost_of_variety(
    lake: Lake, plan: GroupPlan, known: Known, items: DataFrame, window: WindowSettings
) -> dict[str, float]:
    """Return {ndcg_plain, ndcg_varied, variety_users}: NDCG@N of the date's test targets; nothing where variety is off
    or the date has no windows any more.

    Lists are made from what is on offer tonight, without the user's earlier items but for the target. Of a model that
    was trained again on all windows the first training is measured, and what is popular lately is what was before the
    targets.
    """
    if not plan.settings.diversity or not lake.has(WINDOWS):
        return {}
    of_the_date = (F.col("run_date") == F.lit(plan.run_date)) & (F.col("split") == "test")
    folder = evaluated(Path(plan.model_folder))
    if not has_model(folder):
        return {}
    told = replace(plan, model_folder=str(folder))
    model = load_model(told.model_folder)
    targets = lake.read(WINDOWS).where(of_the_date).select("target_idxs", "seen_idxs", *model.columns)
    lately = lately_by_split(known, items, plan.run_date, window) if model.lately else {}
    events = lately.get("test", np.zeros(model.shape.vocabulary_size, dtype=np.int64))
    told = _with_its_vectors(told, torch.from_numpy(events))
    summed = targets.mapInArrow(_measure(told), GAINS).groupBy().sum().first()
    plain, varied, users = summed if summed else (None, None, None)
    if not users:
        return {}
    return {"ndcg_plain": plain / users, "ndcg_varied": varied / users, "variety_users": float(users)}


def _with_its_vectors(plan: GroupPlan, events_V: Tensor) -> GroupPlan:
    """Return the plan with an offer that has the vectors of the plan's own model. In: events_V: see `scored_items`."""
    offer = read_offer(plan.offer_folder)
    item_K = torch.from_numpy(offer.item_idxs_I[: offer.num_scored])
    exact_KD = scored_items(load_model(plan.model_folder), item_K, [events_V]).detach().contiguous()
    if torch.equal(exact_KD, offer.vectors.exact_KD):
        return plan
    folder = f"{plan.offer_folder}-evaluated"
    write_offer(Path(folder), replace(offer, vectors=vectors_of(exact_KD)))
    return replace(plan, offer_folder=folder)


def _measure(plan: GroupPlan) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def measure(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        model, offer = load_model(plan.model_folder), read_offer(plan.offer_folder)
        device = device_of(plan.settings.device)
        rankings = [
            Ranking(model.to(device), offer, settings, device)
            for settings in (plan.settings.model_copy(update={"diversity": 0.0}), plan.settings)
        ]
        gains, users = np.zeros(2), 0
        for batch in batches:
            for start in range(0, batch.num_rows, plan.settings.tile_users):
                rows = batch.slice(start, plan.settings.tile_users)
                gains += tile_gains(rows, offer, rankings, plan.settings)
                users += rows.num_rows
        yield pa.RecordBatch.from_pydict({"plain": [gains[0]], "varied": [gains[1]], "users": [users]})

    return measure


@torch.inference_mode()
def tile_gains(rows: pa.RecordBatch, offer: Offer, rankings: list[Ranking], settings: RecommendSettings) -> list[float]:
    """Return the sum over users of NDCG@N of each ranking's lists."""
    model, device = rankings[0].model, rankings[0].device
    target_B = matrix(rows.column("target_idxs"))[:, -1]
    seen, starts, ends = flatten(rows.column("seen_idxs"))
    user = np.repeat(np.arange(len(starts)), ends - starts)
    place = offer.places_of(seen)
    is_out = (place != NOWHERE) & (place < offer.num_scored) & (seen != target_B.numpy()[user])
    inputs = held_out_inputs(rows, model)
    place_V = torch.from_numpy(offer.place_V).to(device)
    tile = Tile(
        scored_states(model, model.last_state(inputs)),
        torch.from_numpy(user[is_out]).to(device),
        torch.from_numpy(place[is_out]).to(device),
        torch.zeros(len(rows), dtype=torch.long, device=device),
        added_to(model.opinions(inputs["item_idxs"]), place_V, offer.num_scored),
    )
    wanted_B1 = torch.from_numpy(offer.places_of(target_B.numpy())).unsqueeze(1)
    return [_gain(ranking.lists_of(tile)[1].cpu(), wanted_B1, settings.top_n) for ranking in rankings]


def _gain(place_BN: Tensor, wanted_B1: Tensor, top_n: int) -> float:
    is_it_BN = (place_BN == wanted_B1) & (wanted_B1 != NOWHERE)
    rank_B = torch.where(is_it_BN.any(dim=1), is_it_BN.int().argmax(dim=1) + 1, top_n + 1)
    return float(ndcg_at(np.arange(len(rank_B)), rank_B.numpy(), len(rank_B), top_n).sum())

"""Validation in training: the held-out items of some users, ranked among all items, the ranks sharing the users."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from operator import attrgetter

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from sparkrec.evaluate.cases import CASE_COLUMNS, Cases, case_opinions, case_states, cases_of
from sparkrec.evaluate.gains import ndcg_at
from sparkrec.evaluate.ranks import full_ranks
from sparkrec.models.lately import log_events
from sparkrec.models.second_opinion import SecondOpinion
from sparkrec.models.sequence_model import SequenceModel
from sparkrec.train.feed import FileSet
from sparkrec.train.place import Place

TILE = 64
"""Cases ranked together."""
CANDIDATES = 500
"""Best items by inner product that a model which scores pairs puts in order."""


@dataclass(frozen=True)
class Tile:
    """Some users' held-out windows, and what they ask."""

    rows: pa.RecordBatch
    cases: Cases


def read_tiles(files: FileSet, model: SequenceModel, num_users: int, by_steps: bool, place: Place) -> list[Tile]:
    """Return a rank's share of the first `num_users` validation rows; rows lie in random order in their files."""
    tiles: list[Tile] = []
    left = num_users
    for url in files.urls:
        if left <= 0:
            break
        with fsspec.open(url, "rb") as file:
            rows = pq.read_table(file, columns=list(dict.fromkeys((*CASE_COLUMNS, *model.columns)))).slice(0, left)
        left -= len(rows)
        mine = rows.take(pa.array(range(place.rank, len(rows), place.num_ranks), pa.int64()))
        # A row has a case per position where each step is one.
        at_once = max(1, TILE // model.shape.length) if by_steps else TILE
        batches = mine.combine_chunks().to_batches(max_chunksize=at_once)
        tiles += [Tile(batch, cases_of(batch, by_steps).to(place.device)) for batch in batches]
    return tiles


def validate(model: SequenceModel, tiles: list[Tile], place: Place) -> float:
    """Return NDCG@10 over all ranks' cases, full ranking, without a second opinion; the same number on every rank."""
    return validate_opinions(model, tiles, torch.zeros(0), place, ())[0]


def validate_opinions(
    model: SequenceModel, tiles: list[Tile], lately_V: Tensor, place: Place, tried: Sequence[SecondOpinion]
) -> list[float]:
    """Return the same, and then that with each of the second opinions; items are scored once for all of them. The model
    is left with some of them.

    In   lately_V: events of the last days by item index, where any of the opinions counts them.
    """
    model.eval()
    log_V = log_events(lately_V)
    gain_N, num_cases = np.zeros(1 + len(tried)), 0
    with torch.inference_mode():
        item_matrix_VD = model.item_matrix()
        for tile in tiles:
            score_CV = _scores(model, tile, item_matrix_VD)
            with_opinions = _with_opinions(model, tile, score_CV, log_V, tried)
            gain_N += [_gain(one_CV, tile.cases) for one_CV in chain([score_CV], with_opinions)]
            num_cases += len(tile.cases.row_C)
    gains, nums = zip(*place.gather((gain_N.tolist(), num_cases)), strict=True)
    return [sum(of_ranks) / max(sum(nums), 1) for of_ranks in zip(*gains, strict=True)]


def _with_opinions(
    model: SequenceModel, tile: Tile, score_CV: Tensor, log_V: Tensor, tried: Sequence[SecondOpinion]
) -> Iterator[Tensor]:
    """Yield the scores with each of the opinions; what neighbours that fade alike say is found once."""
    for fades, group in groupby(tried, attrgetter("fades")):
        alike = list(group)
        model.take(SecondOpinion(float(any(one.counts for one in alike)), fades))
        opinions = case_opinions(model, tile.rows, tile.cases)
        for one in alike:
            with_both_CV = score_CV.clone()
            if one.lately:
                with_both_CV += one.lately * log_V
            yield opinions.times(one.counts).add_to(with_both_CV) if opinions else with_both_CV


def _gain(score_CV: Tensor, cases: Cases) -> float:
    rank_P = full_ranks(score_CV, cases.sought)
    return float(ndcg_at(cases.sought.case_P.cpu().numpy(), rank_P.cpu().numpy(), len(cases.row_C), 10).sum())


def _scores(model: SequenceModel, tile: Tile, item_matrix_VD: Tensor) -> Tensor:
    """Return (C, V), without a second opinion. Of pairs only CANDIDATES are scored, as `recommend` does it: all would
    cost more than training."""
    state_CD = case_states(model, tile.rows, tile.cases)
    if model.scores_pairs:
        return model.best_pair_scores(state_CD, item_matrix_VD, CANDIDATES)
    return model.scores(state_CD, item_matrix_VD)

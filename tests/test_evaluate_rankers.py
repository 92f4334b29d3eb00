"""Ranks of contestants: the fast ways against scores of all items, one by one."""

from collections.abc import Mapping
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import Tensor

from sparkrec.evaluate.cases import Cases, case_opinions, case_states, cases_of
from sparkrec.evaluate.gains import NO_RANK
from sparkrec.evaluate.rankers import InnerProducts, PairScores, Popularity, ranker_of
from sparkrec.evaluate.ranks import drawn_ranks, full_ranks, scores_at
from sparkrec.models.neighbours import Neighbours
from sparkrec.models.sequence_model import SequenceModel
from sparkrec.models.shape import ModelShape
from sparkrec.tables import FIRST_ITEM, PAD
from sparkrec.window.cut import CutPlan, cut_windows
from sparkrec.window.rows import LAST_ITEMS, HeldOut
from tests.contests import contest, of_split, untrained
from tests.pasts import LENGTH, catalogue, histories

DAY = date(2024, 3, 1)
MINUTE = 60_000_000
SIZE = 300
WIDTH = 8


class Small(SequenceModel):
    """The state of a position is the vector of its item. Whole numbers, so that no sum is rounded and many tie."""

    def __init__(self, seed: int = 5) -> None:
        super().__init__(ModelShape(SIZE, LENGTH, WIDTH, 1, 1, 0.0))
        rng = np.random.default_rng(seed)
        self.vector_VD = torch.from_numpy(rng.integers(-2, 3, (SIZE, WIDTH))).float()
        self.is_known_V[:2] = True  # whatever it says, these are no items
        self.is_known_V[2:] = torch.from_numpy(rng.random(SIZE - 2) < 0.9)

    def states(self, inputs: Mapping[str, Tensor]) -> Tensor:
        return self.vector_VD[inputs["item_idxs"]]

    def last_state(self, inputs: Mapping[str, Tensor]) -> Tensor:
        return self.states(inputs)[:, -1]

    def item_matrix(self) -> Tensor:
        return self.vector_VD


def with_neighbours(model: Small) -> Small:
    """Give every item a few neighbours, some of which the model does not know."""
    rng = np.random.default_rng(8)
    model.neighbours = Neighbours(SIZE, 4)
    model.neighbours.next_VK[2:] = torch.from_numpy(rng.integers(0, SIZE, (SIZE - 2, 4)).astype(np.int32))
    model.neighbours.weight_VK[2:] = torch.from_numpy(rng.integers(1, 5, (SIZE - 2, 4))).float()
    model.neighbours.weight_VK[model.neighbours.next_VK < FIRST_ITEM] = 0
    model.neighbours.next_VK[model.neighbours.next_VK < FIRST_ITEM] = PAD
    model.neighbours.counts.fill_(8.0)
    return model


class Pairs(Small):
    """Scores by distance, which is no inner product."""

    scores_pairs = True

    def pair_scores(self, state_BD: Tensor, items_BM: Tensor) -> Tensor:
        return -(state_BD[:, None] - self.vector_VD[items_BM]).abs().sum(dim=-1)


def rows(how: HeldOut = LAST_ITEMS) -> pa.RecordBatch:
    return of_split(cut(how), "test")


def cut(how: HeldOut) -> pa.RecordBatch:
    rng = np.random.default_rng(3)
    sizes = rng.integers(3, 14, 60)
    pasts = [rng.integers(2, SIZE + 20, size).tolist() for size in sizes]
    minutes = [np.sort(rng.integers(0, 30, size)).tolist() for size in sizes]
    plan = CutPlan(DAY, LENGTH, LENGTH, 1, 7, how)
    return cut_windows(histories(*pasts, minutes=minutes), plan, catalogue(SIZE + 20))


def plain(
    model: SequenceModel, tile: pa.RecordBatch, cases: Cases, drawn_CM: Tensor, added_V: Tensor | float = 0.0
) -> tuple[Tensor, Tensor]:
    score_CV = model.scores(case_states(model, tile, cases)) + added_V
    if opinions := case_opinions(model, tile, cases):
        opinions.add_to(score_CV)
    score_P = scores_at(score_CV, cases.sought.case_P, cases.sought.item_P)
    case_C1 = torch.arange(len(score_CV))[:, None]
    of_drawn = drawn_ranks(score_P, scores_at(score_CV, case_C1, drawn_CM), cases.sought)
    return full_ranks(score_CV, cases.sought), of_drawn


BY_STEPS = HeldOut("sessions", None, 10 * MINUTE, 20 * MINUTE)


@pytest.mark.parametrize("two_opinions", [False, True])
@pytest.mark.parametrize("how", [LAST_ITEMS, HeldOut("date", None, 10 * MINUTE, 20 * MINUTE), BY_STEPS])
@pytest.mark.parametrize("num_best", [5, 20, 500])
def test_ranks_among_the_best_items_are_those_among_all_up_to_the_last_cut_off(
    how: HeldOut, num_best: int, two_opinions: bool
) -> None:
    model, tile = with_neighbours(Small()) if two_opinions else Small(), rows(how)
    cases = cases_of(tile, by_steps=how is BY_STEPS)
    drawn_CM = torch.from_numpy(np.random.default_rng(1).integers(2, SIZE + 20, (len(cases.row_C), 40)))
    full_P, of_drawn_P = plain(model, tile, cases, drawn_CM)
    found_P, found_drawn_P = ranker_of(model, num_best, len(cases.row_C)).ranks(tile, cases, [None, drawn_CM])
    assert torch.equal(found_drawn_P, of_drawn_P)
    is_near_P = full_P <= num_best
    assert torch.equal(found_P[is_near_P], full_P[is_near_P]) and is_near_P.any()
    assert (found_P[~is_near_P] > num_best).all() and (num_best == 500 or not is_near_P.all())
    assert (found_P == NO_RANK).any(), "an item the model does not know, for one"


@pytest.mark.parametrize("split", ["validation", "test"])
def test_what_was_popular_before_each_split_is_added_where_the_model_counts_it(split: str) -> None:
    model = with_neighbours(Small())
    model.vector_VD = torch.randn(SIZE, WIDTH, generator=torch.Generator().manual_seed(4))  # sums are rounded: no ties
    model.lately.fill_(2.0)
    rng = np.random.default_rng(6)
    lately = {name: rng.integers(0, 50, SIZE + 20) for name in ("validation", "test")}
    tile = of_split(cut(HeldOut("date", None, 10 * MINUTE, 20 * MINUTE)), split)
    cases = cases_of(tile, by_steps=False)
    drawn_CM = torch.from_numpy(rng.integers(2, SIZE + 20, (len(cases.row_C), 40)))
    added_V = 2 * torch.from_numpy(lately[split][:SIZE]).float().log1p()
    full_P, of_drawn_P = plain(model, tile, cases, drawn_CM, added_V)
    found_P, found_drawn_P = ranker_of(model, SIZE, len(cases.row_C), lately).ranks(tile, cases, [None, drawn_CM])
    assert torch.equal(found_P, full_P) and torch.equal(found_drawn_P, of_drawn_P)
    without_P, _ = plain(model, tile, cases, drawn_CM)
    assert not torch.equal(full_P, without_P)
    model.lately.fill_(0.0)
    assert torch.equal(ranker_of(model, SIZE, len(cases.row_C), lately).ranks(tile, cases, [None])[0], without_P)


def test_a_model_that_scores_pairs_is_ranked_by_these_scores() -> None:
    model, tile = Pairs(), rows()
    cases = cases_of(tile, by_steps=False)
    ranker = ranker_of(model, 10, len(tile))
    assert isinstance(ranker, PairScores)
    (found_P,) = ranker.ranks(tile, cases, [None])
    state_CD = case_states(model, tile, cases)
    distance_CV = (state_CD[:, None] - model.vector_VD).abs().sum(dim=-1)
    is_known_V = model.is_known_V.clone()
    is_known_V[:2] = False
    whole_CV = (-distance_CV).masked_fill(~is_known_V, -torch.inf)
    assert torch.equal(found_P, full_ranks(whole_CV, cases.sought))
    assert not torch.equal(found_P, ranker_of(Small(), SIZE, len(tile)).ranks(tile, cases, [None])[0])


@pytest.mark.parametrize("spoiled", ["states", "items"])
def test_what_is_not_a_number_is_refused_for_it_would_count_as_no_competitor(spoiled: str) -> None:
    model, tile = Small(), rows()
    if spoiled == "items":
        model.vector_VD[7] = torch.nan
        model.is_known_V[7] = True
        with pytest.raises(ValueError, match="not numbers"):
            InnerProducts(model, 10, len(tile))
    else:
        ranker = InnerProducts(model, 10, len(tile))
        model.vector_VD = torch.full_like(model.vector_VD, torch.nan)
        with pytest.raises(ValueError, match="not numbers"):
            ranker.ranks(tile, cases_of(tile, by_steps=False), [None])


def test_an_item_without_events_ties_with_its_like_and_not_with_padding() -> None:
    counts_V = np.zeros(SIZE + 20, dtype=np.int64)
    counts_V[2:10] = 5
    cases = cases_of(rows(), by_steps=False)
    (rank_P,) = Popularity(counts_V).ranks(rows(), cases, [None])
    item_P, left_out = cases.sought.item_P.numpy(), [set() for _ in cases.row_C]
    for case, item in zip(cases.sought.case_X.tolist(), cases.sought.item_X.tolist(), strict=True):
        left_out[case].add(item)
    for case, item in enumerate(item_P.tolist()):
        others = [other for other in range(2, SIZE + 20) if other not in left_out[case]]
        assert rank_P[case] == 1 + sum(counts_V[other] >= counts_V[item] for other in others)


def test_a_tile_of_steps_has_no_more_cases_than_the_finder_has_room_for(tmp_path: Path) -> None:
    told = contest({"m": untrained(tmp_path / "m", LENGTH)}, cases_per_row=LENGTH, tile_users=8)
    assert told.by_steps and told.tile_rows * LENGTH <= max(8, LENGTH)

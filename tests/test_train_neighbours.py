"""Neighbours of items from training windows, judged by a plain rule; how much they count, by validation."""

import json
from collections import defaultdict
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from pyspark.sql import SparkSession

from sparkrec.evaluate.gains import ndcg_at
from sparkrec.evaluate.rankers import ranker_of
from sparkrec.models.neighbours import Neighbours
from sparkrec.models.second_opinion import SecondOpinion
from sparkrec.models.sequence_model import SequenceModel
from sparkrec.models.store import load_model
from sparkrec.tables import FIRST_ITEM
from sparkrec.train import neighbours, second_opinion
from sparkrec.train.attributes import number
from sparkrec.train.candidate import vocabulary_of
from sparkrec.train.neighbours import BACKWARD, FADES, FORWARD, POPULARITY_POWER, REACH, NeighbourLists, neighbours_of
from sparkrec.train.place import Place
from sparkrec.train.rank import train_rank
from sparkrec.train.second_opinion import FAR, LATELY, NEAR, choose_second_opinion
from sparkrec.train.untrained import untrained
from sparkrec.train.validation import Tile, read_tiles, validate, validate_opinions
from sparkrec.window.cut import CutPlan, cut_windows
from tests.boards import SQUARES, VOCABULARY, all_known, changed, checkerboard, plan_for, split
from tests.pasts import catalogue, histories
from tests.test_train import _alone, share_found  # noqa: F401 - a fixture

SIZE, HOW_MANY = 40, 5


class Alone(Place):
    """A rank that meets nobody."""

    def gather(self, value: Any) -> list[Any]:
        return [value]


def windows() -> pa.Table:
    rng = np.random.default_rng(3)
    pasts = [rng.integers(1, SIZE, rng.integers(2, 18)).tolist() for _ in range(60)]
    plan = CutPlan(date(2024, 3, 1), 12, 12, 1, 7)
    return pa.Table.from_batches([cut_windows(histories(*pasts), plan, catalogue(SIZE))])


def by_hand(rows: pa.Table) -> dict[int, list[tuple[float, int]]]:
    ahead: dict[tuple[int, int], int] = defaultdict(int)
    for row in split(rows, "train").select(["item_idxs", "target_idxs"]).to_pylist():
        past = [item for item in [*row["item_idxs"], row["target_idxs"][-1]] if item >= FIRST_ITEM]
        for first, item in enumerate(past):
            for distance, other in enumerate(past[first + 1 : first + 1 + REACH], start=1):
                ahead[item, other] += round(1000 * FADES ** (distance - 1))
    weight: dict[tuple[int, int], int] = defaultdict(int)
    for (item, other), much in ahead.items():
        weight[item, other] += FORWARD * much
        weight[other, item] += BACKWARD * much
    popularity: dict[int, int] = defaultdict(int)
    for (item, other), much in weight.items():
        popularity[other] += much if item != other else 0
    found = defaultdict(list)
    for (item, other), much in weight.items():
        found[item].append((-much / (popularity[other] or much) ** POPULARITY_POWER, other))
    return {item: [(-close, other) for close, other in sorted(pairs)[:HOW_MANY]] for item, pairs in found.items()}


def test_neighbours_are_those_of_a_plain_rule_however_windows_are_shared_out(spark: SparkSession) -> None:
    rows = windows()
    frame = spark.createDataFrame(rows)
    found = [neighbours_of(frame.repartition(parts), 1, SIZE, HOW_MANY) for parts in (1, 5)]
    assert np.array_equal(found[0].next_VK, found[1].next_VK)
    assert np.array_equal(found[0].weight_VK, found[1].weight_VK)
    wanted = by_hand(rows)
    assert len(wanted) > 30
    for item in range(SIZE):
        pairs = wanted.get(item, [])
        assert found[0].next_VK[item].tolist() == [other for _, other in pairs] + [0] * (HOW_MANY - len(pairs))
        sum_of = sum(close for close, other in pairs if other != item) ** 0.5
        assert found[0].weight_VK[item, : len(pairs)] == pytest.approx([close / sum_of for close, _ in pairs], rel=1e-5)


def test_of_equally_close_neighbours_the_first_comes_first(spark: SparkSession) -> None:
    plan = CutPlan(date(2024, 3, 1), 12, 12, 1, 7)
    pasts = [[9, other, 20, 21, 22] for other in (7, 5, 6)]
    rows = pa.Table.from_batches([cut_windows(histories(*pasts), plan, catalogue(SIZE))])
    assert neighbours_of(spark.createDataFrame(rows), 1, SIZE, 4).next_VK[9].tolist() == [20, 5, 6, 7]


def found_in(spark: SparkSession, *pasts: list[int]) -> dict[int, dict[int, float]]:
    """Return the neighbours by item from pasts, the last two of whose items are held out."""
    plan = CutPlan(date(2024, 3, 1), 12, 12, 1, 7)
    rows = pa.Table.from_batches([cut_windows(histories(*([*past, 21, 22] for past in pasts)), plan, catalogue(SIZE))])
    found = neighbours_of(spark.createDataFrame(rows), 1, SIZE, HOW_MANY)
    pairs = zip(found.next_VK.tolist(), found.weight_VK.tolist(), strict=True)
    return {item: {n: w for n, w in zip(*both, strict=True) if n} for item, both in enumerate(pairs) if both[0][0]}


def test_an_item_that_users_come_back_to_is_a_neighbour_of_its_own(spark: SparkSession) -> None:
    found = found_in(spark, *([9, 9, 9, 9, other, 20] for other in (5, 6)))
    assert next(iter(found[9])) == 9
    assert not any(item in found[item] for item in (5, 6, 20))
    assert list(found_in(spark, [7, 7, 7])[7]) == [7], "also where it has no others"


def test_reloads_of_a_page_change_nothing_about_other_items(spark: SparkSession) -> None:
    honest = [[5, 6], [5, 6], [5, 7], [6, 5]]
    before, after = found_in(spark, *honest), found_in(spark, *honest, [6] * 10)
    assert after[6].pop(6) > 0
    assert before == after


def test_of_very_many_pairs_a_share_is_taken(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = spark.createDataFrame(windows())
    monkeypatch.setattr(neighbours, "MOST_PAIRS", 10)
    fewer = neighbours_of(frame, 2, SIZE, HOW_MANY)
    assert 0 < fewer.weight_VK.sum() < 0.95 * neighbours_of(frame, 1, SIZE, HOW_MANY).weight_VK.sum()


def test_none_are_looked_for_where_none_are_wanted(spark: SparkSession) -> None:
    assert neighbours_of(spark.createDataFrame(windows()), 1, SIZE, 0).next_VK.shape == (SIZE, 0)


def test_a_second_opinion_counts_as_much_as_validation_says(board: pa.Table, tmp_path: Path) -> None:
    """On a checkerboard the next square is the neighbour, and a model that has learnt nothing yet needs to be told."""
    next_VK = torch.zeros(VOCABULARY, 1, dtype=torch.int32)
    next_VK[FIRST_ITEM:, 0] = torch.tensor([FIRST_ITEM + (square + 2) % SQUARES for square in range(SQUARES)])
    known = replace(all_known(), next_items=next_VK, next_weights=(next_VK > 0).float())
    plan = plan_for(board, tmp_path, max_epochs=1)
    shape = replace(plan.shape, num_neighbours=1)
    plan = changed(plan, known, shape=shape, card=replace(plan.card, shape=shape))
    train_rank(str(plan.attempt))
    told = json.loads((plan.folder / "training.json").read_text())
    model = load_model(str(plan.folder))
    assert model.neighbours is not None
    chosen = SecondOpinion(1.0, 0.8)
    assert told["second_opinion"] == asdict(chosen)
    assert taken_by(model.neighbours) == pytest.approx([1.0, 0.8])
    assert share_found(plan.folder, board) == 1

    place, nothing = Alone(0, 1, torch.device("cpu")), torch.zeros(0)
    tiles = read_tiles(plan.training_set.validation, model, 1000, False, place)
    without, *together = validate_opinions(model, tiles, nothing, place, [*NEAR, *FAR])
    assert without == validate(model, tiles, place)
    assert NEAR[1] == chosen
    assert without < together[0] < together[1] == max(together), "the least of those that are best is taken"
    model.neighbours.next_VK[FIRST_ITEM:, 0] = FIRST_ITEM  # a bad neighbour
    assert choose_second_opinion(model, tiles, nothing, place) == SecondOpinion(0.0)
    assert taken_by(model.neighbours) == pytest.approx([0.0, 0.8])


def test_each_opinion_is_validated_as_evaluate_would_rank_with_it(board: pa.Table, tmp_path: Path) -> None:
    model, tiles, place = validated(board, tmp_path)
    model.neighbours = Neighbours(VOCABULARY, 3)
    items = torch.arange(FIRST_ITEM, VOCABULARY)
    for place_K, step in enumerate((2, 5, 8)):
        model.neighbours.next_VK[items, place_K] = (FIRST_ITEM + (items - FIRST_ITEM + step) % SQUARES).int()
        model.neighbours.weight_VK[items, place_K] = 1.0 + items * step % 7
    lately_V = torch.arange(VOCABULARY) * 3 % 11
    tried = [
        SecondOpinion(counts, fades, lately) for fades in (0.8, 1.0) for counts in (0.0, 3.0) for lately in (0.0, 1.0)
    ]
    _, *found = validate_opinions(model, tiles, lately_V, place, tried)
    assert len(set(found)) == len(tried) - 2, "without neighbours it does not matter how they fade"
    for one, ndcg in zip(tried, found, strict=True):
        model.take(one)
        assert ndcg_by_evaluate(model, tiles, lately_V) == pytest.approx(ndcg)


def test_a_training_counts_what_is_popular_lately_unless_it_is_told_not_to(board: pa.Table, tmp_path: Path) -> None:
    wanted = split(board, "validation").column("relevant_idxs").combine_chunks().flatten().to_numpy().astype(np.int64)
    events = torch.bincount(torch.from_numpy(wanted), minlength=VOCABULARY)
    chosen = []
    for counts in (True, False):
        plan = plan_for(board, tmp_path / str(counts), max_epochs=1, learning_rate=1e-9, popular_lately=counts)
        plan = changed(plan, replace(all_known(), lately_events=events))
        train_rank(str(plan.attempt))
        told = json.loads((plan.folder / "training.json").read_text())["second_opinion"]["lately"]
        assert told == float(load_model(str(plan.folder)).lately)
        chosen.append(told)
    assert chosen[0] > 0 == chosen[1]


def test_what_training_may_count_are_the_days_before_validation() -> None:
    counts, categories, none = np.ones(5, dtype=np.int64), np.zeros(5, dtype=np.int64), np.zeros(0, dtype=np.int64)
    lately = {"validation": np.arange(5), "test": np.arange(5) + 9}
    told = [
        vocabulary_of(
            counts, categories, number(none, none, np.ones(5, dtype=bool)), NeighbourLists(none, none), by_split, 1
        ).lately_events
        for by_split in (lately, {})
    ]
    assert told[0].tolist() == [0, 1, 2, 3, 4] and told[1].tolist() == []


def test_old_events_must_be_worth_what_they_cost(
    board: pa.Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tiles, place = validated(board, tmp_path)
    found = dict.fromkeys((*NEAR, *FAR), 0.1) | {NEAR[3]: 0.2}
    for better, chosen in ((0.2019, NEAR[3]), (0.2021, FAR[2])):
        told = [0.0, *(found | {FAR[2]: better}).values()]
        monkeypatch.setattr(second_opinion, "validate_opinions", lambda *_, told=told: told)
        model.neighbours = Neighbours(VOCABULARY, 1)
        assert choose_second_opinion(model, tiles, torch.zeros(0), place) == chosen
        assert taken_by(model.neighbours) == pytest.approx([chosen.counts, chosen.fades])


def test_what_is_popular_lately_counts_as_much_as_validation_says(board: pa.Table, tmp_path: Path) -> None:
    model, tiles, place = validated(board, tmp_path)
    wanted = torch.cat([tile.cases.sought.item_P for tile in tiles])
    lately_V = torch.bincount(wanted, minlength=VOCABULARY)
    tried = [SecondOpinion(lately=lately) for lately in (0.0, *LATELY)]
    without, *found = validate_opinions(model, tiles, lately_V, place, tried)
    assert without == found[0] < max(found)
    chosen = choose_second_opinion(model, tiles, lately_V, place)
    assert chosen == tried[found.index(max(found))] and float(model.lately) == chosen.lately > 0
    assert validate(model, tiles, place) == without, "epochs are chosen by the model's own scores"
    assert ndcg_by_evaluate(model, tiles, lately_V) == pytest.approx(max(found))
    assert choose_second_opinion(model, tiles, torch.zeros(0), place) == SecondOpinion()
    none_wanted_V = torch.zeros(VOCABULARY)
    none_wanted_V[0] = 1
    assert choose_second_opinion(model, tiles, none_wanted_V, place).lately == 0, "the least of equals"


def validated(board: pa.Table, folder: Path) -> tuple[SequenceModel, list[Tile], Place]:
    """Return a model that has learnt nothing, and what it is validated on."""
    plan, place = plan_for(board, folder), Alone(0, 1, torch.device("cpu"))
    model = untrained(plan, all_known(), place).eval()
    return model, read_tiles(plan.training_set.validation, model, 1000, False, place), place


@torch.inference_mode()
def ndcg_by_evaluate(model: SequenceModel, tiles: list[Tile], lately_V: torch.Tensor) -> float:
    ranker = ranker_of(model, 10, 64, {"test": np.zeros(VOCABULARY), "validation": lately_V.numpy()})
    gains, num_cases = 0.0, 0
    for tile in tiles:
        rows = tile.rows.append_column("split", pa.array(["validation"] * len(tile.rows)))
        (rank_P,) = ranker.ranks(rows, tile.cases, [None])
        gains += ndcg_at(tile.cases.sought.case_P.numpy(), rank_P.numpy(), len(tile.cases.row_C), 10).sum()
        num_cases += len(tile.cases.row_C)
    return gains / num_cases


def taken_by(neighbours: Neighbours | None) -> list[float]:
    assert neighbours is not None
    return [float(neighbours.counts), float(neighbours.fades)]


@pytest.fixture(scope="module")
def board() -> pa.Table:
    return checkerboard()

"""Models that are counted or solved for, on the checkerboard: every user keeps to one colour."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from pyspark.sql import SparkSession

from sparkrec.models.mf import CONFIDENCE, MF, REGULARISATION
from sparkrec.models.sequence_model import SequenceModel
from sparkrec.models.store import load_model
from sparkrec.tables import FIRST_ITEM
from sparkrec.train.counted import count
from sparkrec.train.neighbours import neighbours_of
from tests.boards import SQUARES, VOCABULARY, all_known, checkerboard, plan_for, split
from tests.test_train import share_found


@pytest.fixture(scope="module")
def board() -> pa.Table:
    return checkerboard()


def counted(spark: SparkSession, board: pa.Table, folder: Path, name: str) -> tuple[SequenceModel, Path]:
    lists = neighbours_of(spark.createDataFrame(split(board, "train")), 1, VOCABULARY, 4)
    known = all_known(counts=[0, 0, *range(100, 100 + SQUARES)])
    known = replace(known, next_items=torch.from_numpy(lists.next_VK), next_weights=torch.from_numpy(lists.weight_VK))
    plan = plan_for(board, folder, name)
    shape = replace(plan.shape, num_neighbours=4, width=2)
    plan = replace(plan, shape=shape, card=replace(plan.card, shape=shape))
    count(spark, plan, known)
    return load_model(str(plan.folder)), plan.folder


def test_most_popular_is_the_same_list_for_everybody(spark: SparkSession, board: pa.Table, tmp_path: Path) -> None:
    model, _ = counted(spark, board, tmp_path, "popular")
    score_BV = model.scores(model.last_state({"item_idxs": torch.tensor([[0, 5], [9, 8]])}))
    assert score_BV[:, FIRST_ITEM:].tolist() == 2 * [list(range(100, 100 + SQUARES))]


def test_neighbours_alone_find_the_next_square(spark: SparkSession, board: pa.Table, tmp_path: Path) -> None:
    _, folder = counted(spark, board, tmp_path, "item_knn")
    assert share_found(folder, board) > 0.9


def test_where_nobody_is_a_neighbour_the_popular_ones_follow(
    spark: SparkSession, board: pa.Table, tmp_path: Path
) -> None:
    model, _ = counted(spark, board, tmp_path, "item_knn")
    inputs = {"item_idxs": torch.tensor([[2, 4, 6]])}
    opinions = model.opinions(inputs["item_idxs"])
    assert opinions is not None
    score_V = opinions.add_to(model.scores(model.last_state(inputs)))[0]
    spoken_for = [item for item in opinions.item_BM[0].tolist() if item < VOCABULARY]
    others = [item for item in range(FIRST_ITEM, VOCABULARY) if item not in spoken_for]
    assert score_V.argsort(descending=True).tolist()[len(spoken_for) : -2] == others[::-1]


def test_factors_tell_the_colours_apart(spark: SparkSession, board: pa.Table, tmp_path: Path) -> None:
    model, _ = counted(spark, board, tmp_path, "mf")
    past_B4 = torch.tensor([[0, 2, 4, 6], [3, 5, 7, 9]])
    best = model.scores(model.last_state({"item_idxs": past_B4})).topk(SQUARES // 2).indices
    assert [sorted(row) for row in best.tolist()] == [list(range(2, 22, 2)), list(range(3, 22, 2))]


def test_a_users_factors_are_the_least_squares_of_the_past_so_far(
    spark: SparkSession, board: pa.Table, tmp_path: Path
) -> None:
    model, _ = counted(spark, board, tmp_path, "mf")
    assert isinstance(model, MF)
    factors = model.factors_VD.double().numpy()
    past = [0, 2, 4, 6]
    state_BLD = model.states({"item_idxs": torch.tensor([past])})
    assert torch.allclose(state_BLD[:, -1], model.last_state({"item_idxs": torch.tensor([past])}), atol=1e-4)
    for end in (2, 3, 4):
        chosen = factors[past[1:end]]
        system = factors.T @ factors + CONFIDENCE * chosen.T @ chosen + REGULARISATION * len(chosen) * np.eye(2)
        wanted = np.linalg.solve(system, (1 + CONFIDENCE) * chosen.sum(axis=0))
        assert state_BLD[0, end - 1].numpy() == pytest.approx(wanted, abs=1e-3)

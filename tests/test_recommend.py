"""Lists are the exact best of what may be offered, full for everybody, and published only when whole."""

from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from pyspark.sql import Row, SparkSession

from sparkrec.errors import SparkrecError
from sparkrec.models.registry import build_model
from sparkrec.models.sequence_model import ModelShape, SequenceModel
from sparkrec.models.store import Card, save_model
from sparkrec.recommend.check import check_night, look_at
from sparkrec.recommend.choose import check_vocabulary, choose_model, with_champion
from sparkrec.recommend.fallback import fill_up, popular_step
from sparkrec.recommend.score import ScorePlan, score_tile, score_users
from sparkrec.tables import MODELS, RECOMMENDATIONS
from tests.pasts import histories

VOCABULARY = 40
TOP_N = 5
COUNTS = np.arange(VOCABULARY)


@pytest.fixture(scope="module")
def model() -> SequenceModel:
    torch.manual_seed(7)
    built = build_model("sasrec", ModelShape(VOCABULARY, 6, 16, 1, 2, 0.0)).eval()
    built.is_known_V[2:35] = True
    return built


def plan(**changes: object) -> ScorePlan:
    may_offer = np.ones(VOCABULARY, dtype=bool)
    may_offer[[7, 8]] = False
    ladder = (
        popular_step("popular_7_days", COUNTS, may_offer, 12, least=38),
        popular_step("popular_all_time", COUNTS, may_offer, 12, least=1),
    )
    return replace(ScorePlan("", TOP_N, 4, may_offer, ladder), **changes)


def lists(batch: pa.RecordBatch, model: SequenceModel, how: ScorePlan) -> dict[str, list[dict[str, object]]]:
    found: dict[str, list[dict[str, object]]] = {}
    for start in range(0, batch.num_rows, how.tile_users):
        for row in score_tile(batch.slice(start, how.tile_users), model, how).to_pylist():
            found.setdefault(row["user_id"], []).append(row)
    return found


def brute_force(past: list[int], bought: list[int], model: SequenceModel) -> list[int]:
    items = [item if item < 35 else 1 for item in past[-6:]]
    item_BL = torch.tensor([[0] * (6 - len(items)) + items])
    with torch.inference_mode():
        state_D = model.states({"item_idxs": item_BL, "event_types": (item_BL > 0).long()})[0, -1]
        scores = (model.item_matrix() @ state_D).tolist()
    offered = [item for item in range(2, 35) if item not in {7, 8, *bought}]
    return sorted(offered, key=lambda item: (-scores[item], item))[:TOP_N]


def test_lists_equal_brute_force(model: SequenceModel) -> None:
    rng = np.random.default_rng(7)
    pasts = [rng.integers(2, VOCABULARY, int(rng.integers(3, 12))).tolist() for _ in range(30)]
    pasts = [[3, *past, 4] for past in pasts]
    bought = [rng.choice(np.arange(2, VOCABULARY), 6, replace=False).tolist() for _ in range(30)]
    found = lists(histories(*pasts, purchased=bought), model, plan())
    for user in range(30):
        rows = found[f"u{user}"]
        assert [row["item_idx"] for row in rows] == brute_force(pasts[user], bought[user], model)
        assert [row["rank"] for row in rows] == [1, 2, 3, 4, 5]
        assert {row["source"] for row in rows} == {"model"}


def test_what_is_not_available_is_never_offered(model: SequenceModel) -> None:
    past = histories([3, 4, 5])
    best = [row["item_idx"] for row in lists(past, model, plan())["u0"]]
    may_offer = plan().may_offer.copy()
    may_offer[best[:2]] = False
    without = [row["item_idx"] for row in lists(past, model, plan(may_offer=may_offer))["u0"]]
    assert without[:3] == best[2:]
    assert not set(without) & set(best[:2])


def test_the_tile_changes_no_bit(model: SequenceModel) -> None:
    pasts = [[3, 4, 5 + n] for n in range(9)]
    whole = lists(histories(*pasts), model, plan())
    for n in range(9):
        alone = lists(histories(*pasts).slice(n, 1), model, plan())
        assert alone == {f"u{n}": whole[f"u{n}"]}


def test_equal_scores_stand_in_the_order_of_their_index(model: SequenceModel) -> None:
    twins = build_model("sasrec", model.shape).eval()
    twins.load_state_dict(model.state_dict())
    with torch.no_grad():
        twins.item_matrix()[2:35] = 1.0
    few = lists(histories([3, 4]), twins, plan(top_n=3))
    assert [row["item_idx"] for row in few["u0"]] == [2, 3, 4]
    found = lists(histories([3, 4]), twins, plan(top_n=33))
    model_items = [row["item_idx"] for row in found["u0"] if row["source"] == "model"]
    assert model_items == [item for item in range(2, 35) if item not in (7, 8)]


def test_users_the_model_cannot_place_get_popular_items_and_the_reason(model: SequenceModel) -> None:
    rows = lists(histories([1, 39], purchased=[[38]]), model, plan())["u0"]
    assert [row["item_idx"] for row in rows] == [39, 37, 36, 35, 34]
    assert [row["source"] for row in rows] == [
        "popular_7_days: no known item in the history",
        *["popular_all_time: no known item in the history"] * 4,
    ]
    assert rows[0]["score"] == 39.0


def test_lists_that_fall_short_are_filled_up(model: SequenceModel) -> None:
    bought = [item for item in range(2, 35) if item not in (10, 11)]
    rows = lists(histories([3, 4], purchased=[bought]), model, plan())["u0"]
    assert {row["item_idx"] for row in rows[:2]} == {10, 11}
    assert [row["source"] for row in rows[2:]] == [
        "popular_7_days: too few items left",
        "popular_7_days: too few items left",
        "popular_all_time: too few items left",
    ]
    assert [row["rank"] for row in rows] == [1, 2, 3, 4, 5]


def test_the_ladder_never_repeats_nor_offers_what_was_bought() -> None:
    step = popular_step("p", np.array([0, 0, 5, 9, 9]), np.ones(5, dtype=bool), 9, least=1)
    assert step.item_idxs.tolist() == [3, 4, 2]
    assert fill_up([3], frozenset([4]), (step, step), 4) == [(2, 5.0, "p")]


HISTORY = (
    "user_id string, item_idxs array<int>, event_types array<tinyint>, event_tss array<bigint>, session_nos array<int>,"
    " prices array<float>, purchased array<int>"
)


def test_partitions_change_no_row(spark: SparkSession, model: SequenceModel, tmp_path: Path) -> None:
    save_model(tmp_path / "m", model, Card("v", "sasrec", model.shape, "line"))
    users = [(f"u{n}", [3, 4, 2 + n % 30], [1, 1, 1], [0, 1, 2], [1, 1, 1], [None] * 3, [5]) for n in range(50)]
    found = []
    for partitions in (1, 7):
        frame = spark.createDataFrame(users, HISTORY).repartition(partitions)
        scored = score_users(frame, plan(folder=str(tmp_path / "m")))
        found.append(sorted(tuple(row) for row in scored.collect()))
    assert len(found[0]) == 50 * TOP_N
    assert found[0] == found[1]


def night(spark: SparkSession, *rows: tuple[str, int, str, float]) -> object:
    full = [(date(2024, 3, 1), user, rank, item, score, "model", None, "v") for user, rank, item, score in rows]
    return look_at(spark.createDataFrame(full, RECOMMENDATIONS.schema), top_n=2)


def test_only_whole_nights_pass_the_check(spark: SparkSession) -> None:
    good = (("ann", 1, "a", 2.0), ("ann", 2, "b", 1.0))
    check_night(night(spark, *good), 1, 2, "here")
    for bad, users in (
        (good, 2),
        (good[:1], 1),
        ((good[0], ("ann", 3, "b", 1.0)), 1),
        ((good[0], ("ann", 2, "a", 1.0)), 1),
        ((good[0], ("ann", 2, "b", float("nan"))), 1),
        ((good[0], ("ann", 2, "b", float("inf"))), 1),
        ((good[0], ("ann", 2, None, 1.0)), 1),
        ((), 0),
    ):
        with pytest.raises(SparkrecError, match="nothing was published"):
            check_night(night(spark, *bad), users, 2, "here")


def a_model(version: str, day: int, status: str, **metrics: float) -> Row:
    return Row(
        model_version=version,
        run_date=date(2024, 3, day),
        status=status,
        vocabulary_lineage="x",
        vocabulary_size=9,
        metrics=metrics,
    )


def chosen(models: list[Row], published: str | None, day: date) -> str:
    model, remark = choose_model(models, published, day, max_drop=0.1)
    assert ("did not pass" in remark) == any(row["model_version"] == "bad" for row in models)
    return str(model["model_version"])


def test_the_candidate_of_the_date_comes_first_then_what_published_it_then_the_newest_champion() -> None:
    models = [a_model("old", 1, "champion"), a_model("gone", 2, "retired"), a_model("new", 3, "candidate")]
    third = date(2024, 3, 3)
    assert chosen(models, "gone", third) == "new"
    assert chosen(models[:2], "gone", date(2024, 3, 2)) == "gone"
    assert chosen(models[:2], None, third) == "old"
    with pytest.raises(SparkrecError, match="no champion up to 2024-02-01"):
        choose_model(models, None, date(2024, 2, 1), 0.1)


def test_a_candidate_much_worse_than_the_champion_on_the_same_users_is_not_used() -> None:
    figures = {"validation_ndcg10": 0.44, "validation_champion_ndcg10": 0.5}
    models = [a_model("old", 1, "champion"), a_model("bad", 3, "candidate", **figures)]
    assert chosen(models, None, date(2024, 3, 3)) == "old"
    with pytest.raises(SparkrecError, match=r"candidate bad did not pass \(validation NDCG@10 0.4400, champion 0.5000"):
        choose_model(models[1:], None, date(2024, 3, 3), 0.1)
    for passing in (
        {**figures, "validation_ndcg10": 0.45},
        {"validation_ndcg10": 0.0},
        {**figures, "validation_champion_ndcg10": float("nan")},
    ):
        assert chosen([models[0], a_model("new", 3, "candidate", **passing)], None, date(2024, 3, 3)) == "new"


def test_a_model_of_another_vocabulary_is_refused() -> None:
    model = a_model("m", 1, "candidate")
    check_vocabulary(model, "x", 9)
    for lineage, size in (("y", 9), ("x", 8)):
        with pytest.raises(SparkrecError, match="trained on vocabulary"):
            check_vocabulary(model, lineage, size)


def test_publishing_makes_one_champion_and_an_old_night_does_not_dethrone_it(spark: SparkSession) -> None:
    def statuses(published: str, day: int, *models: tuple[str, int, str]) -> dict[str, str]:
        rows = [(v, date(2024, 3, d), "sasrec", "", "", 1, "", {}, {}, s, None) for v, d, s in models]
        frame = with_champion(spark.createDataFrame(rows, MODELS.schema), published, date(2024, 3, day))
        return {row["model_version"]: row["status"] for row in frame.collect()}

    assert statuses("b", 2, ("a", 1, "champion"), ("b", 2, "candidate")) == {"a": "retired", "b": "champion"}
    assert statuses("a", 1, ("a", 1, "candidate"), ("b", 2, "champion")) == {"a": "retired", "b": "champion"}

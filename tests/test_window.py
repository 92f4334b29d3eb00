"""Windows hold out what they say, learn from the rest, and draw negatives by their law."""

from datetime import date
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from sparkrec.config.settings import WindowSettings
from sparkrec.errors import RefusedError
from sparkrec.window.cut import CutPlan, cut_windows
from sparkrec.window.layout import build_windows, check_material
from sparkrec.window.negatives import Law, draw_negatives, law_of
from tests.pasts import LENGTH, histories, known

PLAN = CutPlan(date(2024, 3, 1), length=LENGTH, stride=LENGTH, num_negatives=2, seed=7)
LAW = law_of(np.array([0, 0, *[5] * 18]), min_item_events=1, power=0.0)


def windows(
    *pasts: list[int], stride: int = LENGTH, unknown: tuple[int, ...] = ()
) -> dict[tuple[str, int], dict[str, Any]]:
    plan = CutPlan(PLAN.run_date, LENGTH, stride, 2, 7)
    batch = cut_windows(histories(*pasts), plan, known(20, *unknown), LAW)
    return {(row["user_id"], row["window_no"]): row for row in batch.to_pylist()}


def test_the_last_item_is_the_test_target_and_the_one_before_it_validation() -> None:
    rows = windows([2, 3, 4, 5, 6])
    assert rows["u0", 0]["split"] == "test"
    assert rows["u0", 0]["item_idxs"] == [2, 3, 4, 5]
    assert rows["u0", 0]["target_idxs"] == [0, 0, 0, 6]
    assert rows["u0", 1]["split"] == "validation"
    assert rows["u0", 1]["item_idxs"] == [0, 2, 3, 4]
    assert rows["u0", 1]["target_idxs"] == [0, 0, 0, 5]
    assert rows["u0", 2]["split"] == "train"
    assert rows["u0", 2]["item_idxs"] == [0, 0, 2, 3]
    assert rows["u0", 2]["target_idxs"] == [0, 0, 3, 4]


def test_no_training_window_shows_a_held_out_item() -> None:
    rng = np.random.default_rng(7)
    pasts = [[*rng.integers(2, 12, rng.integers(1, 30)).tolist(), 18, 19] for _ in range(50)]
    trained = [row for row in windows(*pasts, stride=2).values() if row["split"] == "train"]
    shown = {item for row in trained for item in [*row["item_idxs"], *row["target_idxs"]]}
    assert trained
    assert not shown & {18, 19}


def test_users_with_fewer_than_three_items_only_train() -> None:
    rows = windows([2, 3], [4], [1, 1, 5])
    assert set(rows) == {("u0", 2), ("u2", 2)}
    assert rows["u0", 2]["target_idxs"] == [0, 0, 0, 3]


def test_a_search_is_an_input_and_never_a_target() -> None:
    rows = windows([2, 1, 3, 4, 1, 5])
    assert rows["u0", 2]["item_idxs"] == [0, 0, 2, 1]
    assert rows["u0", 2]["target_idxs"] == [0, 0, 0, 3]
    assert rows["u0", 0]["target_idxs"] == [0, 0, 0, 5]
    assert rows["u0", 0]["item_idxs"] == [1, 3, 4, 1]


def test_rare_items_are_unknown_inputs_no_training_targets_and_true_held_out_targets() -> None:
    rows = windows([2, 9, 3, 4, 9], unknown=(9,))
    assert rows["u0", 2]["item_idxs"] == [0, 0, 2, 1]
    assert rows["u0", 2]["target_idxs"] == [0, 0, 0, 3]
    assert rows["u0", 0]["target_idxs"] == [0, 0, 0, 9]


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_every_transition_before_the_cut_is_learnt(stride: int) -> None:
    past = list(range(2, 19))
    rows = [row for row in windows(past, stride=stride).values() if row["split"] == "train"]
    pairs = {pair for r in rows for pair in zip(r["item_idxs"], r["target_idxs"], strict=True) if pair[1]}
    assert pairs == set(pairwise(past[:-2]))
    if stride == 4:
        assert sum(len([t for t in row["target_idxs"] if t]) for row in rows) == len(pairs), "and once"


def test_seen_items_are_those_before_the_target() -> None:
    rows = windows([2, 3, 2, 4, 3])
    assert rows["u0", 0]["seen_idxs"] == [2, 3, 4]
    assert rows["u0", 1]["seen_idxs"] == [2, 3]
    assert rows["u0", 2]["seen_idxs"] == []


def test_side_columns_run_parallel_to_the_items() -> None:
    row = windows([2, 1, 3, 4, 5, 6])["u0", 0]
    assert row["event_types"] == [4, 1, 1, 1]
    assert row["gap_buckets"] == [6] * 4, "a minute is bucket 1 + floor(log2(61))"
    assert row["session_starts"] == [0, 0, 1, 0]
    assert (row["user_num_events"], row["user_num_purchases"], row["user_mean_price"]) == (5, 0, 2.0)


def test_batches_of_users_change_nothing() -> None:
    rng = np.random.default_rng(3)
    pasts = [rng.integers(1, 20, rng.integers(1, 12)).tolist() for _ in range(30)]
    whole = histories(*pasts)
    together = cut_windows(whole, PLAN, known(20), LAW).to_pylist()
    apart = [row for n in range(30) for row in cut_windows(whole.slice(n, 1), PLAN, known(20), LAW).to_pylist()]
    by_key = [("user_id", "ascending"), ("window_no", "ascending")]
    assert pa.Table.from_pylist(together).sort_by(by_key) == pa.Table.from_pylist(apart).sort_by(by_key)


def test_negatives_are_never_the_users_own() -> None:
    rng = np.random.default_rng(5)
    pasts = [rng.integers(2, 20, 15).tolist() for _ in range(40)]
    bought = [[int(rng.integers(2, 20))] for _ in range(40)]
    rows = cut_windows(histories(*pasts, purchased=bought), PLAN, known(20), LAW).to_pylist()
    for row in rows:
        user = int(row["user_id"][1:])
        assert not set(row["negative_idxs"]) & {*pasts[user], *bought[user]}
        has_target = np.repeat(np.array(row["target_idxs"]) > 0, 2)
        assert ((np.array(row["negative_idxs"]) > 0) == has_target).all()


def test_a_user_who_knows_every_item_gets_no_negative_and_one_other_is_always_found() -> None:
    everything = list(range(2, 20))
    rows = windows(everything, everything[:-1])
    assert set(rows["u0", 2]["negative_idxs"]) == {0}
    assert set(rows["u1", 2]["negative_idxs"]) == {19}


@pytest.mark.parametrize("power", [0.0, 0.75])
def test_negatives_follow_their_law(power: float) -> None:
    counts = np.array([0, 0, 100, 50, 25, 12, 6, 3, 1, 0])
    law = law_of(counts, min_item_events=1, power=power)
    assert law.item_idxs.tolist() == [2, 3, 4, 5, 6, 7, 8]
    targets = np.full((4000, 5), 2)
    # The user's own item lies outside the law, so nothing is drawn again.
    drawn = draw_negatives(np.arange(4000), targets, np.zeros(4000, dtype=np.int64), np.array([9]), 10, law, 3, seed=7)
    observed = np.bincount(drawn.reshape(-1), minlength=10)[law.item_idxs]
    expected = np.diff(law.cumulated, prepend=0) * drawn.size
    chi_square = ((observed - expected) ** 2 / expected).sum()
    assert chi_square < 22.5, "0.1 % of true draws exceed this with 6 degrees of freedom"
    wrong = np.full(7, drawn.size / 7) if power else np.array([100, 50, 25, 12, 6, 3, 1]) / 197 * drawn.size
    assert ((observed - wrong) ** 2 / wrong).sum() > 1000, "the test can tell another law"


def test_another_seed_draws_other_negatives() -> None:
    args = (np.arange(50), np.full((50, 4), 2), np.zeros(50, dtype=np.int64), np.array([2]), 20, LAW, 2)
    assert (draw_negatives(*args, seed=7) == draw_negatives(*args, seed=7)).all()
    assert not (draw_negatives(*args, seed=7) == draw_negatives(*args, seed=8)).all()


def test_the_law_leaves_rare_items_out() -> None:
    law: Law = law_of(np.array([9, 9, 1, 5, 2]), min_item_events=2, power=1.0)
    assert law.item_idxs.tolist() == [3, 4]


HISTORY = (
    "user_id string, item_idxs array<int>, event_types array<tinyint>, event_tss array<bigint>, session_nos array<int>,"
    " prices array<float>, purchased array<int>"
)


def test_the_layout_does_not_depend_on_partitions_and_files_hold_one_split(spark: SparkSession) -> None:
    rng = np.random.default_rng(11)
    rows = []
    for n in range(60):
        past = rng.integers(2, 20, int(rng.integers(3, 40))).tolist()
        rows.append((f"u{n}", past, [1] * len(past), list(range(len(past))), [1] * len(past), [None] * len(past), []))
    settings = WindowSettings(length=8, stride=8, files=2, num_negatives=2)
    counts = np.array([0, 0, *[3] * 18])
    found = []
    for partitions in (1, 5):
        frame = spark.createDataFrame(rows, HISTORY).repartition(partitions)
        built = build_windows(frame, counts, date(2024, 3, 1), settings, seed=7)
        parts = built.rdd.glom().collect()
        assert len(parts) == 4
        assert all(len({row["split"] for row in part}) == 1 for part in parts)
        found.append([[row.asDict() for row in part] for part in parts])
    assert found[0] == found[1]
    train = [row["user_id"] for part in found[0][:2] for row in part]
    assert train != sorted(train), "training rows lie in random order"


def test_nothing_to_learn_from_is_refused(spark: SparkSession) -> None:
    frame = spark.createDataFrame([("ann", [2], [1], [0], [1], [None], [])], HISTORY)
    with pytest.raises(RefusedError, match="nothing to learn from"):
        check_material(frame, np.array([0, 0, 1]), WindowSettings(), date(2024, 3, 1))

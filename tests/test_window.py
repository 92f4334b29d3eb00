"""Windows hold out what they say, learn from the rest, and draw negatives by their law."""

from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from sparkrec.config import load_settings
from sparkrec.config.settings import WindowSettings
from sparkrec.errors import RefusedError
from sparkrec.lake import Lake
from sparkrec.prepare.staged import new_files
from sparkrec.sequences import price_buckets
from sparkrec.tables import WINDOWS
from sparkrec.window.cut import CutPlan, cut_windows
from sparkrec.window.held_out import count_held_out
from sparkrec.window.layout import check_material, check_splits, stage_windows
from sparkrec.window.made_with import check_made_with, made_with
from sparkrec.window.rows import HeldOut
from tests.pasts import LENGTH, catalogue, histories

PLAN = CutPlan(date(2024, 3, 1), length=LENGTH, stride=LENGTH, num_negatives=2, seed=7)


def windows(
    *pasts: list[int], stride: int = LENGTH, unknown: tuple[int, ...] = ()
) -> dict[tuple[str, int], dict[str, Any]]:
    plan = CutPlan(PLAN.run_date, LENGTH, stride, 2, 7)
    batch = cut_windows(histories(*pasts), plan, catalogue(20, *unknown))
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


def test_kinds_of_next_events_are_told_where_something_is_learnt_or_found() -> None:
    kinds = [[1, 4, 2, 1, 3, 1]]
    batch = cut_windows(histories([2, 1, 3, 4, 5, 6], kinds=kinds), PLAN, catalogue(20, 4))
    rows = {row["window_no"]: row for row in batch.to_pylist()}
    assert rows[0]["target_types"] == [0, 0, 0, 1]
    assert rows[1]["target_types"] == [0, 0, 0, 3]
    assert rows[2]["item_idxs"] == [0, 2, 1, 3]
    assert rows[2]["target_types"] == [0, 4, 2, 1], "of searches and rare items, too"
    assert rows[2]["target_idxs"] == [0, 0, 3, 0]


def test_of_held_out_sessions_kinds_are_told_but_for_first_events() -> None:
    # Sessions are of three events; the test period begins with the second one.
    plan = CutPlan(PLAN.run_date, 8, 8, 2, 7, HeldOut("sessions", None, 2 * MINUTE, 3 * MINUTE))
    past, kinds = [2, 3, 4, 5, 1, 6, 7, 1, 8, 9, 1], [[1, 1, 1, 1, 4, 2, 2, 4, 3, 1, 4]]
    batch = cut_windows(histories(past, kinds=kinds), plan, catalogue(20))
    (test,) = (row for row in batch.to_pylist() if row["split"] == "test")
    assert test["item_idxs"] == [2, 3, 4, 5, 1, 6, 7, 1]
    assert test["target_idxs"] == [0, 0, 0, 0, 6, 0, 0, 8]
    assert test["target_types"] == [0, 0, 0, 0, 2, 0, 4, 3], (
        "neither the opening of the next session, nor what came last"
    )


def test_no_training_window_shows_a_held_out_item() -> None:
    rng = np.random.default_rng(7)
    pasts = [[*rng.integers(2, 12, rng.integers(2, 30)).tolist(), 18, 19] for _ in range(50)]
    trained = [row for row in windows(*pasts, stride=2).values() if row["split"] == "train"]
    shown = {item for row in trained for item in [*row["item_idxs"], *row["target_idxs"]]}
    assert trained
    assert not shown & {18, 19}


def test_of_three_items_the_last_is_held_out() -> None:
    rows = windows([2, 3, 4])
    assert set(rows) == {("u0", 0), ("u0", 2)}
    assert rows["u0", 0]["target_idxs"] == [0, 0, 0, 4]
    assert rows["u0", 2]["target_idxs"] == [0, 0, 0, 3]


def test_what_a_night_holds_out_no_earlier_night_has_trained_on() -> None:
    past = list(range(2, 14))
    trained: set[int] = set()
    for night in range(1, len(past) + 1):  # a new item every night
        rows = windows(past[:night])
        held_out = {target for key, row in rows.items() if key[1] < 2 for target in row["target_idxs"]} - {0}
        assert not held_out & trained
        trained |= {target for key, row in rows.items() if key[1] >= 2 for target in row["target_idxs"]}
    assert trained == {0, *past[1:-2]}


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
    together = cut_windows(whole, PLAN, catalogue(20)).to_pylist()
    apart = [row for n in range(30) for row in cut_windows(whole.slice(n, 1), PLAN, catalogue(20)).to_pylist()]
    by_key = [("user_id", "ascending"), ("window_no", "ascending")]
    assert pa.Table.from_pylist(together).sort_by(by_key) == pa.Table.from_pylist(apart).sort_by(by_key)


MINUTE = 60_000_000


def by_date(*pasts: list[int], minutes: list[list[int]], validation: int, test: int) -> dict[tuple[str, int], Any]:
    held_out = HeldOut("date", None, validation * MINUTE, test * MINUTE)
    plan = CutPlan(PLAN.run_date, LENGTH, LENGTH, 2, 7, held_out)
    batch = cut_windows(histories(*pasts, minutes=minutes), plan, catalogue(20))
    return {(row["user_id"], row["window_no"]): row for row in batch.to_pylist()}


def test_a_cut_by_date_holds_out_the_first_item_of_each_period() -> None:
    rows = by_date([2, 3, 4, 5, 6, 7], minutes=[[0, 1, 10, 11, 20, 21]], validation=10, test=20)
    assert rows["u0", 2]["item_idxs"] == [0, 0, 0, 2]
    assert rows["u0", 2]["target_idxs"] == [0, 0, 0, 3]
    assert (rows["u0", 1]["item_idxs"], rows["u0", 1]["target_idxs"]) == ([0, 0, 2, 3], [0, 0, 0, 4])
    assert (rows["u0", 0]["item_idxs"], rows["u0", 0]["target_idxs"]) == ([2, 3, 4, 5], [0, 0, 0, 6])


def test_a_cut_by_date_shows_training_nothing_of_the_periods() -> None:
    rng = np.random.default_rng(5)
    pasts, minutes = [], []
    for _ in range(60):
        times = sorted(rng.integers(0, 30, rng.integers(1, 25)).tolist())
        minutes.append(times)
        # The item tells its period: up to 7 before, 8 to 13 in validation's, 14 to 19 in test's.
        pasts.append([int(rng.integers(2, 8)) + 6 * (t >= 10) + 6 * (t >= 20) for t in times])
    rows = by_date(*pasts, minutes=minutes, validation=10, test=20)
    shown = {name: set() for name in ("train", "validation", "test")}
    targets = {name: set() for name in shown}
    for row in rows.values():
        shown[row["split"]] |= {*row["item_idxs"]} - {0}
        targets[row["split"]] |= {*row["target_idxs"]} - {0}
    assert max(shown["train"] | targets["train"]) < 8
    assert max(shown["validation"]) < 8 <= min(targets["validation"]) <= max(targets["validation"]) < 14
    assert max(shown["test"]) < 14 <= min(targets["test"])


def test_who_did_nothing_before_a_period_has_no_target_in_it() -> None:
    rows = by_date([5, 6], [5, 6], [1, 7], minutes=[[10, 11], [2, 20], [12, 13]], validation=10, test=20)
    assert set(rows) == {("u1", 0)}
    assert set(by_date([1, 7], minutes=[[9, 12]], validation=10, test=20)) == {("u0", 1)}, "a search is something"


def test_prices_and_categories_run_parallel_to_the_items() -> None:
    categories = [-1] * 20
    categories[3], categories[4], categories[19] = 77, 77, 65_534
    plan = CutPlan(PLAN.run_date, LENGTH, LENGTH, 2, 7)
    batch = cut_windows(histories([1, 2, 3, 4, 19, 5, 6], price=7.0), plan, catalogue(20, 3, categories=categories))
    rows = {row["window_no"]: row for row in batch.to_pylist()}
    assert rows[2]["item_idxs"] == [1, 2, 1, 4]
    assert rows[2]["category_idxs"] == [1, 1, 79, 79], "a search and an item without one are unknown, a rare item not"
    assert rows[1]["category_idxs"] == [1, 79, 79, 2], "numbers wrap around at 65,534"
    assert rows[2]["price_buckets"] == [2 + 12] * 4
    assert price_buckets(np.array([np.nan, 0.0, 1.0, 1e30])).tolist() == [1, 2, 6, 127]
    short = cut_windows(histories([2, 3, 4], price=None), plan, catalogue(20)).to_pylist()[0]
    assert short["price_buckets"] == [0, 0, 1, 1]
    assert short["category_idxs"] == [0, 0, 1, 1]


HISTORY = (
    "user_id string, item_idxs array<int>, event_types array<tinyint>, event_tss array<bigint>, session_nos array<int>,"
    " prices array<float>, purchased array<int>"
)


def test_files_hold_one_split_each_and_do_not_depend_on_partitions(spark: SparkSession, tmp_path: Path) -> None:
    rng = np.random.default_rng(11)
    rows = []
    for n in range(60):
        past = rng.integers(2, 20, int(rng.integers(3, 40))).tolist()
        rows.append((f"u{n}", past, [1] * len(past), list(range(len(past))), [1] * len(past), [None] * len(past), []))
    settings = WindowSettings(length=8, stride=8, files=2, num_negatives=2, row_group_rows=32)
    plan = CutPlan(date(2024, 3, 1), 8, 8, 2, 7)
    found = []
    for partitions in (1, 5):
        frame = spark.createDataFrame(rows, HISTORY).repartition(partitions)
        folder = tmp_path / str(partitions) / "windows"
        told = stage_windows(frame, 100, plan, catalogue(20), folder, settings, "{}")
        found.append({row["path"]: (folder / row["path"]).read_bytes() for row in told})
        assert sum(check_splits(told, "windows").values()) == sum(row["num"] for row in told)
    assert found[0] == found[1], "the same files under the same names, byte by byte"
    assert len(found[0]) == 6
    files = [pq.ParquetFile(folder / path) for path in found[1]]
    for file, told_of in zip(files, told, strict=True):
        assert set(file.read().column("split").to_pylist()) == {told_of["bounds"][0]["split"]}
        assert {field.name for field in file.schema_arrow} == set(WINDOWS.schema.names) - {"run_date"}
        sizes = [file.metadata.row_group(n).num_rows for n in range(file.metadata.num_row_groups)]
        assert max(sizes) <= 32
        assert max(sizes) - min(sizes) < len(sizes), "row groups are even"
    ids = files[0].read().column("window_id").to_pylist()
    users = files[0].read().column("user_id").to_pylist()
    neighbours = sum(one == other for one, other in pairwise(users))
    assert neighbours < len(users) / 5, "a user's windows do not lie side by side"
    assert len(set(ids)) == len(ids)


def test_more_windows_than_a_file_holds_make_more_files(spark: SparkSession, tmp_path: Path) -> None:
    rows = [(f"u{n}", [2, 3], [1, 1], [0, 1], [1, 1], [None, None], []) for n in range(40)]
    settings = WindowSettings(length=8, stride=8, files=1, file_windows=10)
    plan = CutPlan(date(2024, 3, 1), 8, 8, 2, 7)
    told = stage_windows(spark.createDataFrame(rows, HISTORY), 40, plan, catalogue(20), tmp_path / "w", settings, "")
    assert len(told) == 4
    assert sum(row["num"] for row in told) == 40


def test_nothing_to_learn_from_is_refused(spark: SparkSession) -> None:
    frame = spark.createDataFrame([("ann", [2], [1], [0], [1], [None], [])], HISTORY)
    with pytest.raises(RefusedError, match="nothing to learn from"):
        check_material(frame, np.array([0, 0, 1]), WindowSettings(), date(2024, 3, 1))
    with pytest.raises(RefusedError, match="no training windows, 3 validation"):
        check_splits([{"num": 3, "bounds": ({"split": "validation"}, {}, {})}], "windows 2024-03-01")


def test_what_is_held_out_and_all_after_it_is_counted_as_windows_hold_it_out(spark: SparkSession) -> None:
    rng = np.random.default_rng(13)
    pasts = [rng.integers(1, 12, int(rng.integers(1, 9))).tolist() for _ in range(80)]
    kinds = [[4 if item == 1 else int(rng.integers(1, 4)) for item in past] for past in pasts]
    rows = [
        (f"u{n}", past, kinds[n], list(range(len(past))), [1] * len(past), [None] * len(past), [])
        for n, past in enumerate(pasts)
    ]
    for held_out in (HeldOut(), HeldOut(codes=(3,))):
        found = count_held_out(spark.createDataFrame(rows, HISTORY).repartition(3), 20, held_out)
        plain = {"test": np.zeros(20, dtype=int), "validation": np.zeros(20, dtype=int)}
        for past, codes in zip(pasts, kinds, strict=True):
            is_item = [item > 1 for item in past]
            may = [n for n, item in enumerate(past) if item > 1 and (held_out.codes is None or codes[n] == 3)]
            targets = [n for n in may[-2:][::-1] if sum(is_item[: n + 1]) >= 3]
            test = may[-1] if may and may[-1] in targets else len(past)
            for split, end in (("test", test), ("validation", min([test, *targets]))):
                for item in past[end:]:
                    plain[split][item] += item > 1
        assert {split: counts.tolist() for split, counts in found.items()} == {
            split: counts.tolist() for split, counts in plain.items()
        }
        assert plain["validation"].sum() > plain["test"].sum() > 0


def test_the_last_purchase_is_held_out_and_nothing_after_it_is_shown() -> None:
    plan = CutPlan(PLAN.run_date, LENGTH, LENGTH, 2, 7, HeldOut(codes=(3,)))
    batch = histories([2, 3, 4, 5, 6, 7, 8], [2, 3, 4], kinds=[[1, 1, 1, 3, 1, 3, 1], [1, 1, 1]])
    rows = {(row["user_id"], row["window_no"]): row for row in cut_windows(batch, plan, catalogue(20)).to_pylist()}
    assert (rows["u0", 0]["item_idxs"], rows["u0", 0]["target_idxs"]) == ([3, 4, 5, 6], [0, 0, 0, 7])
    assert (rows["u0", 0]["relevant_idxs"], rows["u0", 0]["relevant_types"]) == ([7], [3])
    assert (rows["u0", 1]["item_idxs"], rows["u0", 1]["target_idxs"]) == ([0, 2, 3, 4], [0, 0, 0, 5])
    assert (rows["u0", 2]["item_idxs"], rows["u0", 2]["target_idxs"]) == ([0, 0, 2, 3], [0, 0, 3, 4])
    assert rows["u0", 0]["seen_idxs"] == [2, 3, 4, 5, 6]
    assert rows["u1", 2]["target_idxs"] == [0, 0, 3, 4], "who bought nothing trains on all"
    assert len(rows) == 4


def test_a_cut_by_date_wants_all_items_of_the_period() -> None:
    rows = by_date([2, 3, 4, 5, 4, 6, 7], minutes=[[0, 1, 10, 11, 12, 20, 21]], validation=10, test=20)
    assert rows["u0", 1]["relevant_idxs"] == [4, 5, 4]
    assert rows["u0", 0]["relevant_idxs"] == [6, 7]
    assert rows["u0", 1]["seen_idxs"] == [2, 3]
    assert rows["u0", 2]["relevant_idxs"] == rows["u0", 2]["seen_idxs"] == []


def test_who_only_looked_in_a_period_before_buying_is_shown_nothing_of_the_period() -> None:
    how = HeldOut("date", (3,), 10 * MINUTE, 20 * MINUTE)
    plan = CutPlan(PLAN.run_date, LENGTH, LENGTH, 2, 7, how)
    kinds, minutes = [[1, 1, 1, 1, 3, 1, 3], [1, 1, 3]], [[0, 1, 10, 20, 21, 22, 23], [20, 21, 22]]
    batch = histories([2, 3, 4, 5, 5, 6, 3], [7, 8, 8], kinds=kinds, minutes=minutes)
    rows = {(row["user_id"], row["window_no"]): row for row in cut_windows(batch, plan, catalogue(20)).to_pylist()}
    assert set(rows) == {("u0", 0), ("u0", 2)}, "nothing was bought in validation, and u1 did nothing before"
    assert (rows["u0", 0]["item_idxs"], rows["u0", 0]["target_idxs"]) == ([0, 2, 3, 4], [0, 0, 0, 0])
    assert (rows["u0", 0]["relevant_idxs"], rows["u0", 0]["seen_idxs"]) == ([5, 3], [2, 3, 4])
    assert rows["u0", 0]["relevant_repeats"] == [0, 1], "5 was looked at within the period only"


def test_repeats_are_told_from_the_whole_past() -> None:
    last = cut_windows(histories([9, 2, 3, 4, 5, 6, 9], [2, 3, 4, 5]), PLAN, catalogue(20, 9)).to_pylist()
    found = {(row["user_id"], row["window_no"]): row["relevant_repeats"] for row in last if row["window_no"] < 2}
    assert found == {("u0", 0): [1], ("u0", 1): [0], ("u1", 0): [0], ("u1", 1): [0]}, "rare, and beyond the window"
    minutes = [[0, *range(20, 28)]]
    plan = CutPlan(PLAN.run_date, LENGTH, LENGTH, 2, 7, HeldOut("sessions", None, 10 * MINUTE, 20 * MINUTE))
    steps = cut_windows(histories([2, 7, 3, 4, 8, 5, 9, 7, 6], minutes=minutes), plan, catalogue(20, 7)).to_pylist()
    assert (steps[0]["relevant_idxs"], steps[0]["relevant_repeats"]) == ([5, 7, 6], [0, 1, 0])


def test_steps_of_sessions_are_held_out_but_for_their_first_events() -> None:
    # Sessions are of three events: 2 3 4, 5 1 6, 7 8 9.
    minutes = [[0, 1, 2, 10, 11, 12, 20, 21, 22]]
    plan = CutPlan(PLAN.run_date, LENGTH, LENGTH, 2, 7, HeldOut("sessions", None, 10 * MINUTE, 20 * MINUTE))
    batch = histories([2, 3, 4, 5, 1, 6, 7, 8, 9], minutes=minutes)
    rows = {row["window_no"]: row for row in cut_windows(batch, plan, catalogue(20)).to_pylist()}
    assert (rows[0]["item_idxs"], rows[0]["target_idxs"]) == ([1, 6, 7, 8], [0, 0, 8, 9])
    assert (rows[1]["item_idxs"], rows[1]["target_idxs"]) == ([3, 4, 5, 1], [0, 0, 0, 6]), "a search is no step"
    assert (rows[2]["item_idxs"], rows[2]["target_idxs"]) == ([0, 0, 2, 3], [0, 0, 3, 4])
    assert (rows[0]["relevant_idxs"], rows[0]["relevant_types"]) == ([8, 9], [1, 1])
    assert rows[0]["seen_idxs"] == [2, 3, 4, 5, 6, 7, 8]
    long = cut_windows(histories(list(range(2, 12)), minutes=[[0, *range(20, 29)]]), plan, catalogue(20)).to_pylist()
    assert long[0]["target_idxs"] == [7, 0, 9, 10]
    assert long[0]["relevant_idxs"] == [7, 9, 10], "steps that the window has no room for are nowhere"


def test_windows_cut_with_other_settings_are_refused_with_the_difference(spark: SparkSession, tmp_path: Path) -> None:
    rows = [(f"u{n}", [2, 3, 4, 5], [1] * 4, list(range(4)), [1] * 4, [None] * 4, []) for n in range(5)]
    settings = load_settings("conf/local.yaml", ["window.length=8", "window.num_negatives=2"], lake=str(tmp_path))
    lake, plan = Lake(spark, str(tmp_path)), CutPlan(date(2024, 3, 1), 8, 8, 2, 7)
    check_made_with(lake, plan.run_date, settings)
    frame, staging = spark.createDataFrame(rows, HISTORY), lake.staging(WINDOWS)
    told = stage_windows(frame, 20, plan, catalogue(20), staging, settings.window, made_with(settings))
    lake.commit_date(WINDOWS, new_files(told, WINDOWS), plan.run_date, keep_days=7)
    check_made_with(lake, plan.run_date, settings)
    other = load_settings("conf/local.yaml", ["window.length=8", "window.num_negatives=3", "run.seed=8"])
    with pytest.raises(RefusedError, match=r"run.seed was 7 and is 8 now; window.num_negatives was 2 and is 3 now"):
        check_made_with(lake, plan.run_date, other)
    for file in (tmp_path / "windows").glob("run_date=*/*.parquet"):
        pq.write_table(pq.ParquetFile(file).read().drop_columns("relevant_repeats"), file)
    with pytest.raises(
        RefusedError, match=r"an earlier version \(relevant_repeats is missing\); run 'make window DATE"
    ):
        check_made_with(lake, plan.run_date, settings)


def test_a_date_cut_again_replaces_its_windows_and_old_dates_go(spark: SparkSession, tmp_path: Path) -> None:
    lake, settings = Lake(spark, str(tmp_path)), WindowSettings(length=8, files=1)

    def cut(day: int, *pasts: list[int]) -> None:
        rows = [(f"u{n}", p, [1] * len(p), list(range(len(p))), [1] * len(p), [None] * len(p), []) for n, p in
                enumerate(pasts)]  # fmt: skip
        plan = CutPlan(date(2024, 3, day), 8, 8, 2, 7)
        frame = spark.createDataFrame(rows, HISTORY)
        told = stage_windows(frame, 20, plan, catalogue(20), lake.staging(WINDOWS), settings, "{}")
        lake.commit_date(WINDOWS, new_files(told, WINDOWS), plan.run_date, keep_days=2)

    def users(day: int) -> list[str]:
        found = lake.read(WINDOWS).where(f"run_date = '2024-03-0{day}'").select("user_id").distinct().collect()
        return sorted(row["user_id"] for row in found)

    cut(1, [2, 3], [4, 5])
    assert users(1) == ["u0", "u1"]
    cut(1, [2, 3])
    assert users(1) == ["u0"]
    # The same files as at first, by their names: they are there, and were removed in between.
    cut(1, [2, 3], [4, 5])
    cut(1, [2, 3], [4, 5])
    assert users(1) == ["u0", "u1"]
    cut(2, [6, 7])
    assert (users(1), users(2)) == (["u0", "u1"], ["u0"])
    cut(3, [6, 7])
    assert (users(1), users(2), users(3)) == ([], ["u0"], ["u0"])

"""From held-out windows to figures: cases, slices, sums and intervals, against a slow plain version."""

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from pyspark.sql import SparkSession

from sparkrec.evaluate.cases import case_states, cases_of
from sparkrec.evaluate.figures import metrics_of, summed
from sparkrec.evaluate.gains import METRICS, NO_RANK, gains_of
from sparkrec.evaluate.held_out import _drawn, rank_tile, sums_of_held_out
from sparkrec.evaluate.membership import _interest
from sparkrec.evaluate.ranked import Ranked, figures_of_ranks, gains_of_ranks
from sparkrec.evaluate.slices import NAMES, NUMBER, popularity_classes
from sparkrec.evaluate.sums import SUMS, Sums
from sparkrec.models.store import load_model
from sparkrec.tables import WINDOWS
from sparkrec.window.cut import CutPlan, cut_windows
from sparkrec.window.rows import LAST_ITEMS, HeldOut
from tests.contests import VOCABULARY, contest, of_split, untrained
from tests.pasts import LENGTH, catalogue, histories

DAY = date(2024, 3, 1)
MINUTE = 60_000_000


def held_out(*pasts: list[int], how: HeldOut = LAST_ITEMS, **more: Any) -> pa.RecordBatch:
    plan = CutPlan(DAY, LENGTH, LENGTH, 1, 7, how)
    return of_split(cut_windows(histories(*pasts, **more), plan, catalogue(VOCABULARY)), "test")


def test_an_earlier_model_reads_items_that_it_does_not_know_as_unknown(tmp_path: Path) -> None:
    told = contest({"m": untrained(tmp_path / "m", LENGTH, vocabulary=10, known=9)})

    def test_rank(*past: int) -> int:
        ((_, found),) = rank_tile(held_out(list(past)), [*told.by_model(), *told.by_popularity("test")], told)
        return int(found.rank_KP[0, 0])

    # 25 lies beyond its vocabulary, 9 was too rare; 1 stands for both.
    assert test_rank(2, 25, 9, 4, 5) == test_rank(2, 1, 1, 4, 5)
    assert test_rank(2, 3, 6, 4, 25) == NO_RANK


def test_a_row_of_a_period_is_one_case_with_its_different_items() -> None:
    how = HeldOut("date", None, 5 * MINUTE, 10 * MINUTE)
    kinds, minutes = [[1, 1, 1, 1, 3, 1]], [[0, 1, 10, 11, 12, 13]]
    rows = held_out([2, 3, 4, 3, 4, 5], how=how, kinds=kinds, minutes=minutes)
    cases = cases_of(rows, by_steps=False)
    assert cases.sought.item_P.tolist() == [3, 4, 5]
    assert cases.type_P.tolist() == [1, 1, 1], "the first event on an item tells its kind"
    assert cases.is_repeat_P.tolist() == [1, 0, 0]
    assert cases.sought.item_X.tolist() == [2, 3, 4, 5]
    assert cases.row_C.tolist() == [0]


def test_each_step_of_a_session_is_a_case_where_all_items_compete(tmp_path: Path) -> None:
    how = HeldOut("sessions", None, 10 * MINUTE, 20 * MINUTE)
    minutes = [[0, 1, 2, 20, 21, 22], [0, 1, 2, 20, 21, 22]]
    rows = held_out([2, 3, 4, 5, 3, 5], [6, 7, 8, 9, 10, 11], how=how, minutes=minutes)
    cases = cases_of(rows, by_steps=True)
    assert cases.row_C.tolist() == [0, 0, 1, 1]
    assert cases.sought.item_P.tolist() == [3, 5, 10, 11]
    assert cases.sought.item_X.tolist() == [3, 5, 10, 11]
    assert cases.is_repeat_P.tolist() == [1, 1, 0, 0], "touched before the session, and in it"
    model = load_model(untrained(tmp_path / "m", LENGTH))
    with torch.inference_mode():
        found = case_states(model, rows, cases)
        one_shorter = held_out([2, 3, 4, 5, 3], [6, 7, 8, 9, 10], how=how, minutes=[row[:-1] for row in minutes])
        before = case_states(model, one_shorter, cases_of(one_shorter, by_steps=True))
        # The state of a step does not know the steps after it; positions are counted from the newest event, though.
        assert before.shape == (2, 8)
        short = load_model(untrained(tmp_path / "short", 2))
        of_short = case_states(short, rows, cases)
        by_itself = case_states(short, one_shorter, cases_of(one_shorter, by_steps=True))
    assert found.shape == of_short.shape == (4, 8)
    assert torch.allclose(of_short[[0, 2]], by_itself, atol=1e-6), "a shorter model sees each step as the last"


def plain_sums(ranked: list[Ranked], top_k: list[int]) -> dict[tuple[int, int, int], tuple[float, float, float]]:
    """Mean over cases and its interval, by slice, contestant (-1 is the difference of the first two) and column."""
    found = {}
    slices = {int(number) for part in ranked for number in part.slice_Q}
    for number in slices:
        gains: list[tuple[int, np.ndarray, np.ndarray]] = []
        for shift, part in enumerate(ranked):
            for case in np.unique(part.case_P):
                of_case = [q for q in range(len(part.pair_Q)) if part.slice_Q[q] == number]
                pairs = [int(part.pair_Q[q]) for q in of_case if part.case_P[part.pair_Q[q]] == case]
                if pairs:
                    own = [
                        gains_of(np.zeros(len(pairs), dtype=int), ranks[pairs], 1, top_k)[0] for ranks in part.rank_KP
                    ]
                    gains.append((1000 * shift + int(part.user_C[case]), own[0], own[1]))
        users = sorted({user for user, _, _ in gains})
        for contestant, gain in enumerate([lambda g: g[1], lambda g: g[2], lambda g: g[1] - g[2]]):
            values = np.array([gain(g) for g in gains])
            mean = values.mean(axis=0)
            residual = np.array([sum(gain(g) - mean for g in gains if g[0] == user) for user in users])
            spread = np.sqrt((residual**2).sum(axis=0) * len(users) / (len(users) - 1)) / len(gains)
            for column in range(len(mean)):
                found[number, contestant, column] = (mean[column], spread[column], len(users))
    return found


def test_figures_and_intervals_equal_the_plain_ones(spark: SparkSession) -> None:
    rng = np.random.default_rng(5)
    parts, top_k = [], [1, 5]
    for _ in range(3):
        user_C = np.sort(rng.integers(0, 12, 20))
        case_P = np.sort(rng.integers(0, 20, 40))
        rank_KP = np.stack([rng.permutation(40) // 3 + np.arange(40) * 7 % 11 + 1 for _ in range(2)])
        pair_Q = np.sort(np.concatenate([np.arange(40), rng.integers(0, 40, 30)]))
        slice_Q = np.where(np.r_[True, pair_Q[1:] != pair_Q[:-1]], 0, rng.integers(1, 3, len(pair_Q)))
        parts.append(Ranked(user_C, case_P, rank_KP, pair_Q, slice_Q))
    frames = []
    for chosen in (parts[:2], parts[2:]):
        sums = Sums(figures_of_ranks(["m", "popular"], [(0, 1)], top_k), ["all", "some", "others"])
        for part in chosen:
            sums.add(*gains_of_ranks(part, 3, [(0, 1)], top_k))
        frames += [batch.to_pandas() for batch in sums.rows("test", "leave_one_out_full")]
    frame = spark.createDataFrame(frames[0], SUMS).union(spark.createDataFrame(frames[1], SUMS))
    rows = metrics_of([summed(frame)], DAY).collect()
    found = {(r["slice"], r["model_version"], r["against"], r["metric"], r["k"]): r for r in rows}
    plain = plain_sums(parts, top_k)
    assert len(found) == len(plain) == 3 * 3 * len(METRICS) * 2
    names = [("m", ""), ("popular", ""), ("m", "popular")]
    for (number, contestant, column), (value, spread, users) in plain.items():
        row = found[["all", "some", "others"][number], *names[contestant], METRICS[column // 2], top_k[column % 2]]
        assert row["value"] == pytest.approx(value, abs=1e-12)
        ends = (value - 1.959964 * spread, value + 1.959964 * spread)
        assert (row["low"], row["high"]) == (pytest.approx(ends, abs=1e-6) if spread > 1e-9 else (None, None))
        assert row["num_users"] == users


def test_a_single_user_has_no_interval(spark: SparkSession) -> None:
    sums = Sums(figures_of_ranks(["m", "popular"], [(0, 1)], [5]), ["all"])
    one = np.zeros(1, dtype=int)
    sums.add(*gains_of_ranks(Ranked(one, one, np.array([[1], [9]]), one, one), 1, [(0, 1)], [5]))
    (batch,) = sums.rows("test", "p")
    rows = summed(spark.createDataFrame(batch.to_pandas(), SUMS)).where("metric = 'hr'").collect()
    assert {(r["model_version"], r["against"]): (r["value"], r["low"], r["high"]) for r in rows} == {
        ("m", ""): (1, None, None), ("popular", ""): (0, None, None), ("m", "popular"): (1, None, None)
    }  # fmt: skip


def test_slices_hold_what_their_rules_say(tmp_path: Path) -> None:
    told = contest({"m": untrained(tmp_path / "m", LENGTH)})
    long = [2 + n % 9 for n in range(24)]
    rows = held_out([2, 3, 4], [5, 6, 7, 8, 9, 10, 29], long, kinds=[[1, 1, 3], [1] * 7, [1] * 24])
    ((_, found),) = rank_tile(rows, [*told.by_model(), *told.by_popularity("test")], told)
    of_case: dict[str, set[str]] = {}
    users = rows.column("user_id").to_pylist()
    for pair, number in zip(found.pair_Q.tolist(), found.slice_Q.tolist(), strict=True):
        of_case.setdefault(users[found.user_C[found.case_P[pair]]], set()).add(NAMES[number])
    assert of_case == {
        "u0": {"all", "novel", "users new", "items head", "event purchase"},
        "u1": {"all", "novel", "users light", "items tail", "event view"},
        "u2": {"all", "repeat", "users heavy", "items head", "event view"},
    }


def test_slices_of_a_step_know_nothing_of_the_steps_after_it(tmp_path: Path) -> None:
    how = HeldOut("sessions", None, 5 * MINUTE, 7 * MINUTE)
    plan = CutPlan(DAY, 16, 16, 1, 7, how)
    past, minutes = [2, 3, 4, *range(5, 29)], [[0, 1, 2, *range(8, 32)]]
    categories = [-1] * 2 + [7] * 20 + [8] * (VOCABULARY - 22)
    rows = of_split(
        cut_windows(histories(past, minutes=minutes), plan, catalogue(VOCABULARY, categories=categories)), "test"
    )
    told = contest({"m": untrained(tmp_path / "m", 16)}, cases_per_row=16)
    ((_, found),) = rank_tile(rows, [*told.by_model(), *told.by_popularity("test")], told)
    named: dict[int, set[str]] = {}
    for pair, number in zip(found.pair_Q.tolist(), found.slice_Q.tolist(), strict=True):
        named.setdefault(int(found.case_P[pair]), set()).add(NAMES[number])
    before = [past.index(int(item)) for item in rows.column("relevant_idxs")[0].as_py()]
    assert before[0] == 11 and before[-1] == 26
    for case, num in enumerate(before):
        assert (("users light" in named[case]), ("users heavy" in named[case])) == (num <= 20, num > 20)
        known = past[10:num]  # what the window shows
        if len(known) >= 10:
            is_shift = not {categories[item] for item in known[-5:]} & {categories[item] for item in known[:-5]}
            assert ("interest shift" in named[case]) == is_shift
        else:
            assert not {"interest shift", "interest steady"} & named[case]
    assert any("interest shift" in names for names in named.values())


def test_steps_are_ranked_among_items_that_are_not_the_users_own_and_others_each_time(tmp_path: Path) -> None:
    how = HeldOut("sessions", None, 5 * MINUTE, 7 * MINUTE)
    rows = held_out([2, 3, 4, 5, 6, 7, 8], how=how, minutes=[[0, 1, 2, 8, 9, 10, 11]])
    told = contest({}, cases_per_row=LENGTH, drawn=12)
    cases = cases_of(rows, by_steps=True)
    drawn = _drawn(rows, cases, 12, told).tolist()
    assert len(drawn) == 2
    assert not {item for items in drawn for item in items} & {2, 3, 4, 5, 6, 7}
    assert set(drawn[0]) != set(drawn[1])


def test_head_and_tail_hold_their_share_of_events() -> None:
    counts = np.array([0, 0, 50, 1, 20, 9, 10, 10, 0])
    names = [NAMES[number] for number in popularity_classes(counts)]
    assert names[2] == "items head"
    assert [names[n] for n in (4, 6)] == ["items middle"] * 2
    assert [names[n] for n in (7, 5, 3, 8)] == ["items tail"] * 4


def test_interest_shifts_where_the_newest_categories_are_new(tmp_path: Path) -> None:
    rows = np.array([
        [2, 2, 3, 3, 2, 4, 4, 4, 5, 4],
        [2, 2, 3, 3, 2, 4, 4, 4, 5, 3],
        [0, 2, 3, 3, 2, 4, 4, 4, 5, 4],
        [1, 2, 3, 3, 2, 4, 4, 4, 5, 4],
    ])  # fmt: skip
    assert _interest(rows).tolist() == [NUMBER["interest shift"], NUMBER["interest steady"], -1, -1]


def test_figures_do_not_depend_on_partitions_or_tiles(spark: SparkSession, tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    plan = CutPlan(DAY, LENGTH, LENGTH, 1, 7)
    pasts = [rng.integers(2, VOCABULARY, int(rng.integers(3, 12))).tolist() for _ in range(60)]
    windows = cut_windows(histories(*pasts), plan, catalogue(VOCABULARY))
    rows = pa.Table.from_batches([windows]).select([n for n in WINDOWS.schema.names if n != "run_date"])
    models = {"m": untrained(tmp_path / "m", LENGTH), "old": untrained(tmp_path / "old", LENGTH, architecture="caser")}

    def figures(partitions: int, tile_users: int) -> dict[Any, tuple[float, int]]:
        told = contest(models, drawn=5, tile_users=tile_users)
        frame = spark.createDataFrame(rows).repartition(partitions)
        found = summed(sums_of_held_out(frame, told)).collect()
        return {tuple(r[:7]): (r["value"], r["num_users"]) for r in found}

    once, again = figures(1, 64), figures(5, 7)
    assert once.keys() == again.keys()
    assert all(once[key] == pytest.approx(again[key], abs=1e-12) for key in once)
    assert {(key[0], key[1]) for key in once} == {
        (split, f"leave_one_out_{ranking}") for split in ("test", "validation") for ranking in ("full", "sampled_5")
    }
    assert {(key[3], key[4]) for key in once} == {
        ("m", ""), ("old", ""), ("popular", ""), ("m", "old"), ("m", "popular")
    }  # fmt: skip
    full, drawn = (
        once["test", f"leave_one_out_{ranking}", "all", "m", "", "hr", 5] for ranking in ("full", "sampled_5")
    )
    assert full[0] < drawn[0] == 1 or drawn[0] > full[0], "among fewer items it is easier"

"""A trained model finds the known answer; what cannot be trained on stops the job and leaves the models alone."""

import json
import logging
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
import torch.distributed as dist
from pyspark.sql import SparkSession

from sparkrec.errors import SparkrecError
from sparkrec.evaluate.cases import case_opinions, case_states, cases_of
from sparkrec.evaluate.ranks import full_ranks
from sparkrec.models.registry import ARCHITECTURES, LEARNT, build_model
from sparkrec.models.shape import ModelShape
from sparkrec.models.store import has_model, load_model, read_weights
from sparkrec.train import objective
from sparkrec.train.average import Average
from sparkrec.train.launch import OF_RANKS, check_finished, train_or_reuse
from sparkrec.train.losses import full_softmax
from sparkrec.train.place import Place, join, threads_for
from sparkrec.train.progress import EndedError, mark_done, mark_failed
from sparkrec.train.rank import train_rank
from sparkrec.train.schedule import batch_for, epochs_for
from sparkrec.train.training import Training
from sparkrec.train.untrained import untrained
from tests.boards import SQUARES, all_known, changed, checkerboard, plan_for, split, write_files


@pytest.fixture(scope="module")
def board() -> pa.Table:
    return checkerboard()


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """What torchrun sets for a single rank."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "RANK": 0, "WORLD_SIZE": 1, "LOCAL_RANK": 0}
    for name, value in told.items():
        monkeypatch.setenv(name, str(value))


def share_found(folder: Path, board: pa.Table) -> float:
    model = load_model(str(folder))
    (test,) = split(board, "test").combine_chunks().to_batches()
    cases = cases_of(test, by_steps=False)
    with torch.inference_mode():
        state_CD, opinions = case_states(model, test, cases), case_opinions(model, test, cases)
        score_CV = model.all_pair_scores(state_CD) if model.scores_pairs else model.scores(state_CD)
        if opinions is not None:
            opinions.add_to(score_CV)
        rank_P = full_ranks(score_CV, cases.sought)
    return float((rank_P == 1).double().mean())


@pytest.mark.parametrize("architecture", [name for name in LEARNT if ARCHITECTURES[name].reads_past])
def test_a_trained_model_finds_the_next_square_of_the_checkerboard(
    board: pa.Table, tmp_path: Path, architecture: str
) -> None:
    plan = plan_for(board, tmp_path, architecture)
    train_rank(str(plan.attempt))
    assert has_model(plan.folder)
    assert share_found(plan.folder, board) > 0.95


@pytest.mark.parametrize(
    ("quick", "temperature", "wanted"),
    [
        (True, 0.07, (True, True)),
        (False, 0.07, (False, False)),
        (True, 0.02, (True, False)),
        (True, None, (True, False)),
    ],
)
def test_hardware_that_multiplies_bfloat16_does_so_where_scores_can_bear_it(
    board: pa.Table,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    quick: bool,
    temperature: float | None,
    wanted: tuple[bool, bool],
) -> None:
    seen = set()

    def recorded(*inputs: Any) -> torch.Tensor:
        seen.add((torch.is_autocast_enabled("cpu"), inputs[-1]))
        return full_softmax(*inputs)

    monkeypatch.setattr("sparkrec.train.training.multiplies_bfloat16", lambda device: quick)
    monkeypatch.setattr(objective, "full_softmax", recorded)
    plan = plan_for(board, tmp_path, temperature=temperature)
    train_rank(str(plan.attempt))
    assert seen == {wanted}
    assert share_found(plan.folder, board) > 0.95
    weights = read_weights(plan.folder).values()
    assert {values.dtype for values in weights if values.is_floating_point()} == {torch.float32}


def test_an_ensemble_finds_the_next_square_and_every_member_learns(board: pa.Table, tmp_path: Path) -> None:
    plan = plan_for(board, tmp_path, members=2, heads=["next_action"])
    before = untrained(plan, all_known(), Place(0, 1, torch.device("cpu"))).state_dict()
    train_rank(str(plan.attempt))
    assert share_found(plan.folder, board) > 0.95
    learnt = dict(load_model(str(plan.folder)).named_parameters())
    assert {name.split(".")[0] for name in learnt} == {"members", "actions"}
    assert not [name for name, values in learnt.items() if torch.equal(before[name], values)]


def test_every_member_is_told_of_the_attributes(board: pa.Table, tmp_path: Path) -> None:
    plan = plan_for(board, tmp_path, members=2)
    plan = replace(plan, shape=replace(plan.shape, num_attributes=2, max_attributes=1))
    told = torch.arange(plan.shape.vocabulary_size)[:, None] % 3
    vocabulary = replace(all_known(), attributes=told, attribute_keys=torch.tensor([0, -5, 9]))
    parts = untrained(plan, vocabulary, Place(0, 1, torch.device("cpu"))).parts
    assert len(parts) == 2
    for part in parts:
        assert torch.equal(part.items.attributes_VA, told)
        assert part.items.attribute_keys.tolist() == [0, -5, 9]


@pytest.mark.parametrize("architecture", [name for name in LEARNT if not ARCHITECTURES[name].reads_past])
def test_a_model_of_users_alone_finds_their_colour(board: pa.Table, tmp_path: Path, architecture: str) -> None:
    plan = plan_for(board, tmp_path, architecture, num_users=4096)
    train_rank(str(plan.attempt))
    model = load_model(str(plan.folder))
    (test,) = split(board, "test").combine_chunks().to_batches()
    cases = cases_of(test, by_steps=False)
    with torch.inference_mode():
        best_CN = model.all_pair_scores(case_states(model, test, cases)).topk(SQUARES // 2, dim=1).indices
    same_colour_CN = best_CN % 2 == cases.sought.item_P[:, None] % 2
    assert float(same_colour_CN.double().mean()) > 0.75, "half of them by chance"


@pytest.mark.parametrize("architecture", ["sasrec", "cnn_hybrid", "long_only"])
@pytest.mark.parametrize("loss", ["softmax", "binary"])
def test_every_weight_is_reached_with_all_heads_on(
    board: pa.Table, tmp_path: Path, architecture: str, loss: str
) -> None:
    heads = ["purchase", "next_action", *([] if architecture == "long_only" else ["own_action"])]
    plan = plan_for(board, tmp_path, architecture, loss=loss, heads=heads, max_epochs=1)
    before = untrained(plan, all_known(), Place(0, 1, torch.device("cpu"))).state_dict()
    train_rank(str(plan.attempt))
    after = load_model(str(plan.folder)).state_dict()
    learnt = dict(load_model(str(plan.folder)).named_parameters())
    assert not [name for name in learnt if torch.equal(before[name], after[name])]
    assert {name.split(".")[0] for name in learnt} >= {"purchase", "actions"}


@pytest.mark.parametrize("loss", ["in_batch_softmax", "sampled_softmax", "binary", "generalised_binary", "pairwise"])
def test_every_loss_finds_it(board: pa.Table, tmp_path: Path, loss: str) -> None:
    plan = plan_for(board, tmp_path, loss=loss, max_epochs=40, learning_rate=0.01)
    train_rank(str(plan.attempt))
    assert share_found(plan.folder, board) > 0.95


def test_a_refit_trains_on_what_was_held_out(board: pa.Table, tmp_path: Path) -> None:
    plan = plan_for(board, tmp_path)
    everything = plan.training_set.everything()
    assert everything.num_rows == len(board)
    train_rank(str(changed(plan, fixed_epochs=2).attempt))
    assert has_model(plan.folder)
    with pytest.raises(SparkrecError, match="handed over in a pass"):
        train_rank(
            str(
                changed(
                    plan_for(board, tmp_path / "two"),
                    fixed_epochs=1,
                    training_set=replace(plan.training_set, test=replace(plan.training_set.test, sum_of_ids=1)),
                ).attempt
            )
        )


def test_a_refit_learns_nothing_of_targets_that_are_too_rare(board: pa.Table, tmp_path: Path) -> None:
    plan = plan_for(board, tmp_path, loss="softmax")
    vocabulary = all_known()
    vocabulary.is_known[5] = False
    train_rank(str(changed(plan, vocabulary, fixed_epochs=2).attempt))
    losses = [loss for loss, _ in json.loads((plan.folder / "training.json").read_text())["history"]]
    assert max(losses) < 5, "a target without a finite score would make the loss infinite"


def test_without_anybody_to_validate_on_the_last_epoch_is_kept(board: pa.Table, tmp_path: Path) -> None:
    plan = plan_for(board, tmp_path, max_epochs=3, patience=1, warmup_steps=0)
    nobody = write_files(tmp_path / "nobody", board.slice(0, 0), 0, 64)
    train_rank(str(changed(plan, training_set=replace(plan.training_set, validation=nobody)).attempt))
    told = json.loads((plan.folder / "training.json").read_text())
    assert (told["epochs"], told["best_epoch"]) == (3, 3)


@pytest.mark.parametrize("missing", ["rows", "ids"])
def test_a_feed_that_loses_or_swaps_windows_stops_the_job(board: pa.Table, tmp_path: Path, missing: str) -> None:
    plan = plan_for(board, tmp_path)
    train = plan.training_set.train
    wrong = replace(train, num_rows=train.num_rows + 1) if missing == "rows" else replace(train, sum_of_ids=1)
    plan = changed(plan, training_set=replace(plan.training_set, train=wrong))
    with pytest.raises(SparkrecError, match="handed over in a pass"):
        train_rank(str(plan.attempt))
    assert not plan.folder.exists()
    assert "handed over" in (plan.attempt / "failed-0").read_text()


def test_a_loss_that_is_no_number_stops_the_job_and_keeps_the_last_good_checkpoint(
    board: pa.Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_for(board, tmp_path, checkpoint_steps=2)
    honest, calls = objective.full_softmax, []

    def poisoned(*args: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return honest(*args) * (float("nan") if len(calls) == 6 else 1.0)

    monkeypatch.setattr(objective, "full_softmax", poisoned)
    with pytest.raises(SparkrecError, match=r"loss nan.* at step 6 \(epoch 1, batch 6 of .*checkpoint-0000000004"):
        train_rank(str(plan.attempt))
    assert not plan.folder.exists()
    weights = read_weights(plan.attempt / "checkpoint-0000000004")
    assert all(torch.isfinite(values).all() for values in weights.values() if values.is_floating_point())


def test_items_too_rare_to_be_known_are_never_scored(board: pa.Table, tmp_path: Path) -> None:
    plan = plan_for(board, tmp_path, max_epochs=1)
    vocabulary = all_known()
    vocabulary.is_known[5] = False
    train_rank(str(changed(plan, vocabulary).attempt))
    model = load_model(str(plan.folder))
    scores = model.scores(torch.ones(1, 32))
    assert torch.isinf(scores[0, [0, 1, 5]]).all()
    assert torch.isfinite(scores[0, 6:]).all()


def test_the_rank_to_blame_is_told(tmp_path: Path) -> None:
    mark_done(tmp_path, 0)
    with pytest.raises(SparkrecError, match=r"1 of 2 ranks did not finish.*rank 1: ended without a word"):
        check_finished(tmp_path, 2, None)
    (tmp_path / "done-0").unlink()
    mark_failed(tmp_path, 0, RuntimeError("[gloo/transport/tcp/pair.cc] Connection closed by peer"), "trace")
    with pytest.raises(SparkrecError, match=r"\(rank 1: ended without a word[^;]*\); the models in use"):
        check_finished(tmp_path, 2, None)
    mark_failed(tmp_path, 1, EndedError("ended by torchrun"), "trace")
    with pytest.raises(SparkrecError, match=r"rank 0: RuntimeError.*; rank 1: EndedError"):
        check_finished(tmp_path, 2, None)
    (tmp_path / "failed-0").write_text("")
    with pytest.raises(SparkrecError, match=r"\(rank 0: ended without a word[^;]*\); the models in use"):
        check_finished(tmp_path, 2, None)
    mark_failed(tmp_path, 1, ValueError("odd batch"), "trace")
    with pytest.raises(SparkrecError, match=r"\(rank 1: ValueError: odd batch\)"):
        check_finished(tmp_path, 2, None)
    (tmp_path / "failed-0").unlink()
    (tmp_path / "failed-1").unlink()
    with pytest.raises(SparkrecError, match=r"no rank has come up.*Spark says: too few slots"):
        check_finished(tmp_path, 2, RuntimeError("too few slots\nfor a barrier stage"))
    mark_done(tmp_path, 0)
    mark_done(tmp_path, 1)
    check_finished(tmp_path, 2, None)
    check_finished(tmp_path, 2, RuntimeError("aborted at the interpreter's end"))


def test_a_port_in_use_is_told(board: pa.Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_for(board, tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setenv("MASTER_PORT", str(taken.getsockname()[1]))
        with pytest.raises(SparkrecError, match="the port is in use, name another"):
            train_rank(str(plan.attempt))


def test_a_folder_without_a_plan_is_told(tmp_path: Path) -> None:
    with pytest.raises(SparkrecError, match="no training is planned there"):
        train_rank(str(tmp_path))


def test_ranks_inherit_how_threads_wait_and_memory_is_kept_unless_it_is_told_otherwise(
    spark: SparkSession, board: pa.Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in OF_RANKS:
        monkeypatch.setenv(name, "1")  # so that it is put back
        monkeypatch.delenv(name)
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1")
    plan = plan_for(board, tmp_path, max_epochs=1)
    seen = []

    class Distributor:
        logger = logging.getLogger("none")

        def __init__(self, **_: object) -> None:
            pass

        def run(self, *_: object) -> None:
            seen.append({name: os.environ[name] for name in OF_RANKS})
            raise RuntimeError("enough")

    monkeypatch.setattr("sparkrec.train.launch.TorchDistributor", Distributor)
    with pytest.raises(SparkrecError, match="did not finish"):
        train_or_reuse(spark, plan, all_known(), all_known())
    assert seen == [{**OF_RANKS, "MALLOC_TRIM_THRESHOLD_": "1"}]
    assert OF_RANKS["OMP_WAIT_POLICY"] == "passive"


def test_a_rank_that_failed_leaves_at_once_whatever_the_interpreters_end_would_wait_for(tmp_path: Path) -> None:
    hangs = "import atexit, time; atexit.register(time.sleep, 300); from sparkrec.train.rank import train_rank_alone"
    command = [sys.executable, "-c", f"{hangs}; train_rank_alone({str(tmp_path)!r}, under_spark=False)"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert "no training is planned there" in ended.stderr


@pytest.mark.parametrize(("cpus", "ranks", "threads"), [(16, 1, 8), (16, 4, 2), (2, 1, 1), (2, 2, 1), (None, 1, 1)])
def test_ranks_share_half_the_cpus_and_have_a_thread_at_least(
    cpus: int | None, ranks: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: cpus)
    assert threads_for(ranks) == threads


def test_how_long_a_training_is_follows_from_its_size() -> None:
    sizes = (0, 1_000, 131_413, 10**6, 2 * 10**6, 10**9)
    assert [epochs_for(targets) for targets in sizes] == [100, 100, 77, 23, 17, 10]


def test_batches_hold_about_as_many_targets_whatever_windows_hold() -> None:
    assert batch_for(num_windows=22_363, num_targets=131_413, num_ranks=1) == 64
    assert batch_for(22_363, 131_413, 2) == 32
    assert batch_for(2_600, 98_000, 1) == 7, "long windows: few of them"
    assert batch_for(20_000_000, 10**9, 1) == 82, "no more than 4,096 targets"
    assert batch_for(100, 300, 1) == 85, "no fewer than 256"
    assert batch_for(0, 0, 1) == 1


def test_the_mean_of_the_weights_goes_back_over_a_tenth_of_the_steps_until_it_is_bounded() -> None:
    model = build_model("sasrec", ModelShape(5, 4, 4, 1, 1, 0.0))
    mean, weight = Average(model, keep=0.5), model.items.own.weight
    wanted = weight.detach().clone()
    for step in range(40):
        with torch.no_grad():
            weight += 1.0
        mean.follow(model, step + 1)
        kept = 0.0 if step == 0 else min(0.5, (1 + step) / (10 + step))
        wanted = kept * wanted + (1 - kept) * weight.detach()
        assert torch.allclose(mean.model.items.own.weight, wanted)
    assert mean.model.is_known_V is model.is_known_V, "what is no weight is there once"


@pytest.mark.parametrize("keep", [0.0, 0.9])
def test_what_is_published_is_the_mean_of_the_weights(board: pa.Table, tmp_path: Path, keep: float) -> None:
    plan = plan_for(board, tmp_path, max_epochs=2, average=keep)
    training = Training(plan, all_known(), join(plan.settings))
    training.run()
    dist.destroy_process_group()
    published, last = load_model(str(plan.folder)).items.own.weight, training.model.items.own.weight
    assert torch.equal(published, training.published().items.own.weight)
    assert torch.equal(published, last) == (keep == 0)


def test_no_epoch_begins_after_the_minutes_are_over(board: pa.Table, tmp_path: Path) -> None:
    train_rank(str(plan_for(board, tmp_path, max_minutes=0.0001).attempt))
    assert json.loads((tmp_path / "model" / "training.json").read_text())["epochs"] == 1

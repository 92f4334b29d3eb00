"""A training that was cut off goes on as if nothing had been, or says why it cannot; a grown vocabulary starts warm."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file

from sparkrec.config import load_settings
from sparkrec.config.train_settings import SINGLE, TrainSettings
from sparkrec.errors import SparkrecError
from sparkrec.models.registry import build_model
from sparkrec.models.second_opinion import SecondOpinion
from sparkrec.models.shape import ModelShape
from sparkrec.models.store import Card, load_model, save_model
from sparkrec.train.candidate import num_members_of, plan_training, refit_of
from sparkrec.train.checkpoint import newest_checkpoint
from sparkrec.train.plan import TrainPlan
from sparkrec.train.rank import train_rank
from sparkrec.train.training import Training
from sparkrec.train.warm_start import check_start, start_from
from tests.boards import all_known, changed, checkerboard, plan_for
from tests.test_train import _alone  # noqa: F401 - a fixture

QUICK = {"max_epochs": 3, "dropout": 0.2, "checkpoint_steps": 2}


class CutOffError(Exception):
    """Stands for whatever ends a process."""


@pytest.fixture(scope="module")
def board() -> pa.Table:
    return checkerboard()


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(str(folder / "weights.safetensors"))


def same(one: Path, other: Path) -> bool:
    left, right = weights(one), weights(other)
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def train_until(plan: TrainPlan, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train, and be cut off in the middle of a step."""
    honest = Training._step

    def cut(self: Training, *args: object) -> None:
        if self.progress.step == step:
            raise CutOffError
        honest(self, *args)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Training, "_step", cut)
        with pytest.raises(CutOffError):
            train_rank(str(plan.attempt))


@pytest.mark.parametrize("step", [3, 10, 11, 20])
def test_a_training_taken_up_again_ends_at_the_same_bits(
    board: pa.Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    unbroken = plan_for(board, tmp_path / "unbroken", **QUICK)
    train_rank(str(unbroken.attempt))
    broken = plan_for(board, tmp_path / "broken", **QUICK)
    train_until(broken, step, monkeypatch)
    assert newest_checkpoint(broken.attempt) is not None
    train_rank(str(broken.attempt))
    assert same(unbroken.folder, broken.folder)
    told = [json.loads((plan.folder / "training.json").read_text()) for plan in (unbroken, broken)]
    assert told[0]["history"] == told[1]["history"]
    assert told[1]["resumed_at"] == step - step % 2 if step != 11 else told[1]["resumed_at"] == 10


def test_the_same_seed_trains_the_same_weights_and_another_does_not(board: pa.Table, tmp_path: Path) -> None:
    plans = [plan_for(board, tmp_path / name, **QUICK) for name in ("one", "two", "other")]
    plans[2] = changed(plans[2], seed=8)
    for plan in plans:
        train_rank(str(plan.attempt))
    assert same(plans[0].folder, plans[1].folder)
    assert not same(plans[0].folder, plans[2].folder)


def test_an_epochs_loss_is_the_mean_of_its_steps(
    board: pa.Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest, losses = Training._look_at_losses, []

    def look(self: Training) -> float:
        losses.append(honest(self))
        return losses[-1]

    monkeypatch.setattr(Training, "_look_at_losses", look)
    plan = plan_for(board, tmp_path, **QUICK)
    train_rank(str(plan.attempt))
    history = json.loads((plan.folder / "training.json").read_text())["history"]
    steps = len(losses) // 3
    assert history[0][0] == pytest.approx(sum(losses[:steps]) / steps)
    assert history[2][0] == pytest.approx(sum(losses[-steps:]) / steps)


def cut_off(board: pa.Table, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[TrainPlan, Path]:
    plan = plan_for(board, folder, **QUICK)
    train_until(plan, 5, monkeypatch)
    checkpoint = newest_checkpoint(plan.attempt)
    assert checkpoint is not None
    return plan, checkpoint


@pytest.mark.parametrize("victim", ["weights.safetensors", "optimizer.safetensors", "state.json"])
def test_a_checkpoint_cut_in_half_is_refused(
    board: pa.Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, victim: str
) -> None:
    plan, checkpoint = cut_off(board, tmp_path, monkeypatch)
    content = (checkpoint / victim).read_bytes()
    (checkpoint / victim).write_bytes(content[: len(content) // 2])
    with pytest.raises(SparkrecError, match=f"{victim}: not .* to start this training anew"):
        train_rank(str(plan.attempt))
    assert not plan.folder.exists()


def test_swapped_files_and_pickles_are_refused(
    board: pa.Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, checkpoint = cut_off(board, tmp_path / "one", monkeypatch)
    other_plan = changed(plan_for(board, tmp_path / "two", **QUICK), seed=8)
    train_until(other_plan, 5, monkeypatch)
    other = newest_checkpoint(other_plan.attempt)
    assert other is not None
    shutil.copy(other / "weights.safetensors", checkpoint / "weights.safetensors")
    with pytest.raises(SparkrecError, match=r"weights.safetensors: not what was saved .* cut off or swapped"):
        train_rank(str(plan.attempt))
    torch.save({"items.own.weight": torch.ones(3)}, checkpoint / "weights.safetensors")
    with pytest.raises(SparkrecError, match=r"weights.safetensors: not what was saved"):
        train_rank(str(plan.attempt))


def test_a_checkpoint_of_other_settings_or_another_vocabulary_is_refused_with_the_difference(
    board: pa.Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, checkpoint = cut_off(board, tmp_path / "one", monkeypatch)
    other = plan_for(board, tmp_path / "two", **QUICK, resume_from=str(checkpoint))
    wrong = changed(other, depends_on={"train.width": 64, "vocabulary size": 23})
    with pytest.raises(
        SparkrecError, match=r"train.width is 32 there and 64 here; vocabulary size is 22 there and 23 here"
    ):
        train_rank(str(wrong.attempt))
    right = changed(other, depends_on=plan.depends_on)
    shutil.copytree(checkpoint.parent, tmp_path / "kept")
    train_rank(str(right.attempt))
    train_rank(str(plan.attempt))
    assert same(plan.folder, right.folder), "an earlier training's checkpoint can be named"


def test_a_checkpoint_that_is_named_brings_the_best_epoch_along(
    board: pa.Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = plan_for(board, tmp_path / "one", **QUICK)
    train_until(first, 15, monkeypatch)
    checkpoint = newest_checkpoint(first.attempt)
    assert (first.attempt / "best-1").exists()
    second = plan_for(board, tmp_path / "two", **QUICK, resume_from=str(checkpoint))
    # No later epoch is better.
    monkeypatch.setattr("sparkrec.train.training.validate", lambda *_: -0.5)
    train_rank(str(second.attempt))
    assert same(first.attempt / "best-1", second.folder)


def test_a_save_that_fails_names_the_last_checkpoint_and_keeps_it(
    board: pa.Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_for(board, tmp_path, **QUICK)
    from sparkrec.train import checkpoint

    honest, saves = checkpoint.save_file, []

    def full(tensors: dict[str, torch.Tensor], file: str) -> None:
        saves.append(file)
        if len(saves) == 4:
            Path(file).write_bytes(b"half")
            raise OSError(28, "No space left on device")
        honest(tensors, file)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_file", full)
        with pytest.raises(
            SparkrecError, match=r"step 4: cannot be written.*No space left.*goes on from checkpoint-0+2"
        ):
            train_rank(str(plan.attempt))
    assert [folder.name for folder in plan.attempt.glob("checkpoint*")] == ["checkpoint-0000000002"]
    train_rank(str(plan.attempt))
    assert plan.folder.exists()


def torchrun(plan: TrainPlan, num_ranks: int, wait: bool = True) -> subprocess.Popen[str]:
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(num_ranks), "-m", "sparkrec.train"]
    process = subprocess.Popen(
        [sys.executable, *words, str(plan.attempt)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if wait:
        output, _ = process.communicate()
        assert process.returncode == 0, output
    return process


def ranks_of(process: subprocess.Popen[str]) -> list[int]:
    """Return the ranks' processes in their order."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return sorted(map(int, children))


def test_two_ranks_under_torchrun_survive_a_kill_and_one_goes_on_from_two(board: pa.Table, tmp_path: Path) -> None:
    quick = {**QUICK, "max_epochs": 40, "patience": 40}
    unbroken, broken = plan_for(board, tmp_path / "unbroken", **quick), plan_for(board, tmp_path / "broken", **quick)
    torchrun(unbroken, 2)
    process = torchrun(broken, 2, wait=False)
    deadline = time.monotonic() + 60
    while newest_checkpoint(broken.attempt) is None and time.monotonic() < deadline:
        time.sleep(0.05)
    ranks = ranks_of(process)
    os.kill(ranks[1], signal.SIGKILL)
    killed_at = time.monotonic()
    process.communicate()
    assert process.returncode != 0
    assert time.monotonic() - killed_at < 60
    assert not any(Path(f"/proc/{rank}").exists() for rank in ranks), "no process is left behind"
    assert not broken.folder.exists()

    one_rank = tmp_path / "one_rank"
    shutil.copytree(broken.attempt, one_rank / "model.attempt")
    torchrun(broken, 2)
    assert same(unbroken.folder, broken.folder)

    alone = replace(broken, folder=one_rank / "model", attempt=one_rank / "model.attempt")
    changed(alone)
    train_rank(str(alone.attempt))
    told = json.loads((alone.folder / "training.json").read_text())
    assert told["ranks"] == 1
    assert told["resumed_at"] > 0
    assert told["in_training_ndcg10"] > 0.9


def saved(board: pa.Table, folder: Path) -> TrainPlan:
    """A small model of the board, saved as trained, that knows all items but the last two."""
    plan = plan_for(board, folder)
    torch.manual_seed(1)
    model = build_model("sasrec", plan.shape)
    vocabulary = all_known()
    vocabulary.is_known[-2:] = False
    model.is_known_V = vocabulary.is_known
    save_model(plan.folder, model, plan.card)
    return plan


def test_new_items_start_at_their_categorys_mean_and_all_else_where_it_was(board: pa.Table, tmp_path: Path) -> None:
    plan = saved(board, tmp_path)
    before = load_model(str(plan.folder))
    size = plan.shape.vocabulary_size + 3
    torch.manual_seed(2)
    grown = build_model("sasrec", replace(plan.shape, vocabulary_size=size))
    fresh = grown.items.own.weight.detach().clone()
    grown.is_known_V = torch.ones(size, dtype=torch.bool)
    grown.is_known_V[:2] = False
    categories = torch.full((size,), -1)
    categories[[4, 6, size - 5, size - 1]] = 77
    categories[size - 2] = 88
    assert start_from(grown, plan.folder, categories) == 2
    old = before.items.own.weight
    assert torch.equal(grown.items.own.weight[: size - 5], old[: size - 5]), "padding and unknown included"
    mean = (old[4] + old[6]) / 2
    assert torch.allclose(grown.items.own.weight[size - 5], mean), (
        "in the old vocabulary, but it was too rare to be known"
    )
    assert torch.allclose(grown.items.own.weight[size - 1], mean)
    for item in (size - 4, size - 3, size - 2):
        assert torch.equal(grown.items.own.weight[item], fresh[item]), "no category, or none that was known"
    for name, weight in before.blocks.state_dict().items():
        assert torch.equal(grown.blocks.state_dict()[name], weight)


@pytest.mark.parametrize("num_members", [1, 2])
def test_attributes_keep_their_vectors_and_neighbours_are_those_of_now(tmp_path: Path, num_members: int) -> None:
    shape = ModelShape(
        9, 4, 8, 1, 1, 0.0, num_neighbours=2, num_attributes=2, max_attributes=1, num_members=num_members
    )
    earlier = build_model("sasrec", shape)
    for part in earlier.parts:
        part.items.attribute_keys = torch.tensor([0, -5, 9])
    assert earlier.neighbours is not None
    earlier.neighbours.counts.fill_(3.0)
    save_model(tmp_path / "m", earlier, Card("v", "sasrec", shape, "line"))
    now = build_model("sasrec", replace(shape, num_attributes=3, num_neighbours=1))
    now.is_known_V[2:] = True
    for part in now.parts:
        part.items.attribute_keys = torch.tensor([0, -5, 7, 9])
    fresh_ones = [part.items.attributes.weight.detach().clone() for part in now.parts]
    start_from(now, tmp_path / "m", torch.full((9,), -1))
    for part, fresh, was in zip(now.parts, fresh_ones, earlier.parts, strict=True):
        then = was.items.attributes.weight
        assert torch.equal(part.items.attributes.weight, torch.stack([fresh[0], then[1], fresh[2], then[2]]))
    assert now.neighbours is not None and now.neighbours.next_VK.shape == (9, 1)
    assert now.neighbours.counts == 0


def test_new_items_start_at_their_categorys_mean_in_every_member(tmp_path: Path) -> None:
    shape = ModelShape(5, 4, 8, 1, 1, 0.0, num_members=2)
    earlier = build_model("sasrec", shape)
    earlier.is_known_V[2:] = True
    save_model(tmp_path / "m", earlier, Card("v", "sasrec", shape, "line"))
    now = build_model("sasrec", replace(shape, vocabulary_size=6))
    now.is_known_V[2:] = True
    assert start_from(now, tmp_path / "m", torch.tensor([-1, -1, 7, -1, 7, 7])) == 1
    for part, was in zip(now.parts, earlier.parts, strict=True):
        then = was.items.own.weight
        assert torch.allclose(part.items.own.weight, torch.cat([then, (then[2:3] + then[4:5]) / 2]))


def test_as_many_models_learn_side_by_side_as_are_asked_for_or_gone_on_from_or_the_size_wants(
    board: pa.Table, tmp_path: Path
) -> None:
    champion = saved(board, tmp_path).folder
    few, many, unset = 2_000_000, 2_000_001, TrainSettings()
    assert [num_members_of(unset, size, None) for size in (few, many)] == [2, 1]
    assert num_members_of(unset, few, champion) == 1, "or the size could grow past the bound, and be refused"
    assert [num_members_of(TrainSettings(members=3), many, start) for start in (None, champion)] == [3, 3]
    for model in SINGLE:
        assert num_members_of(TrainSettings(model=model), few, None) == 1, model


def test_fine_tuning_starts_from_the_weights_it_is_given(board: pa.Table, tmp_path: Path) -> None:
    first = plan_for(board, tmp_path / "first")
    train_rank(str(first.attempt))
    tuned = changed(plan_for(board, tmp_path / "tuned", max_epochs=1), start_from=first.folder)
    scratch = plan_for(board, tmp_path / "scratch", max_epochs=1)
    for plan in (tuned, scratch):
        train_rank(str(plan.attempt))
    told = [json.loads((plan.folder / "training.json").read_text()) for plan in (tuned, scratch)]
    # The epoch's mean loss: what is learnt already need not be learnt again.
    assert told[0]["history"][0][0] < 0.85 * told[1]["history"][0][0]


def test_fine_tuning_never_starts_from_a_refit_which_has_seen_what_is_held_out(board: pa.Table, tmp_path: Path) -> None:
    plan = saved(board, tmp_path)
    changes = ["train.start=champion", "train.width=32", "train.num_blocks=1", "window.length=8", "train.dropout=0"]
    settings = load_settings("conf/local.yaml", changes)
    champion = plan.folder.with_name("model-refit")
    planned = plan_training(
        plan.training_set, all_known(), "line", date(2024, 3, 2), settings, tmp_path / "models", "code", champion
    )
    assert planned.start_from == plan.folder
    assert planned.depends_on["train.members"] == planned.shape.num_members == 1, "what null came to, not null"
    refit = refit_of(planned, 3, SecondOpinion(0.5))
    assert refit.start_from == plan.folder
    assert (refit.fixed_epochs, refit.second_opinion) == (3, SecondOpinion(0.5))


def test_a_named_checkpoint_is_looked_at_before_any_rank_starts(board: pa.Table, tmp_path: Path) -> None:
    plan = plan_for(board, tmp_path)
    settings = load_settings("conf/local.yaml", [f"train.resume_from={tmp_path}"])
    with pytest.raises(SparkrecError, match=r"state.json: not a readable checkpoint"):
        plan_training(plan.training_set, all_known(), "line", date(2024, 3, 2), settings, tmp_path, "code", None)


def test_a_model_that_cannot_be_fine_tuned_is_refused_with_the_difference(board: pa.Table, tmp_path: Path) -> None:
    plan = saved(board, tmp_path)
    check_start(plan.folder, plan.card)
    wider = replace(plan.card, shape=replace(plan.shape, width=64), vocabulary_lineage="other")
    with pytest.raises(SparkrecError, match="lineage is line there and other here; width is 32 there and 64 here"):
        check_start(plan.folder, wider)
    with pytest.raises(SparkrecError, match="it knows 22 items, this lake has 20"):
        check_start(plan.folder, replace(plan.card, shape=replace(plan.shape, vocabulary_size=20)))
    torch.save({"items.own.weight": torch.ones(3)}, plan.folder / "weights.safetensors")
    with pytest.raises(SparkrecError, match="not whole weights in safetensors"):
        start_from(build_model("sasrec", plan.shape), plan.folder, all_known().categories)

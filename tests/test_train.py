"""The feed hands over every window once, the loss is what it says, and a trained model finds the known answer."""

import socket
from dataclasses import replace
from datetime import date
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from sparkrec.config.settings import TrainSettings
from sparkrec.errors import SparkrecError
from sparkrec.evaluate.held_out import matrix
from sparkrec.evaluate.ranks import left_out_mask, model_ranks
from sparkrec.models.registry import ARCHITECTURES
from sparkrec.models.sequence_model import ModelShape
from sparkrec.models.store import Card, has_model, load_model
from sparkrec.train.feed import Feed, FileSet
from sparkrec.train.launch import _check_finished
from sparkrec.train.losses import pool_negatives, sampled_softmax
from sparkrec.train.petastorm_adapter import open_reader
from sparkrec.train.plan import TrainingSet, TrainPlan
from sparkrec.train.progress import mark_done, mark_failed
from sparkrec.train.rank import train_rank
from sparkrec.window.cut import CutPlan, cut_windows
from sparkrec.window.negatives import law_of
from tests.pasts import histories, known

LENGTH = 8
COLUMNS = ["item_idxs", "target_idxs", "negative_idxs"]


def write_files(folder: Path, rows: pa.Table, num_files: int, row_group_rows: int) -> FileSet:
    folder.mkdir(parents=True, exist_ok=True)
    urls = []
    for number in range(num_files):
        file = folder / f"part-{number}.parquet"
        pq.write_table(rows.take(list(range(number, len(rows), num_files))), file, row_group_size=row_group_rows)
        urls.append(f"file://{file}")
    return FileSet(tuple(urls), len(rows), sum(rows.column("window_id").to_pylist()))


def checkerboard(num_users: int = 300, squares: int = 20, seed: int = 7) -> pa.Table:
    """White users walk over the white squares in order, black users over the black: the next square is known."""
    rng = np.random.default_rng(seed)
    pasts = []
    for user in range(num_users):
        start, steps = int(rng.integers(0, squares // 2)), int(rng.integers(5, 9))
        pasts.append([2 + user % 2 + 2 * ((start + step) % (squares // 2)) for step in range(steps)])
    plan = CutPlan(date(2024, 3, 1), LENGTH, LENGTH, 4, seed)
    batch = cut_windows(histories(*pasts), plan, known(squares + 2), law_of(np.ones(squares + 2, dtype=int), 1, 0.0))
    return pa.Table.from_batches([batch])


def split(rows: pa.Table, name: str) -> pa.Table:
    return rows.filter(pa.compute.equal(rows.column("split"), name))


@pytest.fixture(scope="module")
def board() -> pa.Table:
    return checkerboard()


@pytest.fixture
def files(board: pa.Table, tmp_path: Path) -> FileSet:
    return write_files(tmp_path / "train", split(board, "train"), num_files=3, row_group_rows=32)


def delivered(files: FileSet, rank: int, num_ranks: int, passes: int = 1) -> list[int]:
    with Feed(files, COLUMNS, rank, num_ranks, batch_size=16, shuffle_rows=64, seed=7) as feed:
        batches = feed.batches()
        ids: list[int] = []
        while feed.passes.complete() < passes:
            ids += next(batches)["window_id"].tolist()
        return [feed.passes.rows[0], feed.passes.sums_of_ids[0]]


@pytest.mark.parametrize("num_ranks", [1, 2, 3])
def test_all_ranks_together_read_every_window_once_per_pass(files: FileSet, num_ranks: int) -> None:
    parts = [delivered(files, rank, num_ranks) for rank in range(num_ranks)]
    assert sum(part[0] for part in parts) == files.num_rows
    assert sum(part[1] for part in parts) == files.sum_of_ids


def test_every_pass_hands_over_the_same_windows(files: FileSet) -> None:
    with Feed(files, COLUMNS, 0, 2, batch_size=16, shuffle_rows=64, seed=7) as feed:
        batches = feed.batches()
        while feed.passes.complete() < 3:
            next(batches)
        assert len(set(feed.passes.rows[:3])) == len(set(feed.passes.sums_of_ids[:3])) == 1


def test_the_same_seed_gives_the_same_batches_in_random_order(files: FileSet) -> None:
    def first(seed: int) -> list[int]:
        with Feed(files, COLUMNS, 0, 1, batch_size=16, shuffle_rows=200, seed=seed) as feed:
            batches = feed.batches()
            return [window for _ in range(4) for window in next(batches)["window_id"].tolist()]

    assert first(7) == first(7) != first(8)
    with open_reader(files.urls, ["window_id"], 0, 1, seed=7) as reader:
        in_file_order = next(reader).window_id.tolist()
    assert first(7)[: len(in_file_order)] != in_file_order


def test_a_rank_without_a_row_group_is_told(files: FileSet) -> None:
    with pytest.raises(SparkrecError, match="fewer row groups than the 40 ranks"):
        delivered(files, rank=39, num_ranks=40)


def test_a_broken_file_stops_the_feed(files: FileSet, tmp_path: Path) -> None:
    victim = tmp_path / "train" / "part-1.parquet"
    content = victim.read_bytes()
    victim.write_bytes(content[: len(content) // 2] + b"\0" * 100 + content[len(content) // 2 + 100 :])
    with pytest.raises(SparkrecError, match="reading the training files failed"):
        delivered(files, rank=0, num_ranks=1, passes=2)


def test_lists_come_as_matrices_with_the_files_values(files: FileSet) -> None:
    with fsspec.open(files.urls[0], "rb") as file:
        expected = pq.ParquetFile(file).read_row_group(0, columns=["item_idxs", "window_id"])
    with open_reader(files.urls[:1], ["window_id", "item_idxs"], 0, 1, seed=7) as reader:
        groups = [next(reader) for _ in range(4)]
    match = next(group for group in groups if group.window_id[0] == expected.column("window_id")[0].as_py())
    assert match.item_idxs.tolist() == expected.column("item_idxs").to_pylist()


def test_sampled_softmax_over_all_items_is_the_full_softmax() -> None:
    generator = torch.Generator().manual_seed(7)
    state_BLD, items_VD = torch.randn(2, 3, 5, generator=generator), torch.randn(9, 5, generator=generator)
    target_BL = torch.tensor([[0, 4, 2], [0, 0, 8]])
    sampled = sampled_softmax(state_BLD, items_VD, target_BL, torch.arange(2, 9), torch.zeros(9))
    is_target = target_BL != 0
    logits = state_BLD[is_target] @ items_VD[2:].T
    assert torch.allclose(sampled, torch.nn.functional.cross_entropy(logits, target_BL[is_target] - 2))


def test_the_log_of_the_chance_lowers_what_is_drawn_often() -> None:
    state_BLD, items_VD = torch.ones(1, 1, 2), torch.zeros(5, 2)
    target_BL, pooled_P = torch.tensor([[2]]), torch.tensor([3, 3, 4])
    chance_V = torch.tensor([1.0, 1.0, 0.5, 0.4, 0.1])
    loss = sampled_softmax(state_BLD, items_VD, target_BL, pooled_P, chance_V.log())
    by_hand = -np.log((1 / 0.5) / (1 / 0.5 + 1 / 0.4 + 1 / 0.4 + 1 / 0.1))
    assert loss.item() == pytest.approx(by_hand)


def test_the_pool_holds_real_negatives_only() -> None:
    pool = pool_negatives(torch.tensor([[0, 5, 6], [0, 0, 7]]), 10, torch.Generator().manual_seed(1))
    assert sorted(pool.tolist()) == [5, 6, 7]


def plan_for(board: pa.Table, folder: Path, architecture: str, **changes: object) -> TrainPlan:
    vocabulary_size = 22
    settings = TrainSettings(
        width=32, num_blocks=1, max_epochs=30, patience=30, batch_size_per_rank=32, dropout=0.0, learning_rate=0.005,
        warmup_steps=5, device="cpu",
    )  # fmt: skip
    shape = ModelShape(vocabulary_size, LENGTH, 32, 1, 2, 0.0)
    plan = TrainPlan(
        training_set=TrainingSet(
            write_files(folder / "train", split(board, "train"), 2, 64),
            write_files(folder / "validation", split(board, "validation"), 1, 512),
            "",
        ),
        settings=settings,
        shape=shape,
        card=Card("v", architecture, shape, "line"),
        folder=folder / "model",
        attempt=folder / "attempt",
        is_known=known(vocabulary_size).tobytes(),
        log_chance=np.zeros(vocabulary_size, dtype=np.float32).tobytes(),
        seed=7,
    )
    plan.attempt.mkdir()
    return replace(plan, **changes)


@pytest.fixture
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """What torchrun sets for a single rank."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "RANK": 0, "WORLD_SIZE": 1, "LOCAL_RANK": 0}
    for name, value in told.items():
        monkeypatch.setenv(name, str(value))


@pytest.mark.usefixtures("_alone")
@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_a_trained_model_finds_the_next_square_of_the_checkerboard(
    board: pa.Table, tmp_path: Path, architecture: str
) -> None:
    plan = plan_for(board, tmp_path, architecture)
    train_rank(plan)
    assert has_model(plan.folder)
    model = load_model(str(plan.folder))
    test = split(board, "test").combine_chunks()
    columns = {name: matrix(test.column(name).chunk(0)) for name in (*model.inputs, "target_idxs")}
    seen = left_out_mask([np.array(items) for items in test.column("seen_idxs").to_pylist()], 22)
    ranks = model_ranks(model, columns, columns["target_idxs"][:, -1], seen)
    assert (ranks == 1).double().mean() > 0.95


@pytest.mark.usefixtures("_alone")
def test_the_same_seed_trains_the_same_weights(board: pa.Table, tmp_path: Path) -> None:
    weights = []
    for name in ("one", "two"):
        plan = plan_for(board, tmp_path / name, "sasrec")
        train_rank(replace(plan, settings=plan.settings.model_copy(update={"max_epochs": 2, "dropout": 0.2})))
        weights.append((plan.folder / "weights.safetensors").read_bytes())
    assert weights[0] == weights[1]


@pytest.mark.usefixtures("_alone")
@pytest.mark.parametrize("missing", ["rows", "ids"])
def test_a_feed_that_loses_or_swaps_windows_stops_the_job(board: pa.Table, tmp_path: Path, missing: str) -> None:
    plan = plan_for(board, tmp_path, "sasrec")
    train = plan.training_set.train
    wrong = replace(train, num_rows=train.num_rows + 1) if missing == "rows" else replace(train, sum_of_ids=1)
    with pytest.raises(SparkrecError, match="handed over in a pass"):
        train_rank(replace(plan, training_set=replace(plan.training_set, train=wrong)))
    assert not plan.folder.exists()
    assert "handed over" in (plan.attempt / "failed-0").read_text()


@pytest.mark.usefixtures("_alone")
def test_a_loss_that_is_no_number_stops_the_job(board: pa.Table, tmp_path: Path) -> None:
    plan = plan_for(board, tmp_path, "sasrec", log_chance=np.full(22, np.nan, dtype=np.float32).tobytes())
    with pytest.raises(SparkrecError, match="loss is nan at step 1"):
        train_rank(plan)
    assert not plan.folder.exists()


def test_a_rank_that_died_without_a_word_fails_the_job(tmp_path: Path) -> None:
    mark_done(tmp_path, 0)
    with pytest.raises(SparkrecError, match="1 of 2 ranks did not finish"):
        _check_finished(tmp_path, 2, None)
    mark_failed(tmp_path, 1, "ValueError: odd batch", "trace")
    with pytest.raises(SparkrecError, match="rank 1: ValueError: odd batch"):
        _check_finished(tmp_path, 2, None)
    mark_done(tmp_path, 1)
    _check_finished(tmp_path, 2, None)

"""The feed hands over every window once per pass, in an order that the seed fixes, and says when it cannot."""

from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from sparkrec.errors import SparkrecError
from sparkrec.train.ahead import Ahead
from sparkrec.train.feed import Feed, FileSet
from sparkrec.train.petastorm_adapter import open_reader
from tests.boards import checkerboard, split, write_files

COLUMNS = ["item_idxs", "target_idxs", "negative_idxs"]
BATCH = 16


@pytest.fixture(scope="module")
def board() -> pa.Table:
    return checkerboard()


@pytest.fixture
def files(board: pa.Table, tmp_path: Path) -> FileSet:
    return write_files(tmp_path / "train", split(board, "train"), num_files=3, row_group_rows=32)


def feed_of(files: FileSet, rank: int = 0, num_ranks: int = 1, shuffle_rows: int = 64, seed: int = 7) -> Feed:
    return Feed(files, COLUMNS, rank, num_ranks, BATCH, shuffle_rows, seed)


def ids(feed: Feed, epoch: int, num_batches: int, first: int = 0) -> list[int]:
    with feed.epoch(epoch, num_batches, first) as batches:
        return [window for batch in batches for window in batch["window_id"].tolist()]


@pytest.mark.parametrize("num_ranks", [1, 2, 3])
def test_all_ranks_together_read_every_window_once_per_pass(files: FileSet, num_ranks: int) -> None:
    rows = sums = 0
    for rank in range(num_ranks):
        feed = feed_of(files, rank, num_ranks)
        got = ids(feed, 1, -(-feed.rows_per_pass // BATCH))
        rows, sums = rows + feed.passes.rows[0], sums + feed.passes.sums_of_ids[0]
        assert len(set(got)) == feed.rows_per_pass
        assert len(set(got[: feed.rows_per_pass])) == feed.rows_per_pass, "none comes again before all came once"
    assert (rows, sums) == (files.num_rows, files.sum_of_ids)


def test_a_rank_with_fewer_windows_repeats_its_own_to_the_agreed_number_of_steps(files: FileSet) -> None:
    feed = feed_of(files, 1, 2)
    steps = feed.rows_per_pass // BATCH + 3
    got = ids(feed, 1, steps)
    assert len(got) == steps * BATCH
    assert len(set(got)) == feed.rows_per_pass
    assert feed.passes.rows[0] == feed.rows_per_pass


def test_every_epoch_brings_the_same_windows_in_another_order(files: FileSet) -> None:
    feed = feed_of(files)
    steps = files.num_rows // BATCH
    one, two = ids(feed, 1, steps), ids(feed, 2, steps)
    assert one != two
    assert one == ids(feed, 1, steps)
    assert one != ids(feed_of(files, seed=8), 1, steps)


def test_the_buffer_shuffles_anew_in_every_epoch(board: pa.Table, tmp_path: Path) -> None:
    single = write_files(tmp_path / "single", split(board, "train").slice(0, 64), num_files=1, row_group_rows=64)
    feed = feed_of(single)
    assert ids(feed, 1, 4) != ids(feed, 2, 4)


def test_an_epoch_can_be_taken_up_in_its_middle(files: FileSet) -> None:
    feed = feed_of(files)
    assert ids(feed, 3, 12, first=5) == ids(feed, 3, 12)[5 * BATCH :]


def test_windows_travel_and_how_far_is_known(files: FileSet) -> None:
    near, far = feed_of(files, shuffle_rows=BATCH), feed_of(files, shuffle_rows=10_000)
    steps = files.num_rows // BATCH
    ids(near, 1, steps)
    ids(far, 1, steps)
    # In a perfect shuffle the mean distance is a third of a pass.
    assert far.passes.mean_travel() == pytest.approx(files.num_rows / 3, rel=0.1)
    assert 0 < near.passes.mean_travel() < far.passes.mean_travel() / 3


def test_a_rank_without_a_row_group_is_told(files: FileSet) -> None:
    with pytest.raises(SparkrecError, match="fewer row groups than the 40 ranks"):
        feed_of(files, rank=39, num_ranks=40)


def test_a_broken_file_stops_the_feed(files: FileSet, tmp_path: Path) -> None:
    victim = tmp_path / "train" / "part-1.parquet"
    content = victim.read_bytes()
    half = len(content) // 2
    victim.write_bytes(content[:4] + b"\0" * (half - 4) + content[half:])  # whichever columns are read
    with pytest.raises(SparkrecError, match=r"part-1.parquet cannot be read.*run 'make window'"):
        ids(feed_of(files), 1, files.num_rows // BATCH)


def test_a_truncated_file_stops_the_feed(files: FileSet, tmp_path: Path) -> None:
    victim = tmp_path / "train" / "part-2.parquet"
    victim.write_bytes(victim.read_bytes()[:-200])
    with pytest.raises(SparkrecError, match="cannot be read"):
        ids(feed_of(files), 1, files.num_rows // BATCH)


def test_lists_come_as_matrices_with_the_files_values(files: FileSet) -> None:
    with fsspec.open(files.urls[0], "rb") as file:
        expected = pq.ParquetFile(file).read_row_group(0, columns=["item_idxs", "window_id"])
    with open_reader(files.urls[:1], ["window_id", "item_idxs"], 0, 1, [7]) as reader:
        groups = [next(reader) for _ in range(4)]
    match = next(group for group in groups if group.window_id[0] == expected.column("window_id")[0].as_py())
    assert match.item_idxs.tolist() == expected.column("item_idxs").to_pylist()


def test_any_file_system_of_fsspec_can_be_read(board: pa.Table, files: FileSet) -> None:
    memory = fsspec.filesystem("memory")
    urls = []
    for number, url in enumerate(files.urls):
        with fsspec.open(url, "rb") as local, memory.open(f"/bucket/part-{number}.parquet", "wb") as remote:
            remote.write(local.read())
        urls.append(f"memory://bucket/part-{number}.parquet")
    steps = files.num_rows // BATCH
    assert ids(feed_of(FileSet(tuple(urls), files.num_rows, files.sum_of_ids)), 1, steps) == ids(
        feed_of(files), 1, steps
    )


def test_what_goes_wrong_ahead_is_raised_where_it_is_read() -> None:
    def numbers():
        yield 1
        raise ValueError("two")

    with Ahead(numbers(), 4) as ahead:
        assert next(ahead) == 1
        with pytest.raises(ValueError, match="two"):
            next(ahead)
    with Ahead(iter(range(3)), 1) as ahead:
        assert list(ahead) == [0, 1, 2]
    with Ahead(iter(lambda: 0, 1), 1) as endless:  # left before its end
        assert next(endless) == 0


def test_batches_are_what_torch_takes(files: FileSet) -> None:
    with feed_of(files).epoch(1, 1) as batches:
        batch = next(batches)
    assert {name: tuple(values.shape) for name, values in batch.items()} == {
        "window_id": (BATCH,), "item_idxs": (BATCH, 8), "target_idxs": (BATCH, 8), "negative_idxs": (BATCH, 32),
    }  # fmt: skip
    assert batch["item_idxs"].dtype == torch.int32

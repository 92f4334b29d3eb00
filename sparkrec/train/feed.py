"""Feed windows to a rank: Petastorm's row groups, counted, shuffled, cut into batches.

B windows of a batch   L positions
"""

import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sparkrec.errors import SparkrecError
from sparkrec.train.petastorm_adapter import open_reader, rows_of_pass

RowGroup = dict[str, np.ndarray]
READ_AHEAD = 4


@dataclass(frozen=True)
class FileSet:
    """The files of one split in one version of `windows`, and what they must hold."""

    urls: tuple[str, ...]
    num_rows: int
    sum_of_ids: int


@dataclass
class Passes:
    """What the reader handed over, pass by pass, before any shuffling."""

    row_groups_per_pass: int
    rows: list[int]
    sums_of_ids: list[int]
    row_groups: int = 0

    def add(self, group: RowGroup) -> None:
        if self.row_groups % self.row_groups_per_pass == 0:
            self.rows.append(0)
            self.sums_of_ids.append(0)
        self.rows[-1] += len(group["window_id"])
        self.sums_of_ids[-1] += sum(group["window_id"].tolist())
        self.row_groups += 1

    def complete(self) -> int:
        return self.row_groups // self.row_groups_per_pass


class Feed:
    """Endless batches of a rank's share of the training windows; a context manager, for it reads ahead in a thread."""

    def __init__(
        self,
        files: FileSet,
        columns: Sequence[str],
        rank: int,
        num_ranks: int,
        batch_size: int,
        shuffle_rows: int,
        seed: int,
    ) -> None:
        self._opened = open_reader(files.urls, ["window_id", *columns], rank, num_ranks, seed)
        self._reader = self._opened.__enter__()
        sizes = rows_of_pass(self._reader)
        self.rows_per_pass = sum(sizes)
        self.passes = Passes(len(sizes), [], [])
        self._batch_size = batch_size
        # A buffer of more than a pass would hold some windows twice and hand them over before others come once.
        self._shuffle_rows = max(min(shuffle_rows, self.rows_per_pass), batch_size)
        self._order = np.random.default_rng([seed, rank])
        self._queue: queue.Queue[RowGroup | BaseException] = queue.Queue(READ_AHEAD)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._read_ahead, daemon=True)
        self._thread.start()

    def __enter__(self) -> "Feed":
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        while self._thread.is_alive():
            self._drain()
            self._thread.join(0.05)
        self._opened.__exit__(None, None, None)

    def batches(self) -> Iterator[dict[str, Tensor]]:
        """Yield batches for ever: rows drawn from a buffer of `shuffle_rows` windows, in an order fixed by the seed."""
        waiting: list[RowGroup] = []
        num_waiting = 0
        while True:
            while num_waiting < self._shuffle_rows:
                group = self._next_group()
                waiting.append(group)
                num_waiting += len(group["window_id"])
            buffer = {name: np.concatenate([group[name] for group in waiting]) for name in waiting[0]}
            order = self._order.permutation(num_waiting)
            # Half stays and mixes with what comes next; whole batches go.
            num_batches = max(1, num_waiting // 2 // self._batch_size)
            for start in range(0, num_batches * self._batch_size, self._batch_size):
                chosen = order[start : start + self._batch_size]
                yield {name: torch.from_numpy(values[chosen].astype(np.int64)) for name, values in buffer.items()}
            rest = order[num_batches * self._batch_size :]
            waiting = [{name: values[rest] for name, values in buffer.items()}]
            num_waiting = len(rest)

    def _next_group(self) -> RowGroup:
        group = self._queue.get()
        if isinstance(group, BaseException):
            raise SparkrecError(f"windows: reading the training files failed: {group}") from group
        self.passes.add(group)
        return group

    def _read_ahead(self) -> None:
        try:
            for group in self._reader:
                self._put(group._asdict())
                if self._stopping.is_set():
                    return
        except BaseException as error:
            self._put(error)

    def _put(self, group: RowGroup | BaseException) -> None:
        while not self._stopping.is_set():
            try:
                self._queue.put(group, timeout=0.1)
                return
            except queue.Full:
                continue

    def _drain(self) -> None:
        while not self._queue.empty():
            self._queue.get_nowait()

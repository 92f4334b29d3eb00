"""Feed windows to a rank: Petastorm's row groups, counted, shuffled, cut into batches, read ahead.

B windows of a batch   L positions
"""

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sparkrec.train.ahead import Ahead
from sparkrec.train.petastorm_adapter import open_reader, rows_of_pass

Rows = dict[str, np.ndarray]
"""Columns of some windows, by name; lists as matrices."""
Tensors = dict[str, Tensor]
GROUPS_AHEAD, BATCHES_AHEAD = 8, 16


@dataclass(frozen=True)
class FileSet:
    """The files of one split in one version of `windows`, and what they must hold."""

    urls: tuple[str, ...]
    num_rows: int
    sum_of_ids: int
    num_targets: int = 0


@dataclass
class Passes:
    """What the reader handed over in an epoch, pass by pass, before any shuffling; and how far shuffling moved it."""

    rows: list[int] = field(default_factory=list)
    sums_of_ids: list[int] = field(default_factory=list)
    delivered: int = 0
    travelled: int = 0
    """Places between where a window was read and where it was delivered, summed over those delivered."""

    def mean_travel(self) -> float:
        """Return how far a window travels in the mean, in windows; a third of a pass is a perfect shuffle."""
        return self.travelled / max(self.delivered, 1)


class Feed:
    """A rank's share of the training windows, epoch after epoch."""

    def __init__(
        self,
        files: FileSet,
        columns: Sequence[str],
        rank: int,
        num_ranks: int,
        batch_size: int,
        shuffle_rows: int,
        seed: int,
        finish: Callable[[Tensors], Any] = lambda tensors: tensors,
    ) -> None:
        self._files, self._columns = files, ["window_id", *columns]
        self._rank, self._num_ranks, self._seed, self._finish = rank, num_ranks, seed, finish
        self._batch_size, self._shuffle_rows = batch_size, max(shuffle_rows, batch_size)
        with self._open(0) as reader:
            self._groups_per_pass = len(sizes := rows_of_pass(reader))
        self.rows_per_pass = sum(sizes)
        self.passes = Passes()

    def epoch(self, number: int, num_batches: int, first_batch: int = 0) -> "Ahead[Any]":
        """Return an epoch's batches from `first_batch` on, a context manager and an iterator, for it reads ahead.

        `finish` has been applied to each, in the thread that reads ahead.

        Every window of the rank's share comes once before any comes again; what is missing to `num_batches` full ones
        is filled up with the next pass. Seed, rank and epoch fix the order, so an epoch can be taken up in its middle.
        """
        self.passes = Passes()
        return Ahead(self._tensors(number, num_batches, first_batch), BATCHES_AHEAD)

    def _open(self, epoch: int) -> contextlib.AbstractContextManager[Any]:
        return open_reader(self._files.urls, self._columns, self._rank, self._num_ranks, [self._seed, epoch])

    def _tensors(self, number: int, num_batches: int, first_batch: int) -> Iterator[Any]:
        order = np.random.default_rng([self._seed, self._rank, number])
        with self._open(number) as reader, Ahead(iter(reader), GROUPS_AHEAD) as groups:
            shuffled = _shuffle(self._passes(groups), self._shuffle_rows, self._batch_size, order)
            for batch in itertools.islice(_batches(shuffled, self._batch_size), first_batch, num_batches):
                places = batch.pop("place")
                at = self.passes.delivered
                self.passes.travelled += int(np.abs(places - np.arange(at, at + len(places))).sum())
                self.passes.delivered += len(places)
                yield self._finish({name: torch.from_numpy(values) for name, values in batch.items()})

    def _passes(self, groups: Iterator[object]) -> Iterator[Iterator[Rows]]:
        """Yield passes, each the row groups of the rank's share in the reader's order, counted as they come."""
        while True:
            yield self._one_pass(groups)

    def _one_pass(self, groups: Iterator[object]) -> Iterator[Rows]:
        self.passes.rows.append(0)
        self.passes.sums_of_ids.append(0)
        for group in itertools.islice(groups, self._groups_per_pass):
            rows: Rows = group._asdict()  # type: ignore[attr-defined]
            first = sum(self.passes.rows)
            num = len(rows["window_id"])
            self.passes.rows[-1] += num
            # Python's integers: a sum of 62-bit ids does not fit into 64 bits.
            self.passes.sums_of_ids[-1] += int(rows["window_id"].astype(object).sum())
            yield {**rows, "place": np.arange(first, first + num)}


def _shuffle(
    passes: Iterator[Iterator[Rows]], shuffle_rows: int, batch_size: int, order: np.random.Generator
) -> Iterator[Rows]:
    """Yield rows in random order: from a buffer of `shuffle_rows`, half of which goes when it is full.

    A pass is emptied before the next begins, or some windows would come twice before others come once.
    """
    for groups in passes:
        waiting: list[Rows] = []
        num_waiting = 0
        for group in groups:
            waiting.append(group)
            num_waiting += len(group["place"])
            if num_waiting >= shuffle_rows:
                goes, stays = _part(waiting, max(num_waiting // 2 // batch_size, 1) * batch_size, order)
                yield goes
                waiting, num_waiting = [stays], len(stays["place"])
        if num_waiting:
            yield _part(waiting, num_waiting, order)[0]


def _part(waiting: list[Rows], num_going: int, order: np.random.Generator) -> tuple[Rows, Rows]:
    together = {name: np.concatenate([rows[name] for rows in waiting]) for name in waiting[0]}
    shuffled = order.permutation(len(together["place"]))
    goes, stays = shuffled[:num_going], shuffled[num_going:]
    return {n: v[goes] for n, v in together.items()}, {n: v[stays] for n, v in together.items()}


def _batches(parts: Iterator[Rows], batch_size: int) -> Iterator[Rows]:
    """Cut rows into batches of one size, across the ends of parts."""
    rest: Rows | None = None
    for part in parts:
        rows = part if rest is None else {name: np.concatenate([rest[name], part[name]]) for name in part}
        num = len(rows["place"])
        whole = num - num % batch_size
        for start in range(0, whole, batch_size):
            yield {name: values[start : start + batch_size] for name, values in rows.items()}
        rest = {name: values[whole:] for name, values in rows.items()} if whole < num else None

"""Cut users' pasts into windows: one test and one validation target per user, training windows before them.

U users   E events   N rows (windows)   L positions   K negatives per target
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sparkrec.sequences import Ints, Pasts, align_right, flatten, hide_unknown, read_pasts
from sparkrec.tables import FIRST_ITEM, PAD
from sparkrec.window.negatives import Law, draw_negatives, mix

TEST, VALIDATION, FIRST_TRAINING = 0, 1, 2
"""Window numbers."""
MIN_ITEMS_HELD_OUT = 3
"""Users with fewer item events give them all to training: nothing would be left to learn from."""
USER_BUCKETS = 1 << 20

Columns = list[str]
HISTORY_COLUMNS: Columns = [
    "user_id",
    "user_hash",
    "item_idxs",
    "event_types",
    "event_tss",
    "session_nos",
    "prices",
    "purchased",
]


@dataclass(frozen=True)
class CutPlan:
    """How to cut. Plain values, so that it travels to the workers."""

    run_date: date
    length: int
    stride: int
    num_negatives: int
    seed: int


@dataclass(frozen=True)
class Rows:
    """Which windows to cut: the user, the window number, and the events `starts:ends` that are its input."""

    users: Ints
    numbers: Ints
    starts: Ints
    ends: Ints

    def where(self, chosen: npt.NDArray[np.bool_]) -> "Rows":
        return Rows(self.users[chosen], self.numbers[chosen], self.starts[chosen], self.ends[chosen])


def cut_batches(
    plan: CutPlan, is_known: npt.NDArray[np.bool_], law: Law
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Return the Arrow function from batches of `histories` (HISTORY_COLUMNS) to batches of windows."""

    def cut(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            if batch.num_rows:
                yield cut_windows(batch, plan, is_known, law)

    return cut


def cut_windows(batch: pa.RecordBatch, plan: CutPlan, is_known: npt.NDArray[np.bool_], law: Law) -> pa.RecordBatch:
    """Return all windows of a batch of users."""
    pasts = read_pasts(batch)
    rows = choose_rows(pasts, plan.stride)
    targets_NL = _targets(pasts, rows, plan.length, is_known)
    learns = (targets_NL != PAD).any(axis=1)
    rows, targets_NL = rows.where(learns), targets_NL[learns]

    user_hashes = batch.column("user_hash").to_numpy().astype(np.uint64)
    window_ids = (mix(user_hashes[rows.users] ^ mix(rows.numbers.astype(np.uint64))) >> np.uint64(2)).astype(np.int64)
    vocabulary_size = int(max(len(is_known), pasts.item_idxs.max(initial=0) + 1))
    negatives = draw_negatives(
        window_ids,
        targets_NL,
        rows.users,
        _own_keys(batch, pasts, vocabulary_size),
        vocabulary_size,
        law,
        plan.num_negatives,
        plan.seed,
    )
    known_items = replace(pasts, item_idxs=hide_unknown(pasts.item_idxs, is_known))
    prices = batch.column("prices").flatten().to_numpy(zero_copy_only=False).astype(np.float64)
    columns: dict[str, pa.Array] = {
        "run_date": pa.array([plan.run_date] * len(rows.users), pa.date32()),
        "user_id": batch.column("user_id").take(pa.array(rows.users)),
        "window_no": pa.array(rows.numbers, pa.int32()),
        "window_id": pa.array(window_ids, pa.int64()),
        "user_idx": pa.array(1 + (user_hashes[rows.users] % np.uint64(USER_BUCKETS)).astype(np.int64), pa.int32()),
        **{
            name: lists(align_right(getattr(known_items, name), rows.starts, rows.ends, plan.length))
            for name in ("item_idxs", "event_types", "gap_buckets", "session_starts")
        },
        "target_idxs": lists(targets_NL),
        "negative_idxs": lists(negatives),
        "seen_idxs": _seen(pasts, rows),
        "user_num_events": pa.array(rows.ends - rows.starts, pa.int32()),
        "user_num_purchases": pa.array(_sums(pasts.event_types == 3, rows).astype(np.int64), pa.int32()),
        "user_mean_price": pa.array(_mean_price(prices, rows), pa.float32()),
        "split": pa.array(np.array(["test", "validation", "train"])[np.minimum(rows.numbers, FIRST_TRAINING)]),
    }
    return pa.RecordBatch.from_pydict(columns)


def choose_rows(pasts: Pasts, stride: int) -> Rows:
    """Leave one out: the last item of a user is the test target, the one before it the validation target.

    Training inputs end before the validation target; each predicts the event after every position.
    """
    item_places = np.flatnonzero(pasts.item_idxs >= FIRST_ITEM)
    up_to = np.searchsorted(item_places, pasts.ends)
    num_items = up_to - np.searchsorted(item_places, pasts.starts)
    held = np.flatnonzero(num_items >= MIN_ITEMS_HELD_OUT)
    last, before_last = item_places[up_to[held] - 1], item_places[up_to[held] - 2]

    train_ends = pasts.ends.copy()
    train_ends[held] = before_last
    # The newest training event is a target only, so inputs end one before it.
    num_inputs = np.maximum(train_ends - pasts.starts - 1, 0)
    num_windows = -(-num_inputs // stride)
    users = np.repeat(np.arange(len(num_windows)), num_windows)
    back = np.arange(len(users)) - np.repeat(np.cumsum(num_windows) - num_windows, num_windows)
    return Rows(
        users=np.concatenate([held, held, users]),
        numbers=np.concatenate([np.full(len(held), TEST), np.full(len(held), VALIDATION), FIRST_TRAINING + back]),
        starts=np.concatenate([pasts.starts[held], pasts.starts[held], pasts.starts[users]]),
        ends=np.concatenate([last, before_last, train_ends[users] - 1 - back * stride]),
    )


def lists(matrix: Ints) -> pa.ListArray:
    """Return an (N, M) matrix as a list column."""
    offsets = np.arange(matrix.shape[0] + 1, dtype=np.int32) * matrix.shape[1]
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(matrix.reshape(-1), pa.int32()))


def _targets(pasts: Pasts, rows: Rows, length: int, is_known: npt.NDArray[np.bool_]) -> Ints:
    next_NL = align_right(pasts.item_idxs, rows.starts, rows.ends, length, shift=1)
    # Held-out targets stand as they are, also where the model cannot know them: that is a miss, not a way out.
    held = rows.numbers < FIRST_TRAINING
    targets_NL = hide_unknown(next_NL, is_known, instead=PAD)
    targets_NL = np.where(targets_NL < FIRST_ITEM, PAD, targets_NL)
    targets_NL[held, :-1] = PAD
    targets_NL[held, -1] = pasts.item_idxs[rows.ends[held]]
    return targets_NL


def _own_keys(batch: pa.RecordBatch, pasts: Pasts, vocabulary_size: int) -> Ints:
    purchased, starts, ends = flatten(batch.column("purchased"))
    users = np.arange(len(pasts.starts))
    keys = np.concatenate(
        [
            np.repeat(users, pasts.ends - pasts.starts) * vocabulary_size + pasts.item_idxs,
            np.repeat(users, ends - starts) * vocabulary_size + np.minimum(purchased, vocabulary_size - 1),
        ]
    )
    return np.unique(keys)


def _seen(pasts: Pasts, rows: Rows) -> pa.ListArray:
    held = np.flatnonzero(rows.numbers < FIRST_TRAINING)
    lengths = (rows.ends - rows.starts)[held]
    row = np.repeat(held, lengths)
    event = np.repeat(rows.starts[held] - (np.cumsum(lengths) - lengths), lengths) + np.arange(len(row))
    item = pasts.item_idxs[event]
    keep = item >= FIRST_ITEM
    span = int(pasts.item_idxs.max(initial=0)) + 1
    keys = np.unique(row[keep] * span + item[keep])
    offsets = np.searchsorted(keys, np.arange(len(rows.users) + 1) * span).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(keys % span, pa.int32()))


def _sums(values: npt.NDArray[np.generic], rows: Rows) -> npt.NDArray[np.float64]:
    cumulated = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    sums: npt.NDArray[np.float64] = cumulated[rows.ends] - cumulated[rows.starts]
    return sums


def _mean_price(prices: npt.NDArray[np.float64], rows: Rows) -> npt.NDArray[np.float64]:
    known = ~np.isnan(prices)
    total, count = _sums(np.where(known, prices, 0.0), rows), _sums(known, rows)
    mean: npt.NDArray[np.float64] = total / np.maximum(count, 1)
    return mean

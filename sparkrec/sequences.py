"""Users' pasts as flat NumPy arrays, and the padded matrices that models read. Windows and scoring share them.

U users   E events of all users, end to end   N rows   L positions
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sparkrec.tables import FIRST_ITEM, PAD, UNKNOWN

Ints = npt.NDArray[np.int64]
MAX_GAP_BUCKET = 24
UNKNOWN_PRICE, MAX_PRICE_BUCKET = 1, 127
USER_BUCKETS = 1 << 20
CATEGORY_BUCKETS = 1 << 16
NO_CATEGORY = -1
SPAN = 1 << 32
"""Beyond any item index: number * SPAN + item is a key of both."""
PAST_COLUMNS = ["item_idxs", "event_types", "event_tss", "session_nos", "prices"]
"""Columns of `histories` that pasts are read from."""


@dataclass(frozen=True)
class Pasts:
    """The histories of U users. The events of user u are `starts[u]:ends[u]` of the flat arrays, oldest first."""

    starts: Ints
    ends: Ints
    item_idxs: Ints
    event_types: Ints
    event_tss: Ints
    gap_buckets: Ints
    session_starts: Ints
    price_buckets: Ints


def read_pasts(batch: pa.RecordBatch) -> Pasts:
    """Return the pasts of a batch of `histories` rows."""
    item_idxs, starts, ends = flatten(batch.column("item_idxs"))
    event_types = flatten(batch.column("event_types"))[0]
    event_tss = flatten(batch.column("event_tss"))[0]
    session_nos = flatten(batch.column("session_nos"))[0]
    is_first = np.zeros(len(item_idxs), dtype=bool)
    is_first[starts[ends > starts]] = True
    new_session = is_first | (np.diff(session_nos, prepend=0) != 0)
    return Pasts(
        starts=starts,
        ends=ends,
        item_idxs=item_idxs,
        event_types=event_types,
        event_tss=event_tss,
        gap_buckets=gap_buckets(event_tss // 1_000_000, is_first),
        session_starts=new_session.astype(np.int64),
        price_buckets=price_buckets(batch.column("prices").flatten().to_numpy(zero_copy_only=False)),
    )


def flatten(column: pa.ListArray) -> tuple[Ints, Ints, Ints]:
    """Return a list column's values end to end, and where each row's values start and end."""
    ends = np.cumsum(column.value_lengths().to_numpy(zero_copy_only=False), dtype=np.int64)
    starts = np.concatenate([np.zeros(1, dtype=np.int64), ends[:-1]])
    return column.flatten().to_numpy(zero_copy_only=False).astype(np.int64), starts, ends


def gap_buckets(seconds: Ints, is_first: npt.NDArray[np.bool_]) -> Ints:
    """Return 1 + log2(seconds since the event before + 1), at most MAX_GAP_BUCKET; 1 for a user's first event."""
    gaps = np.where(is_first, 0, np.diff(seconds, prepend=seconds[:1]))
    buckets: Ints = np.minimum(1 + np.log2(np.maximum(gaps, 0) + 1).astype(np.int64), MAX_GAP_BUCKET)
    return buckets


def price_buckets(prices: npt.NDArray[np.floating]) -> Ints:
    """Return 2 + four steps for every doubling of 1 + price, at most MAX_PRICE_BUCKET; 1 where it is not known."""
    known = ~np.isnan(prices)
    steps = 4 * np.log2(1 + np.where(known, prices, 0).astype(np.float64))
    buckets: Ints = np.where(known, np.minimum(2 + steps.astype(np.int64), MAX_PRICE_BUCKET), UNKNOWN_PRICE)
    return buckets


def category_buckets(categories: Ints) -> Ints:
    """Return a number from 2 on for every category (a hash of its name), UNKNOWN for none; (V,)."""
    buckets: Ints = np.where(categories == NO_CATEGORY, UNKNOWN, FIRST_ITEM + categories % (CATEGORY_BUCKETS - 2))
    return buckets


def user_numbers(user_hashes: npt.NDArray[np.uint64]) -> Ints:
    """Return a number from 1 on for every user, from a hash of the id; some users share one."""
    numbers: Ints = 1 + (user_hashes % np.uint64(USER_BUCKETS)).astype(np.int64)
    return numbers


def align_right(values: Ints, starts: Ints, ends: Ints, length: int, shift: int = 0) -> Ints:
    """Return an (N, L) matrix: the newest `length` values of every `start:end`, padded with PAD on the left.

    With `shift` the window is taken as it is and the values are those `shift` places later.
    """
    positions_NL = ends[:, None] - length + np.arange(length)[None, :]
    inside_NL = positions_NL >= starts[:, None]
    if not len(values):
        return np.zeros(positions_NL.shape, dtype=np.int64)
    picked_NL = values[np.clip(positions_NL + shift, 0, len(values) - 1)]
    return np.where(inside_NL, picked_NL, PAD)


def sorted_set(keys: Ints) -> Ints:
    """Return the different keys, ascending; several times quicker than `np.unique` where most are different."""
    in_order = np.sort(keys)
    return in_order[np.concatenate([[True], in_order[1:] != in_order[:-1]])] if len(in_order) else in_order


def counted_within(sizes: Ints) -> Ints:
    """Return 0, 1, … up to its size for each group, one group after the other.

    >>> counted_within(np.array([2, 0, 3])).tolist()
    [0, 1, 0, 1, 2]
    """
    return np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)


def is_in(sorted_keys: Ints, keys: Ints) -> npt.NDArray[np.bool_]:
    """Return which keys are among the sorted ones; ten times quicker than `np.isin`, which sorts both."""
    if not len(sorted_keys):
        return np.zeros(len(keys), dtype=bool)
    found = np.minimum(np.searchsorted(sorted_keys, keys), len(sorted_keys) - 1)
    among: npt.NDArray[np.bool_] = sorted_keys[found] == keys
    return among


def look_up(values_V: npt.NDArray[Any], item_idxs: Ints, otherwise: int | bool) -> npt.NDArray[Any]:
    """Return what is known of items by their index, `otherwise` for those that are newer than the vector."""
    inside = np.minimum(item_idxs, len(values_V) - 1)
    return np.where(item_idxs < len(values_V), values_V[inside], otherwise)


def hide_unknown(item_idxs: Ints, is_known: npt.NDArray[np.bool_], instead: int = UNKNOWN) -> Ints:
    """Return the items with those that the model does not know (too rare, or newer than it) replaced."""
    return np.where((item_idxs >= FIRST_ITEM) & ~look_up(is_known, item_idxs, False), instead, item_idxs)

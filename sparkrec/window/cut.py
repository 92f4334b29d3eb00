"""Cut the windows of a batch of users: inputs, next items, negatives, and what is known of the user by then.

U users   N rows (windows)   L positions   K negatives per target   V vocabulary size
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sparkrec.sequences import (
    PAST_COLUMNS,
    Ints,
    Pasts,
    align_right,
    category_buckets,
    counted_within,
    flatten,
    hide_unknown,
    look_up,
    read_pasts,
    sorted_set,
    user_numbers,
)
from sparkrec.tables import EVENT_CODES, FIRST_ITEM, PAD, UNKNOWN
from sparkrec.window.laws import known_mask
from sparkrec.window.negatives import Laws, Own, draw_negatives, laws_of, mix
from sparkrec.window.rows import FIRST_TRAINING, LAST_ITEMS, Bools, HeldOut, Rows, choose_rows

HISTORY_COLUMNS = ["user_id", "user_hash", *PAST_COLUMNS, "purchased"]


@dataclass(frozen=True)
class CutPlan:
    """How to cut. Plain values, so that it travels to the workers."""

    run_date: date
    length: int
    stride: int
    num_negatives: int
    seed: int
    held_out: HeldOut = LAST_ITEMS


@dataclass(frozen=True)
class Catalogue:
    """What windows need to know of all items, by item index, (V,)."""

    is_known: Bools
    category_idxs: Ints
    laws: Laws


def catalogue_of(
    counts: Ints, categories: Ints, min_item_events: int, power: float, shares: Mapping[Any, float]
) -> Catalogue:
    """Return the catalogue. In: events and category (see `categories_by_index`) by item index, (V,)."""
    laws = laws_of(counts, categories, min_item_events, power, shares)
    return Catalogue(known_mask(counts, min_item_events), category_buckets(categories), laws)


def cut_windows(batch: pa.RecordBatch, plan: CutPlan, catalogue: Catalogue) -> pa.RecordBatch:
    """Return all windows of a batch of `histories` rows (HISTORY_COLUMNS)."""
    pasts = read_pasts(batch)
    is_known = catalogue.is_known
    is_target = plan.held_out.targets(pasts)
    rows, train_ends = choose_rows(pasts, is_target, plan.stride, plan.held_out)
    targets_NL = _targets(pasts, rows, plan.length, is_known, is_target)
    is_used = (targets_NL != PAD).any(axis=1) | (rows.numbers < FIRST_TRAINING)
    rows, targets_NL = rows.where(is_used), targets_NL[is_used]

    user_hashes = batch.column("user_hash").to_numpy().astype(np.uint64)
    window_ids = (mix(user_hashes[rows.users] ^ mix(rows.numbers.astype(np.uint64))) >> np.uint64(2)).astype(np.int64)
    own = _own(batch, pasts, train_ends, is_known)
    negatives = draw_negatives(window_ids, targets_NL, rows.users, own, catalogue.laws, plan.num_negatives, plan.seed)
    seen_as = replace(pasts, item_idxs=hide_unknown(pasts.item_idxs, is_known))
    categories = look_up(catalogue.category_idxs, pasts.item_idxs, UNKNOWN)
    parallel = {
        **{
            name: getattr(seen_as, name)
            for name in ("item_idxs", "event_types", "gap_buckets", "session_starts", "price_buckets")
        },
        "category_idxs": categories,
    }
    prices = batch.column("prices").flatten().to_numpy(zero_copy_only=False).astype(np.float64)
    columns: dict[str, pa.Array] = {
        "run_date": pa.array([plan.run_date] * len(rows.users), pa.date32()),
        "user_id": batch.column("user_id").take(pa.array(rows.users)),
        "window_no": pa.array(rows.numbers, pa.int32()),
        "window_id": pa.array(window_ids, pa.int64()),
        "user_idx": pa.array(user_numbers(user_hashes[rows.users]), pa.int32()),
        **{name: lists(align_right(values, rows.starts, rows.ends, plan.length)) for name, values in parallel.items()},
        "target_idxs": lists(targets_NL),
        "target_types": lists(_target_types(pasts, rows, plan)),
        "negative_idxs": lists(negatives),
        "seen_idxs": _seen(pasts, rows),
        **_relevant(pasts, rows, plan, is_target),
        "user_num_events": pa.array(rows.ends - rows.starts, pa.int32()),
        "user_num_purchases": pa.array(_sums(_is(pasts, "purchase"), rows).astype(np.int64), pa.int32()),
        "user_mean_price": pa.array(_mean_price(prices, rows), pa.float32()),
        "split": pa.array(np.array(["test", "validation", "train"])[np.minimum(rows.numbers, FIRST_TRAINING)]),
    }
    return pa.RecordBatch.from_pydict(columns)


def lists(matrix: Ints) -> pa.ListArray:
    """Return an (N, M) matrix as a list column."""
    offsets = np.arange(matrix.shape[0] + 1, dtype=np.int32) * matrix.shape[1]
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(matrix.reshape(-1), pa.int32()))


def _targets(pasts: Pasts, rows: Rows, length: int, is_known: Bools, is_target: Bools) -> Ints:
    next_NL = align_right(pasts.item_idxs, rows.starts, rows.ends, length, shift=1)
    targets_NL = hide_unknown(next_NL, is_known, instead=PAD)
    targets_NL = np.where(targets_NL < FIRST_ITEM, PAD, targets_NL)
    # Held-out targets stand as they are, also where the model cannot know them: that is a miss, not a way out.
    held, place_HL, is_held_HL = _held_places(rows, length)
    is_held_HL[is_held_HL] = is_target[place_HL[is_held_HL]]
    targets_NL[held] = np.where(is_held_HL, next_NL[held], PAD)
    return targets_NL


def _target_types(pasts: Pasts, rows: Rows, plan: CutPlan) -> Ints:
    """Return the kinds of next events, searches and unknown items included; of held-out sessions not their first."""
    types_NL = align_right(pasts.event_types, rows.starts, rows.ends, plan.length, shift=1)
    held, place_HL, is_held_HL = _held_places(rows, plan.length)
    if plan.held_out.by == "sessions":
        is_held_HL[is_held_HL] = pasts.session_starts[place_HL[is_held_HL]] == 0
    types_NL[held] = np.where(is_held_HL, types_NL[held], PAD)
    return types_NL


def _held_places(rows: Rows, length: int) -> tuple[Ints, Ints, Bools]:
    """Return the held-out rows, the place of the event after each position, and whether that one is held out."""
    held = np.flatnonzero(rows.numbers < FIRST_TRAINING)
    place_HL = rows.ends[held, None] - length + 1 + np.arange(length)[None, :]
    return held, place_HL, place_HL >= rows.firsts[held, None]


def _own(batch: pa.RecordBatch, pasts: Pasts, train_ends: Ints, is_known: Bools) -> Own:
    purchased, starts, ends = flatten(batch.column("purchased"))
    users = np.arange(len(pasts.starts))
    of_event, of_purchase = np.repeat(users, pasts.ends - pasts.starts), np.repeat(users, ends - starts)
    largest = max(pasts.item_idxs.max(initial=0), purchased.max(initial=0), len(is_known) - 1)
    size = int(largest) + 1
    touched = of_event * size + pasts.item_idxs
    bought = of_purchase * size + purchased
    before_the_cut = np.arange(len(pasts.item_idxs)) < train_ends[of_event]
    shown = before_the_cut & _is(pasts, "view") & (hide_unknown(pasts.item_idxs, is_known) >= FIRST_ITEM)
    all_bought = np.concatenate([bought, touched[_is(pasts, "purchase")]])
    viewed = sorted_set(touched[shown])
    return Own(size, np.sort(np.concatenate([touched, bought])), viewed[~np.isin(viewed, all_bought)])


def _is(pasts: Pasts, kind: str) -> Bools:
    is_kind: Bools = pasts.event_types == EVENT_CODES[kind]
    return is_kind


def _seen(pasts: Pasts, rows: Rows) -> pa.ListArray:
    """Return the different items that a user touched in the input and before it; nothing for training windows."""
    row, event = _events(rows, rows.starts, rows.ends)
    item = pasts.item_idxs[event]
    keep = item >= FIRST_ITEM
    span = int(pasts.item_idxs.max(initial=0)) + 1
    keys = sorted_set(row[keep] * span + item[keep])
    offsets = np.searchsorted(keys, np.arange(len(rows.users) + 1) * span).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(keys % span, pa.int32()))


def _relevant(pasts: Pasts, rows: Rows, plan: CutPlan, is_target: Bools) -> dict[str, pa.ListArray]:
    """Return what is to be found, its kinds, and whether the user had touched the item before, in order of time; of
    sessions' steps those that a window holds."""
    is_by_step = plan.held_out.by == "sessions"
    firsts = np.maximum(rows.firsts, rows.ends - plan.length + 1) if is_by_step else rows.firsts
    row, event = _events(rows, firsts, rows.untils)
    row, event = row[is_target[event]], event[is_target[event]]
    offsets = pa.array(np.searchsorted(row, np.arange(len(rows.users) + 1)).astype(np.int32))
    is_repeat = _first_touched(pasts)[event] < (event if is_by_step else rows.firsts[row])
    found = {
        "relevant_idxs": pasts.item_idxs[event],
        "relevant_types": pasts.event_types[event],
        "relevant_repeats": is_repeat.astype(np.int32),
    }
    return {name: pa.ListArray.from_arrays(offsets, pa.array(values, pa.int32())) for name, values in found.items()}


def _first_touched(pasts: Pasts) -> Ints:
    """Return the place of the user's first event on the same item, (E,)."""
    user = np.repeat(np.arange(len(pasts.starts)), pasts.ends - pasts.starts)
    span = int(pasts.item_idxs.max(initial=0)) + 1
    _, first, key = np.unique(user * span + pasts.item_idxs, return_index=True, return_inverse=True)
    found: Ints = first[key]
    return found


def _events(rows: Rows, firsts: Ints, untils: Ints) -> tuple[Ints, Ints]:
    """Return row and place of the events `firsts:untils` of every held-out row."""
    held = np.flatnonzero(rows.numbers < FIRST_TRAINING)
    lengths = (untils - firsts)[held]
    row = np.repeat(held, lengths)
    return row, np.repeat(firsts[held], lengths) + counted_within(lengths)


def _sums(values: npt.NDArray[np.generic], rows: Rows) -> npt.NDArray[np.float64]:
    cumulated = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    sums: npt.NDArray[np.float64] = cumulated[rows.ends] - cumulated[rows.starts]
    return sums


def _mean_price(prices: npt.NDArray[np.float64], rows: Rows) -> npt.NDArray[np.float64]:
    known = ~np.isnan(prices)
    total, count = _sums(np.where(known, prices, 0.0), rows), _sums(known, rows)
    mean: npt.NDArray[np.float64] = total / np.maximum(count, 1)
    return mean

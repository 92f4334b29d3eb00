"""Items that a user is not offered for what the user did: bought, or seen not long ago."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from sparkrec.sequences import Ints, flatten, sorted_set
from sparkrec.tables import EVENT_CODES, FIRST_ITEM

PURCHASE = "purchase"


def cutoffs(leave_out: Mapping[Any, int | None], run_date: date) -> dict[str, int | None]:
    """Return from which microsecond on events of every kind count, None for always: the end of the date (UTC) less
    the days."""
    end = datetime(run_date.year, run_date.month, run_date.day, tzinfo=UTC) + timedelta(days=1)
    return {
        kind: None if days is None else int((end - timedelta(days=days)).timestamp()) * 1_000_000
        for kind, days in leave_out.items()
    }


def left_out(people: pa.Table | pa.RecordBatch, cuts: Mapping[str, int | None]) -> tuple[Ints, Ints]:
    """Return pairs that are not offered, sorted and each once: the user's row, the item's index.

    In   people: item_idxs, event_types, event_tss, purchased, num_events. A row is one user. cuts: see `cutoffs`.

    `purchased` remembers more than the events that are kept, but not when: where a purchase counts for some days only
    and the kept events do not reach back that far, all of it counts.
    """
    items, starts, ends = flatten(_one_chunk(people.column("item_idxs")))
    kinds = flatten(_one_chunk(people.column("event_types")))[0]
    moments = flatten(_one_chunk(people.column("event_tss")))[0]
    user = np.repeat(np.arange(len(starts)), ends - starts)
    counts = np.zeros(len(items), dtype=bool)
    for kind, cut in cuts.items():
        of_kind = kinds == EVENT_CODES[kind]
        counts |= of_kind if cut is None else of_kind & (moments >= cut)
    users, of_users = [user[counts]], [items[counts]]
    if PURCHASE in cuts:
        bought, first, last = flatten(_one_chunk(people.column("purchased")))
        buyer = np.repeat(np.arange(len(first)), last - first)
        cut = cuts[PURCHASE]
        if cut is not None:
            num_kept = ends - starts
            is_cut_off = people.column("num_events").to_numpy(zero_copy_only=False) > num_kept
            oldest = np.zeros(len(starts), dtype=np.int64)
            oldest[num_kept > 0] = moments[starts[num_kept > 0]]
            remembered = (is_cut_off & (oldest > cut))[buyer]
            buyer, bought = buyer[remembered], bought[remembered]
        users, of_users = [*users, buyer], [*of_users, bought]
    row, item = np.concatenate(users), np.concatenate(of_users)
    is_item = item >= FIRST_ITEM
    pairs = sorted_set(row[is_item] << 32 | item[is_item])
    return pairs >> 32, pairs & (2**32 - 1)


def _one_chunk(column: pa.Array | pa.ChunkedArray) -> pa.ListArray:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column

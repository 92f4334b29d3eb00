"""Look at a group's file as it was written, beside the pasts it was made from and what is on offer."""

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sparkrec.recommend.left_out import left_out
from sparkrec.recommend.offer import NOWHERE, Offer
from sparkrec.recommend.score import MODEL
from sparkrec.sequences import NO_CATEGORY, Ints, is_in, sorted_set

if TYPE_CHECKING:
    from sparkrec.recommend.groups import GroupPlan

FAULTS = ("incomplete", "odd_scores", "not_on_offer", "left_out", "over_cap", "out_of_order")
"""Users whose list is not N different items, ranks 1 to N; rows with a score that is no number, with an item that the
user's segment is not offered, with one the user is not offered for what the user did, with more items of a category
than a cap allows, with a score of the model's above that of the rank before (but for lists made to vary)."""


def look_at_group(written: pa.Table, people: pa.Table, offer: Offer, plan: "GroupPlan") -> dict[str, Any]:
    """Return what a group's file holds: users, rows by source, FAULTS, pairs left out.

    In   written: rows as they were read back. people: the users whose lists they should be.
    """
    top_n = plan.settings.top_n
    row_of_user = pc.index_in(written.column("user_id"), people.column("user_id").combine_chunks())
    user = row_of_user.combine_chunks().fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    item_idx = pc.index_in(written.column("item_id"), offer.item_id_V).combine_chunks().fill_null(0)
    item = item_idx.to_numpy(zero_copy_only=False).astype(np.int64)
    rank = written.column("rank").to_numpy()
    score = written.column("score").to_numpy()

    place = offer.place_V[item]
    segment_U = offer.number_segments(people.column("segment"))
    refused = offer.refusal_SI.numpy()[segment_U[user], np.maximum(place, 0)] != 0
    out_user, out_item = left_out(people, plan.cuts)
    is_out = is_in(out_user << 32 | out_item, user << 32 | item)
    by_source = pc.value_counts(written.column("source")).to_pylist()
    return {
        "users": len(people),
        "rows": len(written),
        "incomplete": int((~_is_complete(user, item, rank, len(people), top_n)).sum()),
        "odd_scores": int((~np.isfinite(score)).sum()),
        "not_on_offer": int(((place == NOWHERE) | refused).sum()),
        "left_out": int(is_out.sum()),
        "over_cap": _over_cap(user, place, segment_U, offer),
        "out_of_order": 0 if plan.settings.diversity else _out_of_order(written, user, rank, score),
        "left_out_pairs": len(out_user),
        "by_source": {entry["values"]: entry["counts"] for entry in by_source},
        "users_by_segment": np.bincount(segment_U, minlength=len(offer.segments)).tolist(),
    }


def _over_cap(user: Ints, place: Ints, segment_U: Ints, offer: Offer) -> int:
    if not offer.has_caps:
        return 0
    category = offer.categories_I[place]
    there = np.flatnonzero((place != NOWHERE) & (user >= 0) & (category != NO_CATEGORY))
    pairs = np.stack([user[there], category[there]])
    _, group, size = np.unique(pairs, axis=1, return_inverse=True, return_counts=True)
    cap = offer.cap_SI.numpy()[segment_U[user[there]], place[there]]
    return int((size[group] > cap).sum())


def _out_of_order(written: pa.Table, user: Ints, rank: Ints, score: npt.NDArray[np.float64]) -> int:
    is_model = pc.equal(written.column("source"), MODEL).to_numpy()
    order = np.lexsort((rank, user))
    together = (user[order][1:] == user[order][:-1]) & is_model[order][1:] & is_model[order][:-1]
    later, earlier = score[order][1:], score[order][:-1]
    rises = np.isfinite(later) & np.isfinite(earlier) & (later > earlier)
    return int((together & rises).sum())


def _is_complete(user: Ints, item: Ints, rank: Ints, num_users: int, top_n: int) -> Any:
    """Return for every user whether the list has N rows, N different ranks from 1 to N and N different items."""
    fits = (user >= 0) & (rank >= 1) & (rank <= top_n)
    ranks = sorted_set(user[fits] << 32 | rank[fits])
    items = sorted_set(user[fits] << 32 | item[fits])
    return (
        (np.bincount(user[user >= 0], minlength=num_users) == top_n)
        & (np.bincount(ranks >> 32, minlength=num_users) == top_n)
        & (np.bincount(items >> 32, minlength=num_users) == top_n)
    )

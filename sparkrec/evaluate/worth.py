"""What lists were worth when it turned out what users did: the metrics of ranks, and serendipity.

P different items that users took up   T deeds: an item and a kind of event   R places in lists
G groups: a slice of a user
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame

from sparkrec.evaluate.gains import NO_RANK, Floats
from sparkrec.evaluate.lists import adder, places_of
from sparkrec.evaluate.ranked import Ranked, figures_of_ranks, gains_of_ranks
from sparkrec.evaluate.slices import NAMES, NONE, NUMBER, of_kinds
from sparkrec.evaluate.sums import SUMS, Figure, Sums
from sparkrec.sequences import SPAN, Ints, flatten, is_in, look_up, sorted_set

SERENDIPITY = "serendipity"
"""Share of the first k places that the user took up and that are not among the k most popular items
(Ge, Delgado-Battenfeld, Jannach, RecSys 2010)."""


def sums_of_worth(
    users: DataFrame, counts_V: Ints, class_V: Ints, model_version: str, top_k: Sequence[int], protocol: str
) -> DataFrame:
    """Return rows of SUMS for the slices all, repeat and novel, kinds of events and popularity of items.

    In   users: see `with_deeds`. counts_V: events by item before the lists were made.
         class_V: see `popularity_classes`.
    """
    figures = figures_of_ranks([model_version], [], top_k)
    figures += [Figure(model_version, "", SERENDIPITY, k) for k in top_k]
    popularity_V = np.empty(len(counts_V), dtype=np.int64)
    popularity_V[np.argsort(-counts_V, kind="stable")] = np.arange(1, len(counts_V) + 1)

    def add(batch: pa.RecordBatch, sums: Sums) -> None:
        sums.add(*worth_of(batch, popularity_V, class_V, top_k))

    return users.mapInArrow(adder(add, lambda: Sums(figures, NAMES), protocol), SUMS)


def worth_of(
    batch: pa.RecordBatch, popularity_V: Ints, class_V: Ints, top_k: Sequence[int]
) -> tuple[Ints, Ints, Floats]:
    """Return user, slice and gains of every group: (G,), (G,), (G, J)."""
    done_T, starts, ends = flatten(batch.column("done_idxs"))
    keys_T = np.repeat(np.arange(batch.num_rows), ends - starts) * SPAN + done_T
    keys_P, place_T = np.unique(keys_T, return_inverse=True)
    item_P, of_P = keys_P % SPAN, np.arange(len(keys_P))
    past, starts, ends = flatten(batch.column("past_idxs"))
    past_keys = sorted_set(np.repeat(np.arange(batch.num_rows), ends - starts) * SPAN + past)
    pairs = [
        (of_P, np.full(len(of_P), NUMBER["all"])),
        (of_P, np.where(is_in(past_keys, keys_P), NUMBER["repeat"], NUMBER["novel"])),
        (of_P, look_up(class_V, item_P, NUMBER["items tail"])),
        (place_T, of_kinds(flatten(batch.column("done_types"))[0])),
    ]
    pair_Q, slice_Q = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    kept = slice_Q != NONE
    rank_P = _ranks_in_lists(keys_P, batch)
    ranked = Ranked(np.arange(batch.num_rows), keys_P // SPAN, rank_P[None], pair_Q[kept], slice_Q[kept])
    user_G, slice_G, gain_GJ = gains_of_ranks(ranked, len(NAMES), [], top_k)

    # How often a list had something that the user took up, were the most popular items not counted.
    surprising_P = look_up(popularity_V, item_P, NO_RANK)
    keys_G = user_G * len(NAMES) + slice_G  # ascending
    group_Q = np.searchsorted(keys_G, ranked.case_P[ranked.pair_Q] * len(NAMES) + ranked.slice_Q)
    is_surprise = [((rank_P <= k) & (surprising_P > k))[ranked.pair_Q] for k in top_k]
    shares = [np.bincount(group_Q, hit, len(keys_G)) / k for hit, k in zip(is_surprise, top_k, strict=True)]
    return user_G, slice_G, np.concatenate([gain_GJ, np.stack(shares, axis=1)], axis=1)


def _ranks_in_lists(keys_P: Ints, batch: pa.RecordBatch) -> Ints:
    """Return (P,): the rank in the user's list, NO_RANK where it was not in it."""
    user_R, item_R, rank_R = places_of(batch)
    keys_R = user_R * SPAN + item_R
    order = np.argsort(keys_R)
    place_P = np.minimum(np.searchsorted(keys_R[order], keys_P), len(order) - 1)
    return np.where(keys_R[order][place_P] == keys_P, rank_R[order][place_P], NO_RANK)

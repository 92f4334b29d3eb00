"""From ranks to gains: every metric of every contestant, and paired differences, of each slice of each case.

C cases   P things to be found   Q pairs of such a thing and a slice   K contestants   G groups: a slice of a case
J figures
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sparkrec.evaluate.gains import METRICS, Floats, gains_of
from sparkrec.evaluate.sums import Figure
from sparkrec.sequences import Ints

Pairs = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Ranked:
    """Ranked cases of whole users: where K contestants had what was to be found, beyond all cut-offs if nowhere."""

    user_C: Ints
    case_P: Ints
    rank_KP: Ints
    pair_Q: Ints
    slice_Q: Ints


def figures_of_ranks(contestants: Sequence[str], pairs: Pairs, top_k: Sequence[int]) -> list[Figure]:
    """Return what the columns of `gains_of_ranks` are. In: pairs: of contestants that are compared."""
    names = [(name, "") for name in contestants]
    names += [(contestants[ours], contestants[theirs]) for ours, theirs in pairs]
    return [Figure(*name, metric, k) for name in names for metric in METRICS for k in top_k]


def gains_of_ranks(ranked: Ranked, num_slices: int, pairs: Pairs, top_k: Sequence[int]) -> tuple[Ints, Ints, Floats]:
    """Return user, slice and gains of every group that has something to be found: (G,), (G,), (G, J)."""
    keys_G, group_Q = np.unique(ranked.case_P[ranked.pair_Q] * num_slices + ranked.slice_Q, return_inverse=True)
    own = [gains_of(group_Q, rank_P[ranked.pair_Q], len(keys_G), top_k) for rank_P in ranked.rank_KP]
    gain_GJ = np.concatenate([*own, *(own[ours] - own[theirs] for ours, theirs in pairs)], axis=1)
    return ranked.user_C[keys_G // num_slices], keys_G % num_slices, gain_GJ

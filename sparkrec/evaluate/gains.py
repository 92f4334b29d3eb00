"""What lists are worth, from the ranks of what was to be found: hit rate, recall, precision, NDCG, MRR and MAP.

The definitions are those of trec_eval (success, recall, P, ndcg_cut, recip_rank, map_cut), with gains of 0 and 1:

- hr: 1 where one of the R things to be found is among the first k
- recall: how many of them are, divided by R
- precision: how many of them are, divided by k
- ndcg: the sum of 1 / log2(rank + 1) over them, divided by that of the best list there could be
- mrr: 1 / rank of the first of them
- map: the mean over all R of the precision at its rank, 0 for those beyond k

P things to be found   G groups of them   J = len(METRICS) x cut-offs
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from sparkrec.sequences import Ints

NO_RANK = 2**31 - 1
"""Rank of what has no finite score, or is in no list; beyond every cut-off, however small the catalogue."""
METRICS = ("hr", "recall", "precision", "ndcg", "mrr", "map")
Floats = npt.NDArray[np.float64]


def gains_of(group_P: Ints, rank_P: Ints, num_groups: int, top_k: Sequence[int]) -> Floats:
    """Return (G, J): every metric at every cut-off (metric by metric) of groups that have something to be found each.

    In   group_P: from 0. rank_P: from 1, different ones within a group but for those beyond the cut-offs.
    """
    order = np.lexsort((rank_P, group_P))
    group_P, rank_P = group_P[order], rank_P[order]
    size_G = np.bincount(group_P, minlength=num_groups)
    nth_P = 1 + np.arange(len(group_P)) - (np.cumsum(size_G) - size_G)[group_P]
    discounts = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(2, max(top_k) + 2)))])
    found: dict[str, list[Floats]] = {metric: [] for metric in METRICS}
    for k in top_k:
        is_in_P = rank_P <= k
        group, rank, nth = group_P[is_in_P], rank_P[is_in_P], nth_P[is_in_P]
        hits_G = np.bincount(group, minlength=num_groups).astype(np.float64)
        found["hr"].append((hits_G > 0).astype(np.float64))
        found["recall"].append(hits_G / size_G)
        found["precision"].append(hits_G / k)
        found["ndcg"].append(_sums(group, 1 / np.log2(rank + 1), num_groups) / discounts[np.minimum(size_G, k)])
        first = nth == 1
        found["mrr"].append(_sums(group[first], 1 / rank[first], num_groups))
        found["map"].append(_sums(group, nth / rank, num_groups) / size_G)
    return np.stack([values for metric in METRICS for values in found[metric]], axis=1)


def ndcg_at(group_P: Ints, rank_P: Ints, num_groups: int, k: int) -> Floats:
    """Return NDCG@k of every group, (G,)."""
    ndcg_G: Floats = gains_of(group_P, rank_P, num_groups, [k])[:, METRICS.index("ndcg")]
    return ndcg_G


def _sums(group: Ints, values: Floats, num_groups: int) -> Floats:
    sums_G: Floats = np.bincount(group, values, num_groups).astype(np.float64)
    return sums_G

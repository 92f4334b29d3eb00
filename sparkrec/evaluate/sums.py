"""From ranks to sums over users: all that means, paired differences and their intervals need, a few rows per task.

C cases   P things to be found   Q pairs of such a thing and a slice   K contestants   G groups: a slice of a case
J columns: contestants and pairs of them x metrics x cut-offs   U users of a slice
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from sparkrec.evaluate.gains import METRICS, Floats, gains_of
from sparkrec.sequences import Ints

SUMS = (
    "split string, protocol string, slice string, model_version string, against string, metric string, k int,"
    " users long, cases long, squared_cases long, gain double, squared_gain double, gain_times_cases double"
)
"""A row is one figure of some of the users: how many, how many cases they have, the sum of their gains (each user's
being the sum over the user's cases), and what the interval needs."""
ARROW = pa.schema(
    [(name, pa.string()) for name in ("split", "protocol", "slice", "model_version", "against", "metric")]
    + [("k", pa.int32()), *((name, pa.int64()) for name in ("users", "cases", "squared_cases"))]
    + [(name, pa.float64()) for name in ("gain", "squared_gain", "gain_times_cases")]
)


@dataclass(frozen=True)
class Ranked:
    """Ranked cases of whole users: where K contestants had what was to be found, beyond all cut-offs if nowhere."""

    user_C: Ints
    case_P: Ints
    rank_KP: Ints
    pair_Q: Ints
    slice_Q: Ints


@dataclass
class Sums:
    """Adds up ranked cases of one protocol; `pairs` are contestants to be compared on the same cases."""

    contestants: Sequence[str]
    pairs: Sequence[tuple[int, int]]
    top_k: Sequence[int]
    slices: Sequence[str]
    whole: dict[str, Floats] = field(init=False)

    def __post_init__(self) -> None:
        num_slices, width = len(self.slices), len(METRICS) * len(self.top_k) * (len(self.contestants) + len(self.pairs))
        counts = {name: np.zeros((num_slices, 1)) for name in ("users", "cases", "squared_cases")}
        gains = {name: np.zeros((num_slices, width)) for name in ("gain", "squared_gain", "gain_times_cases")}
        self.whole = counts | gains

    def add(self, ranked: Ranked) -> None:
        """Add the cases of users of whom no case comes in another call."""
        if not len(ranked.pair_Q):
            return
        num_slices = len(self.slices)
        keys_G, group_Q = np.unique(ranked.case_P[ranked.pair_Q] * num_slices + ranked.slice_Q, return_inverse=True)
        own = [gains_of(group_Q, rank_P[ranked.pair_Q], len(keys_G), self.top_k) for rank_P in ranked.rank_KP]
        gain_GJ = np.concatenate([*own, *(own[ours] - own[theirs] for ours, theirs in self.pairs)], axis=1)
        slice_G, user_G = keys_G % num_slices, ranked.user_C[keys_G // num_slices]
        span = int(user_G.max()) + 1
        keys_U, user_of_G = np.unique(slice_G * span + user_G, return_inverse=True)
        slice_U, cases_U1 = keys_U // span, np.bincount(user_of_G)[:, None].astype(np.float64)
        gain_UJ = _added(gain_GJ, user_of_G, len(keys_U))
        parts = {
            "users": np.ones_like(cases_U1), "cases": cases_U1, "squared_cases": cases_U1**2,
            "gain": gain_UJ, "squared_gain": gain_UJ**2, "gain_times_cases": gain_UJ * cases_U1,
        }  # fmt: skip
        for name, values in parts.items():
            self.whole[name] += _added(values, slice_U, num_slices)

    def rows(self, split: str, protocol: str) -> Iterator[pa.RecordBatch]:
        """Return rows of SUMS."""
        names = [(name, "") for name in self.contestants]
        names += [(self.contestants[ours], self.contestants[theirs]) for ours, theirs in self.pairs]
        figures = [(*name, metric, k) for name in names for metric in METRICS for k in self.top_k]
        used = np.flatnonzero(self.whole["users"][:, 0])
        if not len(used):
            return
        times = len(figures)
        told = dict(zip(("model_version", "against", "metric", "k"), zip(*figures, strict=True), strict=True))
        columns = {name: list(values) * len(used) for name, values in told.items()}
        columns |= {"split": [split] * times * len(used), "protocol": [protocol] * times * len(used)}
        columns |= {"slice": [self.slices[number] for number in used.tolist() for _ in range(times)]}
        sums = {
            name: np.broadcast_to(values[used], (len(used), times)).reshape(-1) for name, values in self.whole.items()
        }
        columns |= {name: pa.array(values).cast(ARROW.field(name).type) for name, values in sums.items()}
        yield pa.RecordBatch.from_pydict(columns, schema=ARROW)


def _added(values: Floats, group: Ints, num_groups: int) -> Floats:
    """Return the sums of rows by group."""
    order = np.argsort(group, kind="stable")
    summed = np.zeros((num_groups, values.shape[1]))
    present, first = np.unique(group[order], return_index=True)
    summed[present] = np.add.reduceat(values[order], first, axis=0)
    return summed

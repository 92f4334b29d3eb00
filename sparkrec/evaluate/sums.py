"""Sums over users: all that means, paired differences and their intervals need, a few rows per task.

G groups: a slice of a case   J figures   U users of a slice
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from sparkrec.evaluate.gains import Floats
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


class Figure(NamedTuple):
    """What a column of gains is: a contestant's metric at a cut-off, or the difference of two contestants' metric."""

    model_version: str
    against: str
    metric: str
    k: int


@dataclass
class Sums:
    """Adds up gains of one split and protocol."""

    figures: Sequence[Figure]
    slices: Sequence[str]
    whole: dict[str, Floats] = field(init=False)

    def __post_init__(self) -> None:
        counts = {name: np.zeros((len(self.slices), 1)) for name in ("users", "cases", "squared_cases")}
        gains = {
            name: np.zeros((len(self.slices), len(self.figures)))
            for name in ("gain", "squared_gain", "gain_times_cases")
        }
        self.whole = counts | gains

    def add(self, user_G: Ints, slice_G: Ints, gain_GJ: Floats) -> None:
        """Add cases of users of whom no case comes in another call; a user is a number from 0."""
        if not len(user_G):
            return
        span = int(user_G.max()) + 1
        keys_U, user_of_G = np.unique(slice_G * span + user_G, return_inverse=True)
        slice_U, cases_U1 = keys_U // span, np.bincount(user_of_G)[:, None].astype(np.float64)
        gain_UJ = _added(gain_GJ, user_of_G, len(keys_U))
        parts = {
            "users": np.ones_like(cases_U1), "cases": cases_U1, "squared_cases": cases_U1**2,
            "gain": gain_UJ, "squared_gain": gain_UJ**2, "gain_times_cases": gain_UJ * cases_U1,
        }  # fmt: skip
        for name, values in parts.items():
            self.whole[name] += _added(values, slice_U, len(self.slices))

    def rows(self, split: str, protocol: str) -> Iterator[pa.RecordBatch]:
        """Return rows of SUMS."""
        used = np.flatnonzero(self.whole["users"][:, 0])
        if not len(used):
            return
        times = len(self.figures)
        told = zip(Figure._fields, zip(*self.figures, strict=True), strict=True)
        columns: dict[str, Any] = {name: list(values) * len(used) for name, values in told}
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

"""Which windows to cut from users' pasts: what is held out, and what is left to learn from.

U users   E events of all users   N rows (windows)
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sparkrec.sequences import Ints, Pasts
from sparkrec.tables import FIRST_ITEM

TEST, VALIDATION, FIRST_TRAINING = 0, 1, 2
"""Window numbers."""
MIN_ITEMS_TEST, MIN_ITEMS_VALIDATION = 3, 4
"""Users with fewer item events hold out less: nothing would be left to learn from. And as users with two items train on
both, and those with three on two, no later night's target is one that an earlier night's model has trained on."""


@dataclass(frozen=True)
class Cut:
    """A cut by date: instants, in microseconds since 1970, at which the validation and the test period begin."""

    validation_us: int
    test_us: int


@dataclass(frozen=True)
class Rows:
    """Which windows to cut: the user, the window number, the events `starts:ends` that are its input, and the target.

    `targets` is the place of the held-out event; of a training window it is -1, for every position has its own.
    """

    users: Ints
    numbers: Ints
    starts: Ints
    ends: Ints
    targets: Ints

    def where(self, chosen: npt.NDArray[np.bool_]) -> "Rows":
        kept = (values[chosen] for values in (self.users, self.numbers, self.starts, self.ends, self.targets))
        return Rows(*kept)


def choose_rows(pasts: Pasts, stride: int, cut: Cut | None) -> tuple[Rows, Ints]:
    """Return the windows of all users, and where each user's part for training ends; (U,).

    Without a cut one item is left out: a user's last item is the test target, the one before it the validation target
    (of three items only the last is held out).
    With one the targets are the first items of the validation and of the test period. Inputs of a held-out target are
    all events before it; training inputs end before the first that is held out, and each predicts the event after it.
    """
    held, train_ends = _leave_one_out(pasts) if cut is None else _by_date(pasts, cut)
    # The newest training event is a target only, so inputs end one before it.
    num_inputs = np.maximum(train_ends - pasts.starts - 1, 0)
    num_windows = -(-num_inputs // stride)
    users = np.repeat(np.arange(len(num_windows)), num_windows)
    back = np.arange(len(users)) - np.repeat(np.cumsum(num_windows) - num_windows, num_windows)
    training = Rows(
        users=users,
        numbers=FIRST_TRAINING + back,
        starts=pasts.starts[users],
        ends=train_ends[users] - 1 - back * stride,
        targets=np.full(len(users), -1, dtype=np.int64),
    )
    parts = [*held, training]
    names = ("users", "numbers", "starts", "ends", "targets")
    return Rows(*(np.concatenate([getattr(part, name) for part in parts]) for name in names)), train_ends


def _leave_one_out(pasts: Pasts) -> tuple[list[Rows], Ints]:
    item_places = np.flatnonzero(pasts.item_idxs >= FIRST_ITEM)
    up_to = np.searchsorted(item_places, pasts.ends)
    num_items = up_to - np.searchsorted(item_places, pasts.starts)
    train_ends = pasts.ends.copy()
    rows = []
    for number, least, back in ((TEST, MIN_ITEMS_TEST, 1), (VALIDATION, MIN_ITEMS_VALIDATION, 2)):
        users = np.flatnonzero(num_items >= least)
        targets = item_places[up_to[users] - back]
        train_ends[users] = targets
        rows.append(_held(pasts, users, number, targets))
    return rows, train_ends


def _by_date(pasts: Pasts, cut: Cut) -> tuple[list[Rows], Ints]:
    from_validation = _first_since(pasts, cut.validation_us)
    from_test = _first_since(pasts, cut.test_us)
    item_places = np.append(np.flatnonzero(pasts.item_idxs >= FIRST_ITEM), len(pasts.item_idxs))
    rows = []
    for number, since, until in ((TEST, from_test, pasts.ends), (VALIDATION, from_validation, from_test)):
        first = item_places[np.searchsorted(item_places, since)]
        # A target with no event before it could only be guessed.
        users = np.flatnonzero((first < until) & (first > pasts.starts))
        rows.append(_held(pasts, users, number, first[users]))
    return rows, from_validation


def _first_since(pasts: Pasts, moment_us: int) -> Ints:
    """Return the place of every user's first event at or after a moment; events lie in time order."""
    earlier = np.concatenate([[0], np.cumsum(pasts.event_tss < moment_us)])
    first: Ints = pasts.starts + earlier[pasts.ends] - earlier[pasts.starts]
    return first


def _held(pasts: Pasts, users: Ints, number: int, targets: Ints) -> Rows:
    return Rows(users, np.full(len(users), number), pasts.starts[users], targets, targets)

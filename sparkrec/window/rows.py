"""Which windows to cut from users' pasts: what is held out, and what is left to learn from.

U users   E events of all users   N rows (windows)
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from sparkrec.sequences import Ints, Pasts, counted_within
from sparkrec.tables import FIRST_ITEM

Bools = npt.NDArray[np.bool_]
TEST, VALIDATION, FIRST_TRAINING = 0, 1, 2
"""Window numbers."""
MIN_ITEMS = 3
"""Item events that a user has up to and with a last item that is held out: with fewer, nothing would be left to learn
from. And as users with two items train on both, and those with three on two, no later night's target is one that an
earlier night's model has trained on."""


@dataclass(frozen=True)
class HeldOut:
    """What is held out: by `last_items`, by `date` or by `sessions`, of events of these kinds.

    The instants, in microseconds since 1970, are those at which the validation and the test period begin.
    """

    by: Literal["last_items", "date", "sessions"] = "last_items"
    codes: tuple[int, ...] | None = None
    """Codes of the kinds of events that may be held out, None for all."""
    validation_us: int = 0
    test_us: int = 0

    def targets(self, pasts: Pasts) -> Bools:
        """Return which events may be held out, (E,): item events of these kinds, and no session's first."""
        is_target = pasts.item_idxs >= FIRST_ITEM
        if self.codes is not None:
            is_target &= np.isin(pasts.event_types, self.codes)
        return is_target & (pasts.session_starts == 0) if self.by == "sessions" else is_target


LAST_ITEMS = HeldOut()


@dataclass(frozen=True)
class Rows:
    """Which windows to cut: the user, the window number, and the events `starts:ends` that are its input.

    What is to be found lies among the events `firsts:untils`; both are -1 for training windows, where every position
    has a target.
    """

    users: Ints
    numbers: Ints
    starts: Ints
    ends: Ints
    firsts: Ints
    untils: Ints

    def where(self, chosen: Bools) -> "Rows":
        kept = (self.users, self.numbers, self.starts, self.ends, self.firsts, self.untils)
        return Rows(*(values[chosen] for values in kept))


def choose_rows(pasts: Pasts, is_target: Bools, stride: int, held_out: HeldOut) -> tuple[Rows, Ints]:
    """Return the windows of all users, and where each user's part for training ends; (U,).

    Training inputs end before the first event that is held out, and each predicts the event after it. What is held out:

    - last_items: a user's last item is the test target, the one before it the validation target (of three items only
      the last). Inputs are all events before it.
    - date: the items of the test and of the validation period. Inputs are all events before the period.
    - sessions: every step within the periods' sessions. Inputs are all events but the last step.

    In   is_target: see `HeldOut.targets`.
    """
    held, train_ends = (
        _last_items(pasts, is_target) if held_out.by == "last_items" else _periods(pasts, is_target, held_out)
    )
    # The newest training event is a target only, so inputs end one before it.
    num_inputs = np.maximum(train_ends - pasts.starts - 1, 0)
    num_windows = -(-num_inputs // stride)
    users = np.repeat(np.arange(len(num_windows)), num_windows)
    back = counted_within(num_windows)
    nothing = np.full(len(users), -1, dtype=np.int64)
    training = Rows(
        users=users,
        numbers=FIRST_TRAINING + back,
        starts=pasts.starts[users],
        ends=train_ends[users] - 1 - back * stride,
        firsts=nothing,
        untils=nothing,
    )
    parts = [*held, training]
    names = ("users", "numbers", "starts", "ends", "firsts", "untils")
    return Rows(*(np.concatenate([getattr(part, name) for part in parts]) for name in names)), train_ends


def _last_items(pasts: Pasts, is_target: Bools) -> tuple[list[Rows], Ints]:
    places = np.flatnonzero(is_target)
    up_to = np.searchsorted(places, pasts.ends)
    num_targets = up_to - np.searchsorted(places, pasts.starts)
    items_before = np.concatenate([[0], np.cumsum(pasts.item_idxs >= FIRST_ITEM)])
    train_ends = pasts.ends.copy()
    rows = []
    for number, back in ((TEST, 1), (VALIDATION, 2)):
        users = np.flatnonzero(num_targets >= back)
        targets = places[up_to[users] - back]
        enough = items_before[targets + 1] - items_before[pasts.starts[users]] >= MIN_ITEMS
        users, targets = users[enough], targets[enough]
        train_ends[users] = targets
        rows.append(_held(pasts, users, number, targets, targets, targets + 1))
    return rows, train_ends


def _periods(pasts: Pasts, is_target: Bools, held_out: HeldOut) -> tuple[list[Rows], Ints]:
    from_validation = _first_since(pasts, held_out.validation_us)
    from_test = _first_since(pasts, held_out.test_us)
    places = np.append(np.flatnonzero(is_target), len(pasts.item_idxs))
    rows = []
    for number, since, until in ((TEST, from_test, pasts.ends), (VALIDATION, from_validation, from_test)):
        first = places[np.searchsorted(places, since)]
        last = places[np.searchsorted(places, until) - 1]
        # What has no event before it could only be guessed.
        firsts, ends = (first, last) if held_out.by == "sessions" else (since, since)
        users = np.flatnonzero((first < until) & (firsts > pasts.starts))
        rows.append(_held(pasts, users, number, ends[users], firsts[users], last[users] + 1))
    return rows, from_validation


def _first_since(pasts: Pasts, moment_us: int) -> Ints:
    """Return the place of every user's first event at or after a moment; events lie in time order."""
    earlier = np.concatenate([[0], np.cumsum(pasts.event_tss < moment_us)])
    first: Ints = pasts.starts + earlier[pasts.ends] - earlier[pasts.starts]
    return first


def _held(pasts: Pasts, users: Ints, number: int, ends: Ints, firsts: Ints, untils: Ints) -> Rows:
    return Rows(users, np.full(len(users), number), pasts.starts[users], ends, firsts, untils)

"""Which slices the things to be found in held-out windows belong to.

B rows   C cases   P things to be found   Q pairs of such a thing and a slice   L positions
"""

from collections.abc import Mapping

import numpy as np

from sparkrec.evaluate.cases import Cases
from sparkrec.evaluate.slices import NAMES, NONE, NUMBER, Slices, of_kinds
from sparkrec.sequences import Ints, look_up
from sparkrec.tables import FIRST_ITEM, PAD

NEW, LIGHT = 5, 20
NEWEST, WITH_CATEGORY = 5, 10


def memberships(cases: Cases, columns: Mapping[str, Ints], slices: Slices) -> tuple[Ints, Ints]:
    """Return (Q,) things to be found and (Q,) numbers of slices, by the former.

    In   columns: num_events_B of rows when the input ends, and category_BL of their positions (1 unknown, 0 padding).
    """
    case_P, item_P = cases.sought.case_P.numpy(), cases.sought.item_P.numpy()
    num_events_C, category_CL = (columns[name][cases.row_C] for name in ("num_events_B", "category_BL"))
    if cases.position_C is not None:
        length = category_CL.shape[1]
        num_events_C = num_events_C - (length - 1 - cases.position_C)
        category_CL = np.where(np.arange(length) <= cases.position_C[:, None], category_CL, PAD)
    category_P = look_up(slices.category_V, item_P, NONE)
    found_PS = np.stack(
        [
            np.full(len(item_P), NUMBER["all"]),
            np.where(cases.is_repeat_P > 0, NUMBER["repeat"], NUMBER["novel"]),
            _by_activity(num_events_C)[case_P],
            _interest(category_CL)[case_P],
            look_up(slices.popularity_class_V, item_P, NUMBER["items tail"]),
            of_kinds(cases.type_P),
            np.where(category_P == NONE, NONE, len(NAMES) + category_P),
        ],
        axis=1,
    )
    pair, column = np.nonzero(found_PS != NONE)
    return pair, found_PS[pair, column]


def _by_activity(num_events_C: Ints) -> Ints:
    numbers = np.array([NUMBER["users new"], NUMBER["users light"], NUMBER["users heavy"]])
    return numbers[np.searchsorted([NEW, LIGHT], num_events_C, side="left")]


def _interest(category_CL: Ints) -> Ints:
    """Return `interest shift` or `interest steady`, NONE where too few events have a known category; (C,)."""
    found_C = np.full(len(category_CL), NONE)
    for case, category_L in enumerate(category_CL):
        known = category_L[category_L >= FIRST_ITEM]
        if len(known) >= WITH_CATEGORY:
            is_old = np.isin(known[-NEWEST:], known[:-NEWEST])
            found_C[case] = NUMBER["interest steady"] if is_old.any() else NUMBER["interest shift"]
    return found_C

"""What held-out windows ask: a case is a moment at which a list would have been shown, and what was to be found then.

B rows   C cases   P things to be found   L positions
"""

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from sparkrec.evaluate.ranks import Sought
from sparkrec.models.neighbours import Opinions
from sparkrec.models.sequence_model import USER, SequenceModel
from sparkrec.sequences import SPAN, Ints, counted_within, flatten, hide_unknown, is_in, sorted_set
from sparkrec.tables import PAD

CASE_COLUMNS = ("item_idxs", "target_idxs", "seen_idxs", "relevant_idxs", "relevant_types", "relevant_repeats")


@dataclass(frozen=True)
class Cases:
    """The cases of B rows. A case reads the state of a position of its row; `type_P` and `is_repeat_P` run parallel to
    the things to be found in `sought`."""

    row_C: Ints
    position_C: Ints | None
    """None is the last one."""
    sought: Sought
    type_P: Ints
    """Code of the kind of event."""
    is_repeat_P: Ints
    """1 where the user had touched the item before."""
    own_keys: Ints
    """SPAN * case + item, ascending: what the user touched or is to be found, which is never drawn."""

    def to(self, device: torch.device) -> "Cases":
        """Return the cases with what is sought where a model is."""
        return replace(self, sought=self.sought.to(device))


def cases_of(tile: pa.RecordBatch, by_steps: bool) -> Cases:
    """Return the cases of held-out rows (CASE_COLUMNS).

    With `by_steps` every target of a row is a case, and all items compete. Else a row is one case, what is to be found
    are its different relevant items, and the other items that the user touched do not compete.
    """
    item_P, starts, ends = flatten(tile.column("relevant_idxs"))
    row_P = np.repeat(np.arange(len(tile)), ends - starts)
    type_P, is_repeat_P = (flatten(tile.column(name))[0] for name in ("relevant_types", "relevant_repeats"))
    seen, starts, ends = flatten(tile.column("seen_idxs"))
    seen_keys = np.repeat(np.arange(len(tile)), ends - starts) * SPAN + seen
    own_keys = sorted_set(np.concatenate([seen_keys, row_P * SPAN + item_P]))
    of_rows = _steps if by_steps else _rows
    return of_rows(tile, row_P * SPAN + item_P, type_P, is_repeat_P, own_keys)


def _rows(tile: pa.RecordBatch, key_P: Ints, type_P: Ints, is_repeat_P: Ints, own_keys: Ints) -> Cases:
    # The first event on an item tells its kind.
    keys, first = np.unique(key_P, return_index=True)
    asked = np.unique(keys // SPAN)
    number_B = np.searchsorted(asked, np.arange(len(tile)))
    own_keys = own_keys[is_in(asked, own_keys // SPAN)]
    own_case, own_item = number_B[own_keys // SPAN], own_keys % SPAN
    sought = _sought(number_B[keys // SPAN], keys % SPAN, own_case, own_item)
    return Cases(asked, None, sought, type_P[first], is_repeat_P[first], own_case * SPAN + own_item)


def _steps(tile: pa.RecordBatch, key_P: Ints, type_P: Ints, is_repeat_P: Ints, own_keys: Ints) -> Cases:
    row_C, position_C = np.nonzero(matrix(tile.column("target_idxs")).numpy() != PAD)
    case, item_P = np.arange(len(row_C)), key_P % SPAN
    first, end = (np.searchsorted(own_keys, (row_C + more) * SPAN) for more in (0, 1))
    own_case = np.repeat(case, end - first)
    own_item = own_keys[first[own_case] + counted_within(end - first)] % SPAN
    sought = _sought(case, item_P, case, item_P)
    return Cases(row_C, position_C, sought, type_P, is_repeat_P, own_case * SPAN + own_item)


def _sought(*pairs: Ints) -> Sought:
    return Sought(*(torch.from_numpy(np.ascontiguousarray(values)) for values in pairs))


def held_out_inputs(tile: pa.RecordBatch, model: SequenceModel, length: int | None = None) -> dict[str, Tensor]:
    """Return the model's inputs from rows of `windows`, (B, L) each and (B,) of users, where it is; of its own length
    if none is told."""
    # An earlier model may have been made for shorter windows.
    kept = length or model.shape.length
    inputs = {name: matrix(tile.column(name))[:, -kept:] for name in model.inputs}
    if model.reads_user:
        inputs[USER] = torch.from_numpy(tile.column(USER).to_numpy().astype(np.int64))
    # An earlier model does not know the newest items.
    known = hide_unknown(inputs["item_idxs"].numpy(), model.is_known_V.cpu().numpy())
    inputs["item_idxs"] = torch.from_numpy(known)
    return {name: values.to(model.is_known_V.device) for name, values in inputs.items()}


def case_states(model: SequenceModel, tile: pa.RecordBatch, cases: Cases) -> Tensor:
    """Return (C, D): the states that the cases' lists follow from."""
    return states_at(model, tile, cases.row_C, cases.position_C)


def states_at(model: SequenceModel, tile: pa.RecordBatch, rows: Ints, positions: Ints | None) -> Tensor:
    """Return (C, D): the states of these rows at these positions, None for the last ones."""
    row_C = torch.from_numpy(rows)
    if positions is None:
        return model.last_state(held_out_inputs(tile, model))[row_C]
    length = matrix(tile.column("item_idxs")).shape[1]
    position_C = torch.from_numpy(positions)
    if model.shape.length >= length:
        return model.states(held_out_inputs(tile, model))[row_C, position_C]
    # A model of shorter windows sees each case as a row of its own, which ends where the case is.
    place_CL = position_C[:, None] - model.shape.length + 1 + torch.arange(model.shape.length)
    whole = held_out_inputs(tile, model, length)
    return model.last_state(
        {
            name: values[row_C]
            if name == USER
            else torch.where(place_CL >= 0, values[row_C[:, None], place_CL.clamp(min=0)], PAD)
            for name, values in whole.items()
        }
    )


def case_opinions(model: SequenceModel, tile: pa.RecordBatch, cases: Cases) -> Opinions | None:
    """Return what the model's second opinion adds to scores, a row per case; None where it has none."""
    if not model.has_opinions:
        return None
    item_BL = held_out_inputs(tile, model, matrix(tile.column("item_idxs")).shape[1])["item_idxs"]
    newest = model.shape.length  # what the model is told of when it scores
    row_C = torch.from_numpy(cases.row_C)
    if cases.position_C is None:
        return model.opinions(item_BL[row_C][:, -newest:])
    place_CR = torch.from_numpy(cases.position_C)[:, None] - newest + 1 + torch.arange(newest)
    item_CR = item_BL[row_C[:, None], place_CR.clamp(min=0)]
    return model.opinions(item_CR.masked_fill((place_CR < 0).to(item_CR.device), PAD))


def matrix(column: pa.ListArray) -> Tensor:
    """Return a list column of one length as (B, L)."""
    values = column.flatten().to_numpy(zero_copy_only=False).astype(np.int64)
    return torch.from_numpy(values.reshape(len(column), -1))

"""Leave padding out: a batch in a few pieces, each as long as its longest past.

B windows   L positions   T targets   K negatives per target
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from sparkrec.models.sequence_model import SequenceModel
from sparkrec.tables import PAD

PIECE_COST, PIECE_COST_ON_GPU = 250, 1 << 30
"""Positions that could be computed in the time that one more piece takes, about; a GPU waits for what each piece has to
be told, so it gets all at once."""

Piece = dict[str, Tensor]


def cut_pieces(batch: Mapping[str, Tensor], num_negatives: int, piece_cost: int = PIECE_COST) -> list[Piece]:
    """Return the batch's rows by length, in pieces without the columns that are padding in all their rows.

    In   batch: windows, padded on the left; `negative_idxs` holds K values per position.
    """
    length_B = (batch["item_idxs"] != PAD).sum(dim=1).clamp(min=1)
    order_B = torch.argsort(length_B, stable=True)
    in_order = length_B[order_B].tolist()
    pieces = []
    start = 0
    for end in piece_ends(in_order, piece_cost):
        rows, longest = order_B[start:end], in_order[end - 1]
        pieces.append(
            {
                name: values[rows]
                if values.dim() == 1
                else values[rows, -longest * (num_negatives if name == "negative_idxs" else 1) :]
                for name, values in batch.items()
                if name != "window_id"
            }
        )
        start = end
    return pieces


def piece_ends(lengths: Sequence[int], piece_cost: int = PIECE_COST) -> list[int]:
    """Return where pieces end, so that all take the least time: positions, padded ones too, and pieces at their cost.

    In   lengths: ascending.
    """
    longest, rows = np.unique(lengths, return_counts=True)
    rows_before = np.concatenate([[0], rows.cumsum()])
    least, begins = np.zeros(1), []
    # Of the rows up to each length: the last of their pieces may begin after any shorter one.
    for end, length in enumerate(longest, start=1):
        costs = least + piece_cost + (rows_before[end] - rows_before[:end]) * length
        begins.append(int(costs.argmin()))
        least = np.append(least, costs[begins[-1]])
    ends, end = [], len(longest)
    while end:
        ends.append(int(rows_before[end]))
        end = begins[end - 1]
    return ends[::-1]


class TargetStates(nn.Module):
    """The model's states where something is learnt, (T, D), over all pieces: one forward pass to whoever wraps it."""

    def __init__(self, model: SequenceModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, pieces: Sequence[Mapping[str, Tensor]]) -> Tensor:
        return torch.cat([self.model.states(piece)[is_learnt_from(piece)] for piece in pieces])


def is_learnt_from(piece: Mapping[str, Tensor]) -> Tensor:
    """Return (B, L): where the next event teaches something; where only items are learnt, where it has a known one."""
    is_target_BL: Tensor = piece["target_idxs"] != PAD
    return is_target_BL | (piece["target_types"] != PAD) if "target_types" in piece else is_target_BL


def following(pieces: Sequence[Mapping[str, Tensor]], num: int) -> Tensor:
    """Return (T, F): the item that comes next, and those after it in the window; PAD where it ends."""
    parts = []
    for piece in pieces:
        later_BLF = functional.pad(piece["target_idxs"], (0, num - 1), value=PAD).unfold(1, num, 1)
        parts.append(later_BLF[is_learnt_from(piece)])
    return torch.cat(parts).long()


def at_targets(pieces: Sequence[Mapping[str, Tensor]], name: str) -> Tensor:
    """Return a column's values in the order of `TargetStates`: (T,), or (T, K)."""
    parts = []
    for piece in pieces:
        is_target_BL = is_learnt_from(piece)
        parts.append(piece[name].reshape(*is_target_BL.shape, -1)[is_target_BL].squeeze(-1))
    return torch.cat(parts).long()

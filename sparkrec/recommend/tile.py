"""Users that are scored together.

U users of a group   B users of a tile   L positions   D width
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from sparkrec.models.best import Added
from sparkrec.models.neighbours import Opinions
from sparkrec.recommend.offer import NOWHERE
from sparkrec.sequences import Ints, Pasts, align_right, counted_within, user_numbers
from sparkrec.tables import PAD

SHORTEST = 8
"""Positions of the shortest tile."""


@dataclass(frozen=True)
class Tile:
    """Users the model can place: their states, pairs of row and place that are left out, rows of their segments, and
    what is added to the scores of some places."""

    state_BD: Tensor
    out_user: Tensor
    out_place: Tensor
    segment_B: Tensor
    added: Added | None = None

    def only(self, is_in_B: Tensor) -> "Tile":
        """Return the tile of some of its users."""
        row_B = is_in_B.cumsum(0) - 1
        kept = is_in_B[self.out_user]
        return Tile(
            self.state_BD[is_in_B],
            row_B[self.out_user[kept]],
            self.out_place[kept],
            self.segment_B[is_in_B],
            self.added and (self.added[0][is_in_B], self.added[1][is_in_B]),
        )


def tiles_of(num_events_U: Ints, segment_U: Ints, longest: int, tile_users: int) -> list[tuple[Ints, int]]:
    """Return (users, positions) of every tile: users with pasts of about the same length share one, by segment.

    How many positions a user's past is given depends on that past alone: SHORTEST, doubled until it fits.
    """
    lengths = [min(SHORTEST, longest)]
    while lengths[-1] < longest:
        lengths.append(min(2 * lengths[-1], longest))
    size_U = np.searchsorted(lengths, np.minimum(num_events_U, longest))
    tiles = []
    for size, length in enumerate(lengths):
        users = np.flatnonzero((size_U == size) & (num_events_U > 0))
        users = users[np.argsort(segment_U[users], kind="stable")]
        tiles += [(users[start : start + tile_users], length) for start in range(0, len(users), tile_users)]
    return tiles


def inputs_of(
    pasts: Pasts, users: Ints, names: Sequence[str], length: int, tile_users: int, device: torch.device
) -> dict[str, Tensor]:
    """Return the model's inputs, (tile_users, L) each, the users first.

    It is always a full tile, so that the same user gets the same bits whoever shares it.
    """
    inputs = {}
    for name in names:
        values_BL = align_right(getattr(pasts, name), pasts.starts[users], pasts.ends[users], length)
        full_BL = np.full((tile_users, length), PAD, dtype=np.int64)
        full_BL[: len(values_BL)] = values_BL
        inputs[name] = torch.from_numpy(full_BL).to(device)
    return inputs


def added_to(opinions: Opinions | None, place_V: Tensor, num_scored: int) -> Added | None:
    """Return what a second opinion adds to the scores of places in the offer. In: place of every item index, (V,)."""
    if opinions is None:
        return None
    place_BM = place_V[opinions.item_BM.clamp(max=len(place_V) - 1)]
    is_there_BM = (opinions.item_BM < len(place_V)) & (place_BM < num_scored)
    return torch.where(is_there_BM, place_BM, NOWHERE), opinions.score_BM


def users_of(people: pa.Table, users: Ints, tile_users: int, device: torch.device) -> Tensor:
    """Return the users' numbers, (tile_users,), the users first."""
    hashes = people.column("user_hash").to_numpy().astype(np.uint64)
    full_B = np.zeros(tile_users, dtype=np.int64)
    full_B[: len(users)] = user_numbers(hashes[users])
    return torch.from_numpy(full_B).to(device)


def rows_of(users: Ints, ends_U: Ints, values: Ints) -> tuple[Ints, Ints]:
    """Return (row among `users`, value) of every value of these users; those of user u are `ends[u]:ends[u + 1]`."""
    counts = ends_U[users + 1] - ends_U[users]
    row = np.repeat(np.arange(len(users)), counts)
    return row, values[ends_U[users][row] + counted_within(counts)]

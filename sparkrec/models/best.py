"""The exact best items of many users by inner product, found in two steps.

First all items are scored coarsely, in bfloat16 where the hardware multiplies that faster. What could be among the best
N for all that rounding may have done is then scored again in float32, and only that decides. So the lists are those of
a full float32 ranking, ties by item, whatever hardware found them.

B users   K items   D width   N items per user   R items per run (neighbours in the matrix)   C candidates of one user
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from sparkrec.models.numbers import multiplies_bfloat16

Refused = tuple[slice, Tensor]
"""Neighbouring users of a tile, and items that none of them is offered."""
Added = tuple[Tensor, Tensor]
"""Items of every user, (B, M), each once, -1 for none; and what is added to their inner products."""
RUN_ITEMS = 32
"""R: the maximum of every run is looked at before single items are."""
LOOSE_RUNS, FEW_RUNS = 8, 128
"""A user with more runs to look into than the first times N, and than the second, is scored item by item."""
BLOCK_ITEMS = 1 << 16


@dataclass(frozen=True)
class Vectors:
    """Item vectors (K, D) for both passes; those of the first are padded to whole runs."""

    exact_KD: Tensor
    bfloat16_KD: Tensor
    """Less the mean of all vectors, which changes a user's scores by the same number and is not rounded."""
    centred_norm_K: Tensor
    """Length of what is left without the mean; `norm_K` is the whole length and that of the mean. 0 for padding."""
    norm_K: Tensor

    @property
    def num_items(self) -> int:
        return len(self.exact_KD)


def vectors_of(exact_KD: Tensor) -> Vectors:
    """Return the vectors with what the first pass needs."""
    mean_D = exact_KD.double().mean(dim=0).float() if len(exact_KD) else exact_KD.sum(dim=0)
    centred_KD = exact_KD - mean_D
    padding = -len(exact_KD) % RUN_ITEMS
    return Vectors(
        exact_KD,
        functional.pad(centred_KD.bfloat16(), (0, 0, 0, padding)),
        functional.pad(centred_KD.norm(dim=1), (0, padding)),
        functional.pad(exact_KD.norm(dim=1) + mean_D.norm(), (0, padding)),
    )


def coarse_numbers(wanted: str, device: torch.device) -> torch.dtype:
    """Return the numbers of the first pass: what was asked for, or bfloat16 where the hardware multiplies it."""
    if wanted == "auto":
        return torch.bfloat16 if multiplies_bfloat16(device) else torch.float32
    return torch.bfloat16 if wanted == "bfloat16" else torch.float32


def rounding_of(vectors: Vectors, coarse: torch.dtype) -> Tensor:
    """Return (K,): coarse and exact score of a pair differ by at most this times the length of the user's vector.

    bfloat16 keeps 8 bits: either factor and the result are off by 2^-8 at most, that is 3 x 2^-8 and a little for the
    products of these errors. Sums of D products in float32 are off by D x 2^-24 each (Higham, Accuracy and Stability of
    Numerical Algorithms, 3.1), twice, and twice that for good measure.
    """
    sums = (vectors.exact_KD.shape[1] + 8) * 2.0**-22 * vectors.norm_K
    return sums + 3.1 * 2.0**-8 * vectors.centred_norm_K if coarse == torch.bfloat16 else sums


class Finder:
    """Finds best items tile by tile; keeps the memory of one tile's coarse scores."""

    def __init__(self, vectors: Vectors, tile_users: int, coarse: torch.dtype) -> None:
        self.vectors = vectors
        self.coarse_KD = vectors.bfloat16_KD
        if coarse == torch.float32:
            self.coarse_KD = functional.pad(vectors.exact_KD, (0, 0, 0, -vectors.num_items % RUN_ITEMS))
        self.memory = torch.empty(len(self.coarse_KD) * tile_users, dtype=coarse, device=self.coarse_KD.device)
        self.rounding_G = rounding_of(vectors, coarse).view(-1, RUN_ITEMS).amax(dim=1)
        self.one_by_one = 0
        """Users for whom the first pass could not tell enough items apart."""

    def best(
        self,
        state_BD: Tensor,
        out_user: Tensor,
        out_item: Tensor,
        refused: Sequence[Refused],
        how_many: int,
        added: Added | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return the N best scores and items of every user, (B, N); -inf and -1 where fewer may be offered.

        In   state_BD: float32, at most `tile_users` of them. out_user, out_item: pairs that are left out. refused:
             items that whole segments are not offered. added: what is added to some inner products, none below 0.
        """
        num_users = len(state_BD)
        coarse_KB = self._coarse(state_BD, out_user, out_item, refused)
        top_GB = coarse_KB.view(-1, RUN_ITEMS, num_users).amax(dim=1)
        top_BG = top_GB.T.float().contiguous()
        doubt_BG = state_BD.norm(dim=1, keepdim=True) * self.rounding_G
        # N runs hold an item each that scores at least this, so nothing below it is among the best N.
        least_B1 = torch.full((num_users, 1), -torch.inf, device=state_BD.device)
        if top_BG.shape[1] >= how_many:
            least_B1 = (top_BG - doubt_BG).topk(how_many, dim=1).values[:, -1:]
        threshold_BG = least_B1 - doubt_BG
        may_hold_BG = (top_BG >= threshold_BG) & (top_BG > -torch.inf)
        is_loose_B = may_hold_BG.sum(dim=1) > max(LOOSE_RUNS * how_many, FEW_RUNS)
        may_hold_BG[is_loose_B] = False
        scores_BN, items_BN = self._look_into(may_hold_BG, threshold_BG, coarse_KB, state_BD, how_many)
        self.one_by_one += int(is_loose_B.sum())
        for user in is_loose_B.nonzero().flatten().tolist():
            is_out_K = coarse_KB[: self.vectors.num_items, user] == -torch.inf
            scores_BN[user], items_BN[user] = self._one_by_one(state_BD[user], is_out_K, how_many)
        if added is None:
            return scores_BN, items_BN
        # The N-th best with what is added scores at least as much, too.
        can_be_BM = self._can_be(added, least_B1, coarse_KB, state_BD)
        return self._with(added, can_be_BM, scores_BN, items_BN, state_BD)

    def _can_be(self, added: Added, least_B1: Tensor, coarse_KB: Tensor, state_BD: Tensor) -> Tensor:
        """Return (B, M): which of the items that something is added to may be among the best."""
        item_BM, more_BM = added
        there_BM = item_BM.clamp(min=0)
        user_B1 = torch.arange(len(item_BM), device=item_BM.device)[:, None]
        coarse_BM = coarse_KB[there_BM, user_B1].float()
        most_BM = coarse_BM + state_BD.norm(dim=1, keepdim=True) * self.rounding_G[there_BM // RUN_ITEMS] + more_BM
        can_be_BM: Tensor = (item_BM >= 0) & (coarse_BM > -torch.inf) & (most_BM >= least_B1)
        return can_be_BM

    def _with(
        self, added: Added, can_be_BM: Tensor, score_BN: Tensor, item_BN: Tensor, state_BD: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the best with what is added to some items.

        Whatever nothing is added to and is among them is among the best inner products, too: all that are ahead of it
        there stay ahead.
        """
        user, place = can_be_BM.nonzero(as_tuple=True)
        column, width = _columns(user, len(item_BN))
        item = added[0][user, place]
        item_BC = torch.full((len(item_BN), width), -1, device=item.device)
        score_BC = torch.full(item_BC.shape, -torch.inf, device=item.device)
        item_BC[user, column] = item
        exact = (state_BD[user] * self.vectors.exact_KD[item]).sum(dim=1)
        score_BC[user, column] = exact + added[1][user, place]
        sorted_BC = functional.pad(item_BC, (0, 1), value=-1).sort(dim=1).values
        found_BN = torch.searchsorted(sorted_BC, item_BN.contiguous()).clamp(max=width)
        is_twice_BN = sorted_BC.gather(1, found_BN) == item_BN
        all_items = torch.cat([item_BN, item_BC], dim=1)
        all_scores = torch.cat([score_BN.masked_fill(is_twice_BN, -torch.inf), score_BC], dim=1)
        # Equal scores stand in the order of items; where lists are short, -1 comes before what was taken out.
        all_items, order = all_items.sort(dim=1, stable=True)
        all_scores, best = all_scores.gather(1, order).sort(dim=1, descending=True, stable=True)
        how_many = score_BN.shape[1]
        return all_scores[:, :how_many], all_items.gather(1, best[:, :how_many])

    def _coarse(self, state_BD: Tensor, out_user: Tensor, out_item: Tensor, refused: Sequence[Refused]) -> Tensor:
        num_padded, num_users = len(self.coarse_KD), len(state_BD)
        coarse_KB = self.memory[: num_padded * num_users].view(num_padded, num_users)
        torch.mm(self.coarse_KD, state_BD.to(coarse_KB.dtype).T, out=coarse_KB)
        coarse_KB[self.vectors.num_items :] = -torch.inf
        for users, items in refused:
            coarse_KB[:, users].index_fill_(0, items, -torch.inf)
        coarse_KB.view(-1)[out_item * num_users + out_user] = -torch.inf
        return coarse_KB

    def _look_into(
        self,
        may_hold_BG: Tensor,
        threshold_BG: Tensor,
        coarse_KB: Tensor,
        state_BD: Tensor,
        how_many: int,
    ) -> tuple[Tensor, Tensor]:
        """Score again what the runs hold, and rank it."""
        num_users = len(state_BD)
        user_P, run_P = may_hold_BG.nonzero(as_tuple=True)
        inside_R = torch.arange(0, RUN_ITEMS * num_users, num_users, device=run_P.device)
        coarse_PR = coarse_KB.view(-1)[(run_P * RUN_ITEMS * num_users + user_P)[:, None] + inside_R].float()
        threshold_P1 = threshold_BG[user_P, run_P].unsqueeze(1)
        place, inside = ((coarse_PR >= threshold_P1) & (coarse_PR > -torch.inf)).nonzero(as_tuple=True)
        user, item = user_P[place], run_P[place] * RUN_ITEMS + inside
        exact = (state_BD[user] * self.vectors.exact_KD[item]).sum(dim=1)

        # One row per user, in the order of items, so that a stable sort leaves ties in that order.
        column, width = _columns(user, num_users)
        width = max(how_many, width)
        score_BC = torch.full((num_users, width), -torch.inf, device=user.device)
        item_BC = torch.full((num_users, width), -1, dtype=torch.long, device=user.device)
        score_BC[user, column], item_BC[user, column] = exact, item
        score_BC, order_BC = score_BC.sort(dim=1, descending=True, stable=True)
        return score_BC[:, :how_many], item_BC.gather(1, order_BC[:, :how_many])

    def _one_by_one(self, state_D: Tensor, is_out_K: Tensor, how_many: int) -> tuple[Tensor, Tensor]:
        """Score all items exactly: where very many are as good as the N-th."""
        exact_KD = self.vectors.exact_KD
        num_blocks = -(-len(exact_KD) // BLOCK_ITEMS)
        parts = [(state_D * block).sum(dim=1) for block in exact_KD.tensor_split(num_blocks)]
        score_K = torch.cat(parts).masked_fill_(is_out_K, -torch.inf)
        score_K, order_K = score_K.sort(descending=True, stable=True)
        score_N = torch.full((how_many,), -torch.inf, device=state_D.device)
        item_N = torch.full((how_many,), -1, dtype=torch.long, device=state_D.device)
        num = min(how_many, int((score_K > -torch.inf).sum()))
        score_N[:num], item_N[:num] = score_K[:num], order_K[:num]
        return score_N, item_N


def _columns(user: Tensor, num_users: int) -> tuple[Tensor, int]:
    """Return each entry's place among those of its user, and how many columns hold them. In: users, ascending."""
    count_B = torch.bincount(user, minlength=num_users)
    column = torch.arange(len(user), device=user.device) - (count_B.cumsum(0) - count_B)[user]
    return column, int(count_B.max()) if num_users else 0

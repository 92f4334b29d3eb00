"""Choose a list from a user's best items where their score alone does not decide: caps, variety.

B users   M best items of each, best first   N items per list   D width
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from sparkrec.sequences import NO_CATEGORY

NONE = -1


@dataclass(frozen=True)
class Candidates:
    """The best items of B users: score -inf where there is none."""

    score_BM: Tensor
    category_BM: Tensor
    """NO_CATEGORY for none."""
    cap_BM: Tensor
    """Most items of this one's category in a list."""
    vector_BMD: Tensor | None = None
    """What likeness is measured by; None for the category."""


def pick(best: Candidates, how_many: int, diversity: float) -> Tensor:
    """Return which of the M come into the list, in its order, (B, N); NONE where nothing is left.

    Greedy: the next item is that with the largest (1 - diversity) x relevance - diversity x likeness to the most alike
    item that is in the list already (maximal marginal relevance; Carbonell, Goldstein, SIGIR 1998). Relevance is the
    score, 0 to 1 between the user's last and first candidate; likeness is the cosine, or 1 for the same category. Ties
    go to the better score.
    """
    may_BM = torch.isfinite(best.score_BM)
    relevance_BM = _from_0_to_1(best.score_BM, may_BM)
    likeness_BM = torch.full_like(relevance_BM, -1.0)
    taken_BM = torch.zeros_like(best.category_BM)
    row_B = torch.arange(len(may_BM), device=may_BM.device)
    picked = []
    for _ in range(how_many):
        worth_BM = (1 - diversity) * relevance_BM - diversity * likeness_BM
        worth_B, column_B = worth_BM.masked_fill(~may_BM, -torch.inf).max(dim=1)
        is_there_B = worth_B > -torch.inf
        picked.append(torch.where(is_there_B, column_B, NONE))
        may_BM[row_B, column_B] = False
        category_B1 = best.category_BM[row_B, column_B].unsqueeze(1)
        is_same_BM = (best.category_BM == category_B1) & (category_B1 != NO_CATEGORY)
        taken_BM += is_same_BM & is_there_B.unsqueeze(1)
        may_BM &= ~is_same_BM | (taken_BM < best.cap_BM)
        if diversity:
            likeness_BM = torch.maximum(likeness_BM, _likeness(best, row_B, column_B, is_same_BM))
    return torch.stack(picked, dim=1)


def without_choice(best: Candidates, how_many: int) -> bool:
    """Whether the best N are the list for everybody: no item is of a category with a cap below N."""
    return bool((best.cap_BM >= how_many).all())


def _from_0_to_1(score_BM: Tensor, is_there_BM: Tensor) -> Tensor:
    high_B1 = score_BM.masked_fill(~is_there_BM, -torch.inf).amax(dim=1, keepdim=True)
    low_B1 = score_BM.masked_fill(~is_there_BM, torch.inf).amin(dim=1, keepdim=True)
    span_B1 = high_B1 - low_B1
    relevance_BM = torch.where(span_B1 > 0, (score_BM - low_B1) / span_B1, 1.0)
    return torch.where(is_there_BM, relevance_BM, 0.0)


def _likeness(best: Candidates, row_B: Tensor, column_B: Tensor, is_same_BM: Tensor) -> Tensor:
    if best.vector_BMD is None:
        return is_same_BM.float()
    unit_BMD = torch.nn.functional.normalize(best.vector_BMD, dim=2)
    return torch.einsum("bmd,bd->bm", unit_BMD, unit_BMD[row_B, column_B])

"""The rank of what is to be found among all items, or among some that were drawn.

Rank = 1 + other items that score at least as much, so ties count against the model. The scores decide, not a truncated
list. What a case leaves out does not count; what is to be found always does. Of several things to be found each takes
the place it has in a list where ties put all others first, so that no two share one.

C cases   P things to be found   X items that do not compete   V vocabulary size   M items drawn
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from sparkrec.evaluate.gains import NO_RANK


@dataclass(frozen=True)
class Sought:
    """What is to be found in some cases, and which items do not compete. Pairs lie by case."""

    case_P: Tensor
    item_P: Tensor
    case_X: Tensor
    item_X: Tensor
    """Items that are left out, and all that are to be found: none counts as an item that scores more."""

    def to(self, device: torch.device) -> "Sought":
        return Sought(*(values.to(device) for values in (self.case_P, self.item_P, self.case_X, self.item_X)))


class SharedScores:
    """Scores that are the same in all cases, as popularity's are; sorted once for all of them."""

    def __init__(self, score_V: Tensor) -> None:
        self.score_V, self.ascending_V = score_V, score_V.sort().values

    def at(self, item: Tensor) -> Tensor:
        """Return the items' scores."""
        return scores_at(self.score_V[None], torch.zeros(1, dtype=torch.long), item)


def full_ranks(score_CV: Tensor, sought: Sought) -> Tensor:
    """Return (P,) ranks among all items. Items without a score have -inf, padding and unknown included."""
    score_P = scores_at(score_CV, sought.case_P, sought.item_P)
    # "Not less" rather than "at least": a score that is not a number stands above what is to be found.
    if torch.equal(sought.case_P, torch.arange(len(score_CV), device=score_CV.device)):
        less_P = torch.count_nonzero(score_CV < score_P[:, None], dim=1)
    else:
        pairs = zip(sought.case_P.tolist(), score_P, strict=True)
        counted = [torch.count_nonzero(score_CV[case] < score) for case, score in pairs]
        less_P = torch.stack(counted) if counted else torch.zeros(0, dtype=torch.long)
    score_X = scores_at(score_CV, sought.case_X, sought.item_X)
    return ranks_after(score_CV.shape[1] - less_P - _not_competing(score_X, score_P, sought), score_P, sought)


def shared_ranks(scores: SharedScores, sought: Sought) -> Tensor:
    """Return (P,) ranks among all items by scores that are the same in all cases."""
    score_P, score_X = scores.at(sought.item_P), scores.at(sought.item_X)
    not_less_P = len(scores.score_V) - torch.searchsorted(scores.ascending_V, score_P)
    return ranks_after(not_less_P - _not_competing(score_X, score_P, sought), score_P, sought)


def drawn_ranks(score_P: Tensor, score_CM: Tensor, sought: Sought) -> Tensor:
    """Return (P,) ranks among items drawn for each case, none of which is left out or to be found."""
    not_less_P = score_CM.shape[1] - torch.count_nonzero(score_CM[sought.case_P] < score_P[:, None], dim=1)
    return ranks_after(not_less_P, score_P, sought)


def scores_at(score_CV: Tensor, case: Tensor, item: Tensor) -> Tensor:
    """Return the scores of pairs; of items beyond the vocabulary -inf."""
    size = score_CV.shape[1]
    return torch.where(item < size, score_CV[case, item.clamp(max=size - 1)], -torch.inf)


def ranks_after(ahead_P: Tensor, score_P: Tensor, sought: Sought) -> Tensor:
    """Return (P,): 1 + items ahead + others to be found that score more, or as much and come first."""
    num_P, pair, other = _within_cases(sought.case_P, sought.case_P)
    is_ahead = (score_P[other] > score_P[pair]) | ((score_P[other] == score_P[pair]) & (other < pair))
    ahead_P = ahead_P + torch.zeros_like(num_P).index_add_(0, pair, is_ahead.long())
    return torch.where(torch.isfinite(score_P), 1 + ahead_P, NO_RANK)


def _not_competing(score_X: Tensor, score_P: Tensor, sought: Sought) -> Tensor:
    """Return (P,): how many items that do not compete score no less."""
    num_P, pair, x = _within_cases(sought.case_P, sought.case_X)
    is_no_less = ~(score_X[x] < score_P[pair])
    return torch.zeros_like(num_P).index_add_(0, pair, is_no_less.long())


def _within_cases(case_P: Tensor, case_X: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return how many of X are of the case of each of P, and all pairs of the same case."""
    num_cases = 1 + int(max(case_P.max().item() if len(case_P) else 0, case_X.max().item() if len(case_X) else 0))
    size_C = torch.bincount(case_X, minlength=num_cases)
    num_P = size_C[case_P]
    pair = torch.repeat_interleave(torch.arange(len(case_P), device=case_P.device), num_P)
    first_C, first_P = size_C.cumsum(0) - size_C, num_P.cumsum(0) - num_P
    within = torch.arange(len(pair), device=case_P.device) - first_P[pair]
    return num_P, pair, first_C[case_P][pair] + within

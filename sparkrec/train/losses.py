"""Losses over next items, and the negatives that all targets of a batch share.

T targets of a batch   D width   V vocabulary size   P shared negatives   K negatives per target
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from sparkrec.tables import FIRST_ITEM, PAD


@dataclass(frozen=True)
class Chances:
    """How likely an item is drawn as a shared negative: proportional to its events to a power; known items only."""

    cumulated_V: Tensor
    """float64, so that a million items keep their shares."""
    log_V: Tensor

    def draw(self, num: int, generator: torch.Generator) -> Tensor:
        """Return (P,) items, drawn with replacement."""
        uniform_P = torch.rand(num, dtype=torch.float64, generator=generator).to(self.cumulated_V.device)
        drawn_P = torch.searchsorted(self.cumulated_V, uniform_P * self.cumulated_V[-1], right=True)
        return drawn_P.clamp_(max=len(self.cumulated_V) - 1)


def chances_of(counts_V: Tensor, is_known_V: Tensor, power: float) -> Chances:
    """Return the chances. In: events by item index."""
    weights_V = torch.where(is_known_V, counts_V.double().clamp(min=0).pow(power), 0.0)
    chance_V = weights_V / weights_V.sum()
    return Chances(chance_V.cumsum(0), chance_V.clamp(min=1e-12).log().float())


def shared_softmax(
    state_TD: Tensor, item_matrix_VD: Tensor, target_T: Tensor, negative_P: Tensor, log_chance_V: Tensor
) -> Tensor:
    """Return the mean cross-entropy of every target against negatives that all targets share.

    Every logit is lowered by the log of the chance that its item is drawn (Bengio, Senécal 2008), or popular items
    would be punished for being drawn often. A negative that is a row's own target does not count there.
    """
    # embedding() has the quick backward pass; plain indexing adds up its gradients one by one.
    positive_T = (state_TD * functional.embedding(target_T, item_matrix_VD)).sum(-1) - log_chance_V[target_T]
    negative_TP = state_TD @ functional.embedding(negative_P, item_matrix_VD).T - log_chance_V[negative_P]
    negative_TP = negative_TP.masked_fill(negative_P[None, :] == target_T[:, None], -torch.inf)
    return _first_is_right(torch.cat([positive_T[:, None], negative_TP], dim=1))


def in_batch_negatives(target_T: Tensor, num: int, generator: torch.Generator) -> Tensor:
    """Return (P,) of the batch's own targets; items come as often as they are targets."""
    chosen = torch.randperm(len(target_T), generator=generator)[:num]
    return target_T[chosen.to(target_T.device)]


def full_softmax(state_TD: Tensor, item_matrix_VD: Tensor, target_T: Tensor, is_known_V: Tensor) -> Tensor:
    """Return the mean cross-entropy over all items that the model may know."""
    logits_TV = (state_TD @ item_matrix_VD.T).float()
    may_score_V = is_known_V.clone()
    may_score_V[:FIRST_ITEM] = False
    return functional.cross_entropy(logits_TV.masked_fill(~may_score_V, -torch.inf), target_T)


def binary(state_TD: Tensor, item_matrix_VD: Tensor, target_T: Tensor, negative_TK: Tensor) -> Tensor:
    """Return the mean binary cross-entropy of every target and its own negatives (Kang, McAuley 2018)."""
    positive_T = (state_TD * functional.embedding(target_T, item_matrix_VD)).sum(-1).float()
    vector_TKD = functional.embedding(negative_TK, item_matrix_VD)
    negative_TK_logit = (vector_TKD @ state_TD[:, :, None]).squeeze(-1).float()
    drawn_TK = (negative_TK != PAD).float()
    against_T = (functional.softplus(negative_TK_logit) * drawn_TK).sum(-1) / drawn_TK.sum(-1).clamp(min=1)
    return (functional.softplus(-positive_T) + against_T).mean()


def _first_is_right(logits: Tensor) -> Tensor:
    return functional.cross_entropy(logits.float(), torch.zeros(len(logits), dtype=torch.long, device=logits.device))

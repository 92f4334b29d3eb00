"""Losses over next items.

B windows   L positions   D width   T targets of a batch   P pooled negatives   V vocabulary size
"""

import torch
from torch import Tensor
from torch.nn import functional

from sparkrec.tables import PAD


def pool_negatives(negative_BM: Tensor, num_pooled: int, generator: torch.Generator) -> Tensor:
    """Return (P,) of the batch's negatives, drawn without replacement; duplicates stay, they carry the law."""
    drawn = negative_BM[negative_BM != PAD]
    chosen = torch.randperm(len(drawn), generator=generator)[:num_pooled]
    return drawn[chosen]


def sampled_softmax(
    state_BLD: Tensor, item_matrix_VD: Tensor, target_BL: Tensor, pooled_P: Tensor, log_chance_V: Tensor
) -> Tensor:
    """Return the mean cross-entropy of every target against the shared negatives.

    Every logit is lowered by the log of the chance that the law draws its item (Bengio, Senécal 2008), or popular
    items would be punished for being drawn often. A negative that is the target of a row does not count there.
    """
    is_target_BL = target_BL != PAD
    state_TD = state_BLD[is_target_BL]
    target_T = target_BL[is_target_BL]
    positive_T = (state_TD * item_matrix_VD[target_T]).sum(-1) - log_chance_V[target_T]
    negative_TP = state_TD @ item_matrix_VD[pooled_P].T - log_chance_V[pooled_P]
    negative_TP = negative_TP.masked_fill(pooled_P[None, :] == target_T[:, None], -torch.inf)
    logits = torch.cat([positive_T[:, None], negative_TP], dim=1).float()
    return functional.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long, device=logits.device))

"""Losses over next items, and the negatives that all targets of a batch share.

Each takes the states at the targets and `vectors`, which gives the vectors of items. The softmaxes take the items that
follow, (T, F), the next one first, and how much each of them counts, which sums to one.

T targets of a batch   F items that follow   D width   V vocabulary size   P shared negatives   K negatives per target
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from sparkrec.tables import FIRST_ITEM, PAD

Vectors = Callable[[Tensor], Tensor]
BLOCK_LOGITS = 1 << 20
"""Logits of the full softmax that are worked out at a time on a CPU, about: what its caches hold; on a GPU a hundred
times as many."""


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
    state_TD: Tensor, vectors: Vectors, follow_TF: Tensor, share_TF: Tensor, negative_P: Tensor, log_chance_V: Tensor
) -> Tensor:
    """Return the mean cross-entropy of what follows, each item against negatives that all targets share.

    Every logit is lowered by the log of the chance that its item is drawn (Bengio, Senécal 2008), or popular items
    would be punished for being drawn often. A negative that follows in a row does not count there.
    """
    positive_TF = (vectors(follow_TF) @ state_TD[:, :, None]).squeeze(-1).float() - log_chance_V[follow_TF]
    negative_TP = (state_TD @ vectors(negative_P).T).float() - log_chance_V[negative_P]
    for number in range(follow_TF.shape[1]):
        negative_TP = negative_TP.masked_fill(negative_P[None, :] == follow_TF[:, number, None], -torch.inf)
    against_T1 = negative_TP.logsumexp(dim=1, keepdim=True)
    return (share_TF * functional.softplus(against_T1 - positive_TF)).sum(dim=1).mean()


def shares_of(follow_TF: Tensor, later: float) -> Tensor:
    """Return (T, F): how much each item that follows counts, each `later` times the one before it; padding does not.

    The next item may be any of those a user will soon turn to (the dense all-action loss of Pancha et al. 2022, arXiv
    2205.04507, with weights that fall).
    """
    weight_F = later ** torch.arange(follow_TF.shape[1], device=follow_TF.device)
    weight_TF = torch.where(follow_TF == PAD, 0.0, weight_F)
    return weight_TF / weight_TF.sum(dim=1, keepdim=True)


def in_batch_negatives(target_T: Tensor, num: int, generator: torch.Generator) -> Tensor:
    """Return (P,) of the batch's own targets; items come as often as they are targets."""
    chosen = torch.randperm(len(target_T), generator=generator)[:num]
    return target_T[chosen.to(target_T.device)]


def full_softmax(
    state_TD: Tensor,
    item_matrix_VD: Tensor,
    follow_TF: Tensor,
    share_TF: Tensor,
    is_known_V: Tensor,
    in_bfloat16: bool = False,
) -> Tensor:
    """Return the mean cross-entropy of what follows over all items that the model may know; in float32, whatever
    autocast says.

    In   in_bfloat16: multiply the matrices in it; what is between stays in float32.
    """
    can_score_V = is_known_V.clone()
    can_score_V[:FIRST_ITEM] = False
    numbers = torch.bfloat16 if in_bfloat16 else torch.float32
    with torch.autocast(state_TD.device.type, enabled=False):
        loss: Tensor = _FullSoftmax.apply(  # type: ignore[no-untyped-call]
            state_TD.float(), item_matrix_VD.float(), follow_TF, share_TF, can_score_V, numbers
        )
    return loss


class _FullSoftmax(torch.autograd.Function):
    """Gradients found along with the loss, a block of targets at a time: logits are written once, and not kept."""

    @staticmethod
    def forward(
        ctx: Any,
        state_TD: Tensor,
        item_matrix_VD: Tensor,
        follow_TF: Tensor,
        share_TF: Tensor,
        can_score_V: Tensor,
        numbers: torch.dtype,
    ) -> Tensor:
        to_state_TD, to_items_VD = torch.empty_like(state_TD), torch.zeros_like(item_matrix_VD)
        loss = torch.zeros((), device=state_TD.device)
        rows = max(1, BLOCK_LOGITS * (100 if state_TD.is_cuda else 1) // len(item_matrix_VD))
        cannot_X = (~can_score_V).nonzero().squeeze(1)
        multiplied_VD = item_matrix_VD.to(numbers)
        for start in range(0, len(follow_TF), rows):
            block = slice(start, start + rows)
            state_BD, follow_BF, share_BF = state_TD[block].to(numbers), follow_TF[block], share_TF[block]
            logits_BV = (state_BD @ multiplied_VD.T).float().index_fill_(1, cannot_X, -torch.inf)
            logits_BV -= logits_BV.amax(dim=1, keepdim=True)
            # What has no share may be padding, whose logit is no number to multiply with.
            reached_B = logits_BV.gather(1, follow_BF).masked_fill_(share_BF == 0, 0.0).mul_(share_BF).sum(dim=1)
            total_B1 = logits_BV.exp_().sum(dim=1, keepdim=True)
            loss += (total_B1[:, 0].log() - reached_B).sum()
            gradient_BV = logits_BV.div_(total_B1).scatter_add_(1, follow_BF, -share_BF).div_(len(follow_TF))
            gradient_BV = gradient_BV.to(numbers)
            to_state_TD[block] = gradient_BV @ multiplied_VD
            if numbers == torch.float32:
                to_items_VD.addmm_(gradient_BV.T, state_BD)
            else:
                to_items_VD += gradient_BV.T @ state_BD
        ctx.save_for_backward(to_state_TD, to_items_VD)
        return loss / len(follow_TF)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None, None, None]:
        to_state_TD, to_items_VD = ctx.saved_tensors
        (grad,) = grads
        return grad * to_state_TD, grad * to_items_VD, None, None, None, None


def binary(
    state_TD: Tensor, vectors: Vectors, target_T: Tensor, negative_TK: Tensor, less_sure: float | None = None
) -> Tensor:
    """Return the mean binary cross-entropy of every target and its own negatives (Kang, McAuley 2018).

    In   less_sure: the power of the target's probability, see `less_sure_of`; negatives then count one by one.
    """
    positive_T, negative_TK_logit = _own_logits(state_TD, vectors, target_T, negative_TK)
    is_drawn_TK = negative_TK != PAD
    if less_sure is None:
        return binary_of(positive_T, negative_TK_logit, is_drawn_TK)
    against_T = (functional.softplus(negative_TK_logit) * is_drawn_TK).sum(-1)
    return ((less_sure * functional.softplus(-positive_T) + against_T) / (1 + is_drawn_TK.sum(-1))).mean()


def binary_of(positive_T: Tensor, negative_TK: Tensor, is_drawn_TK: Tensor) -> Tensor:
    """Return the mean binary cross-entropy of logits, a target counting as much as its negatives together."""
    against_T = (functional.softplus(negative_TK) * is_drawn_TK).sum(-1) / is_drawn_TK.sum(-1).clamp(min=1)
    return (functional.softplus(-positive_T) + against_T).mean()


def less_sure_of(num_negatives: int, num_items: int, calibration: float = 0.75) -> float:
    """Return the power that makes up for so few negatives among so many items (gBCE: Petrov, Macdonald, RecSys 2023,
    arXiv 2308.07192); at `calibration` 0 it is 1, as in plain binary cross-entropy."""
    share = num_negatives / max(num_items - 1, 1)
    return share * (calibration * (1 - 1 / share) + 1 / share)


def pairwise(state_TD: Tensor, vectors: Vectors, target_T: Tensor, negative_TK: Tensor) -> Tensor:
    """Return the mean of -log P(target before negative), over every target's own negatives (BPR: Rendle et al., UAI
    2009, arXiv 1205.2618)."""
    positive_T, negative_TK_logit = _own_logits(state_TD, vectors, target_T, negative_TK)
    drawn_TK = (negative_TK != PAD).float()
    wrong_TK = functional.softplus(negative_TK_logit - positive_T[:, None]) * drawn_TK
    return (wrong_TK.sum(-1) / drawn_TK.sum(-1).clamp(min=1)).mean()


def _own_logits(state_TD: Tensor, vectors: Vectors, target_T: Tensor, negative_TK: Tensor) -> tuple[Tensor, Tensor]:
    positive_T = (state_TD * vectors(target_T)).sum(-1).float()
    return positive_T, (vectors(negative_TK) @ state_TD[:, :, None]).squeeze(-1).float()

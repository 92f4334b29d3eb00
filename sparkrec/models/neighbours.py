"""A second opinion beside inner products: what others turned to after the newest items of a past.

An item's neighbours are the items that followed or preceded it most often in users' pasts. They remember pairs of items
that vectors of a small width cannot; how much they count is chosen on validation.

An item that users come back to is one of its own neighbours. What it adds to itself is no measure for others, nor are
visits that were reloads.

B users   L positions   R newest events   K neighbours of an item   M = R x K   V vocabulary size
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from sparkrec.models.second_opinion import FADES
from sparkrec.tables import PAD

LEAST = 0.0125
"""Events that count less than this of the newest one are not looked at."""
OWN_AT_MOST = 2.0
"""What an item of the past adds to itself, at most, of what the best neighbour adds."""


@dataclass(frozen=True)
class Opinions:
    """What is added to the scores of some items of each user, above 0; nothing is added to others."""

    item_BM: Tensor
    """Ascending, each item once; what is left over is beyond any vocabulary."""
    score_BM: Tensor
    best_B1: Tensor
    """What the best neighbour of each past came to, before it was made what it counts."""

    def at(self, user: Tensor, item: Tensor) -> Tensor:
        """Return what is added for pairs of a user and an item."""
        return self._found(user, torch.searchsorted(self.item_BM[user], item[:, None]).squeeze(1), item)

    def of(self, item_BN: Tensor) -> Tensor:
        """Return what is added for N items of each user, (B, N)."""
        user_BN = torch.arange(len(item_BN), device=item_BN.device)[:, None].expand_as(item_BN)
        return self._found(user_BN, torch.searchsorted(self.item_BM, item_BN.contiguous()), item_BN)

    def rows(self, chosen: Tensor) -> "Opinions":
        """Return the opinions of some users."""
        return Opinions(self.item_BM[chosen], self.score_BM[chosen], self.best_B1[chosen])

    def times(self, factor: float) -> "Opinions":
        """Return the same, counting so many times as much."""
        return replace(self, score_BM=self.score_BM * factor)

    def add_to(self, score_BV: Tensor) -> Tensor:
        """Add to all items' scores, in their place, and return them."""
        is_item_BM = self.item_BM < score_BV.shape[1]
        item_BM = self.item_BM.masked_fill(~is_item_BM, PAD)
        return score_BV.scatter_add_(1, item_BM, self.score_BM.masked_fill(~is_item_BM, 0.0))

    def measured_by(self, whole: "Opinions") -> "Opinions":
        """Return the opinions of parts of pasts, a neighbour counting as much as it does in the whole ones."""
        return replace(self, score_BM=self.score_BM * (self.best_B1 / whole.best_B1), best_B1=whole.best_B1)

    def _found(self, user: Tensor, place: Tensor, item: Tensor) -> Tensor:
        place = place.clamp(max=self.item_BM.shape[1] - 1)
        return torch.where(self.item_BM[user, place] == item, self.score_BM[user, place], 0.0)


class Neighbours(nn.Module):
    next_VK: Tensor
    """Every item's neighbours, int32, padded with PAD."""
    weight_VK: Tensor
    """And how close they are, above 0; 0 at padding."""
    counts: Tensor
    fades: Tensor
    """See `SecondOpinion`."""

    def __init__(self, vocabulary_size: int, num_neighbours: int) -> None:
        super().__init__()
        self.register_buffer("next_VK", torch.zeros(vocabulary_size, num_neighbours, dtype=torch.int32))
        self.register_buffer("weight_VK", torch.zeros(vocabulary_size, num_neighbours))
        self.register_buffer("counts", torch.zeros(()))
        self.register_buffer("fades", torch.tensor(FADES))

    def newest(self, num_events: int) -> int:
        """Return how many of so many events count, the newest ones."""
        fades = float(self.fades)
        return min(num_events, 1 + int(math.log(LEAST) / math.log(fades))) if fades < 1 else num_events

    def forward(self, item_BL: Tensor) -> Opinions:
        """Return the opinions on pasts that end at the last position."""
        newest_BR = item_BL[:, -self.newest(item_BL.shape[1]) :]
        batch, num = newest_BR.shape
        age_R = torch.arange(num - 1, -1, -1, device=newest_BR.device)
        beyond = len(self.next_VK)
        next_BRK = self.next_VK[newest_BR].long()
        is_own_BM = (next_BRK == newest_BR[:, :, None]).reshape(batch, -1)
        weight_BM = (self.weight_VK[newest_BR] * (self.fades**age_R)[:, None]).reshape(batch, -1)
        next_BM = next_BRK.reshape(batch, -1)
        item_BM, order_BM = next_BM.masked_fill(next_BM == PAD, beyond).sort(dim=1, stable=True)
        weight_BM, is_own_BM = weight_BM.gather(1, order_BM), is_own_BM.gather(1, order_BM)
        # An item that several events speak for stands once, with the sum.
        is_first_BM = torch.ones_like(item_BM, dtype=torch.bool)
        is_first_BM[:, 1:] = item_BM[:, 1:] != item_BM[:, :-1]
        number_BM = is_first_BM.cumsum(dim=1) - 1
        sum_BM = torch.zeros_like(weight_BM).scatter_add_(1, number_BM, weight_BM)
        by_others_BM = torch.zeros_like(weight_BM).scatter_add_(1, number_BM, weight_BM.masked_fill(is_own_BM, 0.0))
        once_BM = torch.full_like(item_BM, beyond).scatter_(1, number_BM, item_BM)
        best_B1 = by_others_BM.amax(dim=1, keepdim=True)
        best_B1 = torch.where(best_B1 > 0, best_B1, sum_BM.amax(dim=1, keepdim=True))
        best_B1 = best_B1.clamp(min=torch.finfo(sum_BM.dtype).tiny)
        return Opinions(once_BM, self.counts * sum_BM.minimum(OWN_AT_MOST * best_B1) / best_B1, best_B1)

"""The rank of a target among all items.

Rank = 1 + other items that score at least as much, so ties count against the model. The scores decide, not a truncated
list. The user's other items are left out; the target itself never is.

B users   V vocabulary size
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from sparkrec.models.sequence_model import SequenceModel
from sparkrec.tables import FIRST_ITEM

NO_RANK = 2**31 - 1
"""Rank of a target that was not ranked; beyond every cut-off, however small the catalogue."""


def target_ranks(scores_BV: Tensor, target_B: Tensor, left_out_BV: Tensor) -> Tensor:
    """Return (B,) ranks from 1. A target that has no finite score, or none at all, is a miss: NO_RANK."""
    vocabulary_size = scores_BV.shape[1]
    in_vocabulary_B = target_B < vocabulary_size
    place_B1 = target_B.clamp(max=vocabulary_size - 1).unsqueeze(1)
    target_score_B1 = scores_BV.gather(1, place_B1)
    others_BV = scores_BV.masked_fill(left_out_BV, -torch.inf)
    others_BV[:, :FIRST_ITEM] = -torch.inf
    others_BV.scatter_(1, place_B1, -torch.inf)
    # "not less" rather than "at least": a score that is not a number stands above the target.
    rank_B = 1 + (~(others_BV < target_score_B1)).sum(dim=1)
    counts_B = in_vocabulary_B & torch.isfinite(target_score_B1).squeeze(1)
    return torch.where(counts_B, rank_B, NO_RANK)


def left_out_mask(seen: list[np.ndarray], vocabulary_size: int) -> Tensor:
    """Return (B, V), true where the user touched the item before the target."""
    row = np.repeat(np.arange(len(seen)), [len(items) for items in seen])
    item = np.concatenate(seen).astype(np.int64) if len(row) else np.zeros(0, dtype=np.int64)
    mask_BV = torch.zeros(len(seen), vocabulary_size, dtype=torch.bool)
    inside = item < vocabulary_size
    mask_BV[torch.from_numpy(row[inside]), torch.from_numpy(item[inside])] = True
    return mask_BV


def model_ranks(model: SequenceModel, inputs: Mapping[str, Tensor], target_B: Tensor, left_out_BV: Tensor) -> Tensor:
    """Return (B,) ranks of the targets that follow the inputs' last position."""
    with torch.inference_mode():
        state_BD = model.states(inputs)[:, -1]
        return target_ranks(model.scores(state_BD), target_B, left_out_BV)


def ndcg_of(rank_B: Tensor, k: int) -> Tensor:
    """Return (B,): with one relevant item NDCG@k is 1 / log2(rank + 1) inside the first k, else 0."""
    return torch.where(rank_B <= k, 1 / torch.log2(rank_B.double() + 1), 0.0)

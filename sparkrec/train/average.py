"""The running mean of the weights over the newest steps: what is validated and published.

It does what a falling learning rate does, but needs not know when training ends (Morales-Brotons, Vogels, Hendrikx
2024, arXiv 2411.18704).
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from sparkrec.models.sequence_model import SequenceModel

YOUNG = 10
"""The mean goes back over a tenth of the steps there were, until `keep` bounds it."""


def averaged(model: SequenceModel, keep: float) -> AveragedModel:
    """Return a copy of the model that `update_parameters` moves towards it.

    In   keep: the largest share of the mean that a step leaves as it is; 0 follows the model.
    """

    def move(means: Sequence[Tensor], now: Sequence[Tensor], num_steps: Tensor | int) -> None:
        kept = min(keep, (1 + int(num_steps)) / (YOUNG + int(num_steps)))
        torch._foreach_lerp_(list(means), list(now), 1 - kept)

    return AveragedModel(model, multi_avg_fn=move)

"""The running mean of the weights over the newest steps: what is validated and published.

It does what a falling learning rate does, but needs not know when training ends (Morales-Brotons, Vogels, Hendrikx
2024, arXiv 2411.18704).
"""

import copy

import torch
from torch import Tensor

from sparkrec.models.sequence_model import SequenceModel

YOUNG = 10
"""The mean goes back over a tenth of the steps there were, until `keep` bounds it."""


class Average:
    """A model whose weights follow those of another one; what is no weight it shares with it."""

    def __init__(self, model: SequenceModel, keep: float) -> None:
        """In: keep, the largest share of the mean that a step leaves as it is; 0 follows the model."""
        self.keep = keep
        self.model = copy.deepcopy(model, {id(buffer): buffer for buffer in model.buffers()})
        self.model.requires_grad_(False)

    def follow(self, model: SequenceModel, step: int) -> None:
        """Take in the weights after a step, counted from 1."""
        kept = min(self.keep, step / (YOUNG + step - 1)) if step > 1 else 0.0
        with torch.no_grad():
            torch._foreach_lerp_(list(self.model.parameters()), list(model.parameters()), 1 - kept)

    def weights(self) -> dict[str, Tensor]:
        return dict(self.model.named_parameters())

    def take_over(self, weights: dict[str, Tensor]) -> None:
        """Go on from what `weights` gave."""
        self.model.load_state_dict(weights, strict=False)

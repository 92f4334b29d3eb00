"""The loss of one batch, by the setting `train.loss`.

B windows   L positions   T targets   D width   V vocabulary size   P shared negatives   K negatives per target
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from sparkrec.config.settings import TrainSettings
from sparkrec.models.sequence_model import SequenceModel
from sparkrec.tables import PAD
from sparkrec.train.losses import binary, chances_of, full_softmax, in_batch_negatives, shared_softmax
from sparkrec.train.plan import Vocabulary
from sparkrec.train.trim import at_targets

States = Callable[[Sequence[Mapping[str, Tensor]]], Tensor]


class Objective:
    """Knows what a loss needs beside the batch: how likely items are drawn, and which columns of `windows`."""

    def __init__(
        self, settings: TrainSettings, vocabulary: Vocabulary, popularity_power: float, device: torch.device
    ) -> None:
        self._loss, self._num_shared = settings.loss, settings.num_shared_negatives
        # A target stands in for another one's negative as often as it occurs.
        power = 1.0 if settings.loss == "in_batch_softmax" else popularity_power
        self._chances = chances_of(vocabulary.counts.to(device), vocabulary.is_known.to(device), power)

    def columns(self, model: SequenceModel) -> list[str]:
        """Return the columns of `windows` that training reads."""
        return [*model.inputs, "target_idxs", *(["negative_idxs"] if self._loss == "binary" else [])]

    def __call__(
        self, states: States, model: SequenceModel, pieces: Sequence[Mapping[str, Tensor]], generator: torch.Generator
    ) -> Tensor:
        """Return the mean loss over the batch's targets."""
        target_T = at_targets(pieces, "target_idxs")
        state_TD, items_VD = states(pieces), model.item_matrix()
        if not len(target_T):  # a batch of held-out items alone, none of which can be learnt
            return 0.0 * (state_TD.sum() + items_VD.sum())
        if self._loss == "binary":
            return binary(state_TD, items_VD, target_T, at_targets(pieces, "negative_idxs").view(len(target_T), -1))
        if self._loss == "softmax":
            return full_softmax(state_TD, items_VD, target_T, model.is_known_V)
        if self._loss == "in_batch_softmax":
            negative_P = in_batch_negatives(target_T, self._num_shared, generator)
        else:
            negative_P = self._chances.draw(self._num_shared, generator)
        return shared_softmax(state_TD, items_VD, target_T, negative_P, self._chances.log_V)


def num_targets(pieces: Sequence[Mapping[str, Tensor]]) -> int:
    return sum(int((piece["target_idxs"] != PAD).sum()) for piece in pieces)

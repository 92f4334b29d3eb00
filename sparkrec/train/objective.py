"""The loss of one batch, by the setting `train.loss`.

B windows   L positions   T targets   F items that follow   D width   V vocabulary size   P shared negatives
K negatives per target
"""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from sparkrec.config.train_settings import TrainSettings
from sparkrec.models.heads import PURCHASE
from sparkrec.models.pairs import PairModel
from sparkrec.models.sequence_model import SequenceModel
from sparkrec.tables import PAD
from sparkrec.train.head_losses import action_losses, pair_loss, purchase_loss
from sparkrec.train.losses import (
    binary,
    chances_of,
    full_softmax,
    in_batch_negatives,
    less_sure_of,
    pairwise,
    shared_softmax,
    shares_of,
)
from sparkrec.train.plan import Vocabulary
from sparkrec.train.trim import at_targets, following

FEW_ITEMS = 50_000
"""With so many known items or fewer the loss `auto` takes all of them as negatives."""
OWN_NEGATIVES = ("binary", "generalised_binary", "pairwise")
"""Losses that hold a target against negatives of its own, from `windows`."""
LEAST_SHARE = 0.02
LEAST_TEMPERATURE = 0.05
"""bfloat16 keeps eight bits: of cosines over less than this too few are left behind the point."""
States = Callable[[Sequence[Mapping[str, Tensor]]], Tensor]


class Objective:
    """Knows what a loss needs beside the batch: how likely items are drawn, and which columns of `windows`."""

    def __init__(
        self, settings: TrainSettings, vocabulary: Vocabulary, popularity_power: float, device: torch.device
    ) -> None:
        self._loss, self._num_shared = loss_for(settings.loss, vocabulary), settings.num_shared_negatives
        self._later, self._num_follow = settings.later_targets, num_following(settings.later_targets)
        self._num_known = int(vocabulary.is_known.sum())
        # A target stands in for another one's negative as often as it occurs.
        power = 1.0 if self._loss == "in_batch_softmax" else popularity_power
        self._chances = chances_of(vocabulary.counts.to(device), vocabulary.is_known.to(device), power)

    def columns(self, model: SequenceModel) -> list[str]:
        """Return the columns of `windows` that training reads."""
        negatives = ["negative_idxs"] if self._loss in OWN_NEGATIVES or model.scores_pairs else []
        kinds = ["event_types", "target_types"] if model.shape.heads else []
        return list(dict.fromkeys([*model.columns, "target_idxs", *negatives, *kinds]))

    def __call__(
        self, states: States, model: SequenceModel, pieces: Sequence[Mapping[str, Tensor]], generator: torch.Generator
    ) -> Tensor:
        """Return the mean loss over the batch's targets, that of pairs and of the model's heads added."""
        # Heads learn from searches and rare items, too.
        follow_TF, state_TD = following(pieces, self._num_follow), states(pieces)
        of_actions = action_losses(model, state_TD, pieces)
        is_item_T = follow_TF[:, 0] != PAD
        follow_TF, state_TD = follow_TF[is_item_T], state_TD[is_item_T]
        target_T = follow_TF[:, 0]
        if not len(target_T):  # a batch of held-out items alone, none of which can be learnt
            return 0.0 * (sum(weights.sum() for weights in model.parameters()) + state_TD.sum()) + sum(of_actions)
        negative_TK = None
        if "negative_idxs" in pieces[0]:
            negative_TK = at_targets(pieces, "negative_idxs").view(len(is_item_T), -1)[is_item_T]
        apart = zip(model.parts, model.states_of_parts(state_TD), strict=True)
        of_parts = [
            self._of_next_items(part, part_TD, follow_TF, negative_TK, model.is_known_V, generator)
            for part, part_TD in apart
        ]
        loss = torch.stack(of_parts).mean() + sum(of_actions)
        if isinstance(model, PairModel) and negative_TK is not None:
            loss = loss + pair_loss(model, state_TD, target_T, negative_TK)
        if PURCHASE in model.shape.heads:
            loss = loss + purchase_loss(model, state_TD, target_T, at_targets(pieces, "target_types")[is_item_T])
        return loss

    def _of_next_items(
        self,
        model: SequenceModel,
        state_TD: Tensor,
        follow_TF: Tensor,
        negative_TK: Tensor | None,
        is_known_V: Tensor,
        generator: torch.Generator,
    ) -> Tensor:
        target_T, vectors = follow_TF[:, 0], model.item_vectors
        if self._loss in OWN_NEGATIVES and negative_TK is not None:
            if self._loss == "pairwise":
                return pairwise(state_TD, vectors, target_T, negative_TK)
            less_sure = (
                less_sure_of(negative_TK.shape[1], self._num_known) if self._loss == "generalised_binary" else None
            )
            return binary(state_TD, vectors, target_T, negative_TK, less_sure)
        share_TF = shares_of(follow_TF, self._later)
        if self._loss == "softmax":
            in_bfloat16 = _multiplies_all_in_bfloat16(state_TD, model.shape.temperature)
            return full_softmax(state_TD, model.item_matrix(), follow_TF, share_TF, is_known_V, in_bfloat16)
        if self._loss == "in_batch_softmax":
            negative_P = in_batch_negatives(target_T, self._num_shared, generator)
        else:
            negative_P = self._chances.draw(self._num_shared, generator)
        return shared_softmax(state_TD, vectors, follow_TF, share_TF, negative_P, self._chances.log_V)


def _multiplies_all_in_bfloat16(states: Tensor, temperature: float | None) -> bool:
    """Return whether states meet all items in bfloat16: on CPUs under autocast; a GPU has TF32 for that."""
    is_asked = states.device.type == "cpu" and torch.is_autocast_enabled("cpu")
    return is_asked and temperature is not None and temperature >= LEAST_TEMPERATURE


def loss_for(setting: str, vocabulary: Vocabulary) -> str:
    """Return the loss: `auto` is against all items where they are few enough."""
    if setting != "auto":
        return setting
    return "softmax" if int(vocabulary.is_known.sum()) <= FEW_ITEMS else "sampled_softmax"


def num_following(later: float) -> int:
    """Return how many of the items that follow are learnt from: those that count a fiftieth of the next one or more."""
    return 1 + int(math.log(LEAST_SHARE) / math.log(later)) if later > LEAST_SHARE else 1


def num_targets(pieces: Sequence[Mapping[str, Tensor]]) -> int:
    return sum(int((piece["target_idxs"] != PAD).sum()) for piece in pieces)

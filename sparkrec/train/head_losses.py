"""Losses of what a model is asked beside the next item: pairs, purchases, kinds of events.

T targets of a batch   D width   K negatives per target
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from sparkrec.models.heads import OWN_ACTION
from sparkrec.models.pairs import PairModel
from sparkrec.models.sequence_model import SequenceModel
from sparkrec.tables import EVENT_CODES, PAD
from sparkrec.train.losses import binary_of
from sparkrec.train.trim import at_targets


def pair_loss(model: PairModel, state_TD: Tensor, target_T: Tensor, negative_TK: Tensor) -> Tensor:
    """Return the mean binary cross-entropy of interest in every target and its own negatives."""
    logits = model.interest_logits(state_TD, torch.cat([target_T[:, None], negative_TK], dim=1)).float()
    return binary_of(logits[:, 0], logits[:, 1:], negative_TK != PAD)


def purchase_loss(model: SequenceModel, state_TD: Tensor, target_T: Tensor, type_T: Tensor) -> Tensor:
    """Return the mean binary cross-entropy of a purchase, given that the user turned to the item."""
    logit_T = model.purchase_logits(state_TD, target_T[:, None]).float().squeeze(1)
    return functional.binary_cross_entropy_with_logits(logit_T, (type_T == EVENT_CODES["purchase"]).float())


def action_losses(model: SequenceModel, state_TD: Tensor, pieces: Sequence[Mapping[str, Tensor]]) -> list[Tensor]:
    """Return the mean cross-entropy of the kind of event, by each head of the model for that."""
    column = {name: "event_types" if name == OWN_ACTION else "target_types" for name in model.actions}
    return [
        functional.cross_entropy(model.action_logits(state_TD, name).float(), at_targets(pieces, column[name]))
        for name in model.actions
    ]

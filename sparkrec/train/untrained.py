"""The model that a training begins with."""

import torch

from sparkrec.models.registry import build_model
from sparkrec.models.sequence_model import SequenceModel
from sparkrec.train.place import Place
from sparkrec.train.plan import TrainPlan, Vocabulary
from sparkrec.train.warm_start import start_from


def untrained(plan: TrainPlan, vocabulary: Vocabulary, place: Place) -> SequenceModel:
    """Return the model with what is known of items, and random weights or those it is to start from."""
    torch.manual_seed(plan.seed)  # the same initial weights on every rank
    model = build_model(plan.card.architecture, plan.shape)
    model.is_known_V = vocabulary.is_known
    if plan.shape.num_attributes and model.learns:
        for part in model.parts:
            part.items.attributes_VA = vocabulary.attributes.clone()
            part.items.attribute_keys = vocabulary.attribute_keys.clone()
    if model.neighbours is not None:
        model.neighbours.next_VK, model.neighbours.weight_VK = vocabulary.next_items, vocabulary.next_weights
    if plan.start_from is not None:
        start_from(model, plan.start_from, vocabulary.categories)
    return model.to(place.device)

"""What is popular lately, added to scores by inner product, as much of it as validation says (see `second_opinion`).

A model knows how popular items were in all its training windows; a list is for tonight. What is added is one more
number in the vectors of items and in states, so the best items are found as they are without it.

K items   B users   D width   S numbers of events per item, of which a state asks for one   V vocabulary size
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from sparkrec.models.sequence_model import SequenceModel


def log_events(events: Tensor) -> Tensor:
    """Return the logarithm of one more than numbers of events, in float32."""
    return events.float().log1p()


def scored_items(model: SequenceModel, item_K: Tensor, events: Sequence[Tensor]) -> Tensor:
    """Return (K, D + S) in float32, what states are multiplied with; (K, D) where recent events add nothing.

    In   events: those of the last days by item index, (V,) each, S of them.
    """
    vector_KD = model.item_matrix().float()[item_K]
    if not model.lately:
        return vector_KD
    added = [model.lately * log_events(events_V[item_K]) for events_V in events]
    return torch.cat([vector_KD, *(added_K[:, None] for added_K in added)], dim=1)


def scored_states(model: SequenceModel, state_BD: Tensor, which: int = 0, how_many: int = 1) -> Tensor:
    """Return (B, D + S) in float32: states for `scored_items`, which ask for one of the S numbers."""
    if not model.lately:
        return state_BD.float()
    asked_BS = torch.zeros(len(state_BD), how_many, device=state_BD.device)
    asked_BS[:, which] = 1.0
    return torch.cat([state_BD.float(), asked_BS], dim=1)


def first_pass(model: SequenceModel, wanted: str) -> str:
    """Return what the first pass of a list is found in, where that is left open: what is popular lately makes scores so
    large that bfloat16 tells too few apart, and items one by one take a hundred times as long."""
    return "float32" if wanted == "auto" and model.lately else wanted

"""Recurrent units over pasts that are padded on the left.

B users   L positions   D width
"""

import torch
from torch import Tensor, nn


def over_events(unit: nn.RNNBase, vector_BLD: Tensor, is_event_BL: Tensor) -> Tensor:
    """Return the unit's outputs, (B, L, D), as if each past began with its first event; zeros at padding."""
    length = vector_BLD.shape[1]
    place_L = torch.arange(length, device=vector_BLD.device)
    padding_B1 = length - is_event_BL.sum(dim=1, keepdim=True)
    # Pasts are moved to the left and back: what comes after the last event reaches no event.
    moved_BLD = _at(vector_BLD, (place_L + padding_B1) % length)
    output_BLD, _ = unit(moved_BLD)
    return _at(output_BLD, (place_L - padding_B1) % length) * is_event_BL[:, :, None]


def _at(values_BLD: Tensor, place_BL: Tensor) -> Tensor:
    return values_BLD.gather(1, place_BL[:, :, None].expand_as(values_BLD))

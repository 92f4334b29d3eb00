"""Weights to start from: small random numbers, as BERT's (Devlin et al. 2018, arXiv 1810.04805)."""

import torch
from torch import Tensor, nn

from sparkrec.tables import PAD

SPREAD = 0.02


def small_table(weight: Tensor) -> None:
    """Fill a table of vectors; that of padding is zero."""
    nn.init.normal_(weight, std=SPREAD)
    with torch.no_grad():
        weight[PAD] = 0


def small_maps(module: nn.Module) -> None:
    """Fill linear maps, without bias; for `Module.apply`."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=SPREAD)
        if module.bias is not None:
            nn.init.zeros_(module.bias)

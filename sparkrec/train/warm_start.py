"""Start from an earlier model whose vocabulary has grown since.

V vocabulary size   D width   C categories
"""

from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from sparkrec.errors import SparkrecError
from sparkrec.models.sequence_model import SequenceModel
from sparkrec.models.store import Card, read_card, read_weights
from sparkrec.sequences import NO_CATEGORY
from sparkrec.tables import FIRST_ITEM

MAY_DIFFER = {"vocabulary_size", "dropout", "num_attributes", "max_attributes", "num_neighbours"}
NEIGHBOURS = "neighbours."
KNOWN, ATTRIBUTES, KEYS = "is_known_V", "items.attributes.weight", "items.attribute_keys"
FOUND_ANEW = (KNOWN, KEYS, "items.attributes_VA")
"""Ends of names, for each member of an ensemble has its own."""


def check_start(folder: Path, card: Card) -> None:
    """Refuse to go on from a model of another shape, another lake, or a larger vocabulary; name every difference."""
    there, here = read_card(folder), card
    names = [name for name in asdict(here.shape) if name not in MAY_DIFFER]
    wanted = {"model": here.architecture, "vocabulary lineage": here.vocabulary_lineage, "held out": here.held_out}
    found = {"model": there.architecture, "vocabulary lineage": there.vocabulary_lineage, "held out": there.held_out}
    wanted |= {name: getattr(here.shape, name) for name in names}
    found |= {name: getattr(there.shape, name) for name in names}
    other = [f"{name} is {found[name]} there and {wanted[name]} here" for name in wanted if found[name] != wanted[name]]
    if there.shape.vocabulary_size > here.shape.vocabulary_size:
        other.append(f"it knows {there.shape.vocabulary_size:,} items, this lake has {here.shape.vocabulary_size:,}")
    if other:
        raise SparkrecError(
            f"{folder}: cannot be fine-tuned ({'; '.join(other)}); set these back, or train.start=scratch"
        )


def start_from(model: SequenceModel, folder: Path, category_V: Tensor) -> int:
    """Take over the weights; an item that the earlier model did not know starts at its category's mean.

    In   model: untrained, of the new vocabulary; items without a known category keep their random vector.
    Out  how many items started from their category.
    """
    weights = read_weights(folder)
    was_known = weights[KNOWN]
    new_V = torch.ones(model.shape.vocabulary_size, dtype=torch.bool)
    new_V[: len(was_known)] = ~was_known
    new_V[:FIRST_ITEM] = False  # 'unknown' stands for every search and every rare item, and is learnt as such
    own = model.state_dict()
    filled = torch.zeros_like(new_V)
    for name, values in weights.items():
        if name.endswith(ATTRIBUTES):
            keys = name.removesuffix(ATTRIBUTES) + KEYS
            if model.shape.num_attributes:
                _take_over(own[name], own[keys], values, weights[keys])
            continue
        if name.endswith(FOUND_ANEW) or name.startswith(NEIGHBOURS):
            continue
        if name not in model.item_tables:
            own[name].copy_(values)
            continue
        grown = own[name].clone()
        old = ~new_V
        grown[old] = values[old[: len(values)].nonzero().squeeze(1)]
        mean_VD, has_mean_V = _category_means(grown, old & model.is_known_V, category_V)
        filled = new_V & has_mean_V & model.is_known_V
        grown[filled] = mean_VD[filled]
        own[name].copy_(grown)
    return int(filled.sum())


def _take_over(vectors: Tensor, keys: Tensor, old_vectors: Tensor, old_keys: Tensor) -> None:
    """Put the old vectors of attributes where the same attributes are now; keys ascend from the second on."""
    place = torch.searchsorted(old_keys[1:].contiguous(), keys[1:]).clamp(max=len(old_keys) - 2)
    is_old = old_keys[1:][place] == keys[1:]
    vectors[1:][is_old] = old_vectors[1:][place[is_old]]


def _category_means(values_VD: Tensor, counts_V: Tensor, category_V: Tensor) -> tuple[Tensor, Tensor]:
    """Return for every item the mean of its category over the items that count, and whether there is one."""
    told, group_V = torch.unique(category_V, return_inverse=True)
    chosen = counts_V & (category_V != NO_CATEGORY)
    sums_CD = values_VD.new_zeros(len(told), values_VD.shape[1]).index_add_(0, group_V[chosen], values_VD[chosen])
    sizes_C = torch.bincount(group_V[chosen], minlength=len(told))
    means_CD = sums_CD / sizes_C.clamp(min=1)[:, None]
    return means_CD[group_V], (sizes_C > 0)[group_V]

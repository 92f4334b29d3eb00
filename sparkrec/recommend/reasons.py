"""Which item of a user's past an item is recommended for.

B users   L positions   D width   N items per list   R newest different items of the past
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from sparkrec.models.neighbours import Opinions
from sparkrec.models.sequence_model import USER, SequenceModel
from sparkrec.sequences import Ints
from sparkrec.tables import FIRST_ITEM, PAD


def newest_different(item_idxs_BL: Ints, how_many: int) -> Ints:
    """Return a user's newest different known items, (B, R), newest first; PAD where there are fewer."""
    found = np.full((len(item_idxs_BL), how_many), PAD, dtype=np.int64)
    for row, items in enumerate(item_idxs_BL[:, ::-1].tolist()):
        different = [item for item in dict.fromkeys(items) if item >= FIRST_ITEM][:how_many]
        found[row, : len(different)] = different
    return found


def most_alike(model: SequenceModel, past_BR: Tensor, listed_BN: Tensor) -> Tensor:
    """Return the item of the past whose vector has the smallest angle to that of the listed item, (B, N); PAD for none.

    In   past_BR, listed_BN: item indices, PAD where there is none. The listed item itself is no reason.
    """
    past_BRD = torch.nn.functional.normalize(model.item_vectors(past_BR).float(), dim=2)
    listed_BND = torch.nn.functional.normalize(model.item_vectors(listed_BN).float(), dim=2)
    return _best(torch.einsum("bnd,brd->bnr", listed_BND, past_BRD), past_BR, listed_BN)


def most_missed(model: SequenceModel, inputs: Mapping[str, Tensor], past_BR: Tensor, listed_BN: Tensor) -> Tensor:
    """Return the item of the past without which the score of the listed item falls most, (B, N); PAD where it falls
    without none."""
    whole = model.opinions(inputs["item_idxs"])
    with_all_BN = _scores(model, inputs, listed_BN, whole)
    falls = []
    for item_B in past_BR.T:
        is_it_BL = inputs["item_idxs"] == item_B.unsqueeze(1)
        # What is left moves to the right, as windows are padded on the left.
        order_BL = (~is_it_BL).int().argsort(dim=1, stable=True)
        without = {
            name: values if name == USER else values.masked_fill(is_it_BL, PAD).gather(1, order_BL)
            for name, values in inputs.items()
        }
        left = model.opinions(without["item_idxs"])
        # The best neighbour may be gone with the item; that must not lift the others.
        opinions = left and whole and left.measured_by(whole)
        falls.append(with_all_BN - _scores(model, without, listed_BN, opinions))
    fall_BNR = torch.stack(falls, dim=2)
    return _best(fall_BNR.masked_fill(fall_BNR <= 0, -torch.inf), past_BR, listed_BN)


def _scores(model: SequenceModel, inputs: Mapping[str, Tensor], listed_BN: Tensor, opinions: Opinions | None) -> Tensor:
    """Return (B, N), the scores of listed items; the second opinion, where there is one, is a part of them."""
    state_BD = model.last_state(inputs)
    if model.scores_pairs:
        return model.pair_scores(state_BD, listed_BN).float()
    score_BN = torch.einsum("bd,bnd->bn", state_BD.float(), model.item_vectors(listed_BN).float())
    return score_BN if opinions is None else score_BN + opinions.of(listed_BN)


def _best(worth_BNR: Tensor, past_BR: Tensor, listed_BN: Tensor) -> Tensor:
    is_none_BNR = (past_BR[:, None, :] == PAD) | (past_BR[:, None, :] == listed_BN[:, :, None])
    worth_BN, place_BN = worth_BNR.masked_fill(is_none_BNR, -torch.inf).max(dim=2)
    reason_BN = past_BR.gather(1, place_BN)
    return torch.where((worth_BN > -torch.inf) & (listed_BN != PAD), reason_BN, PAD)

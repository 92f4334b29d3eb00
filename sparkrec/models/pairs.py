"""Models that score pairs of a user and an item by a network.

Their inner products only choose the candidates that the network puts in order; `train.loss` teaches these, and binary
cross-entropy the network.

B users   L positions   D width   S width of a state   M items of a user   H hidden numbers of a pair
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional

from sparkrec.models.dropout import Dropout
from sparkrec.models.sequence_model import Past, SequenceModel
from sparkrec.models.shape import ModelShape

WIDE, NARROW, DROPOUT = 100, 50, 0.2
"""The network of the CNN hybrid's paper."""


class PairModel(SequenceModel):
    """A state is `num_parts` vectors of width D side by side, by the sum of which candidates are found.

    An architecture says what its network makes of a pair: `hidden`.
    """

    scores_pairs: ClassVar[bool] = True
    num_parts: ClassVar[int] = 1

    def __init__(self, shape: ModelShape) -> None:
        super().__init__(shape)
        self.interest = nn.Linear(self.num_known_of_pair, 1)

    @property
    def state_width(self) -> int:
        return self.num_parts * self.shape.width

    @property
    def num_known_of_pair(self) -> int:
        return NARROW

    def known_of_pair(self, state_BD: Tensor, items_BM: Tensor) -> Tensor:
        """Return (B, M, H), what the network makes of pairs; the head for purchases goes on from it."""
        parts = state_BD[:, None].chunk(self.num_parts, dim=-1)
        return self.hidden(parts, self._own_vectors(items_BM))

    def hidden(self, parts: Sequence[Tensor], item_BMD: Tensor) -> Tensor:
        """Return (B, M, H), what the network makes of pairs.

        In   parts: each part of the states, (B, 1, D). item_BMD: vectors of items, or (1, M, D) of the same for all.
        """
        raise NotImplementedError

    def pair_scores(self, state_BD: Tensor, items_BM: Tensor) -> Tensor:
        """Return (B, M): log odds of interest or, with the head for it, the log of the chance of a purchase: that of
        interest times that of a purchase given interest."""
        hidden_BMH = self.known_of_pair(state_BD, items_BM)
        interest_BM: Tensor = self.interest(hidden_BMH).squeeze(-1)
        if self.purchase is None:
            return interest_BM
        return functional.logsigmoid(interest_BM) + functional.logsigmoid(self.purchase(hidden_BMH))

    def interest_logits(self, state_BD: Tensor, items_BM: Tensor) -> Tensor:
        """Return (B, M), log odds that an item is turned to at all."""
        logits: Tensor = self.interest(self.known_of_pair(state_BD, items_BM)).squeeze(-1)
        return logits

    def item_vectors(self, item_idxs: Tensor) -> Tensor:
        """Return (…, S): the item's vector, once per part."""
        return super().item_vectors(item_idxs).tile(self.num_parts)

    def item_matrix(self) -> Tensor:
        return super().item_matrix().tile(self.num_parts)

    def _own_vectors(self, items_BM: Tensor) -> Tensor:
        """Return (B, M, D); with cosines as long as random numbers of variance one, so that a network can read them."""
        vectors = super().item_vectors(items_BM)
        return vectors if self.shape.temperature is None else vectors * self.shape.width**0.5


class LongTerm(PairModel):
    """A model whose state is the user's own vector, whatever the user did."""

    reads_user: bool = True
    reads_past: bool = False

    def __init__(self, shape: ModelShape) -> None:
        super().__init__(replace(shape, side_inputs=()))

    def encode(self, past: Past) -> Tensor:
        assert past.user_BD is not None
        return past.user_BD[:, None].expand_as(past.vector_BLD)


class PairNetwork(nn.Module):
    """The paper's network over what is known of pairs, up to NARROW hidden numbers.

    Each part has a matrix of its own, so that what is the same for all items of a user, or for all users of an item, is
    multiplied once.
    """

    def __init__(self, num_parts: int, width: int) -> None:
        super().__init__()
        self.first = nn.ModuleList(nn.Linear(width, WIDE, bias=number == 0) for number in range(num_parts))
        self.rest = nn.Sequential(nn.ReLU(), Dropout(DROPOUT), nn.Linear(WIDE, NARROW), nn.ReLU(), Dropout(DROPOUT))

    def forward(self, *parts: Tensor) -> Tensor:
        """Return (B, M, H). In: parts of width D, (B, M, D), (B, 1, D) or (1, M, D)."""
        found = [layer(part) for layer, part in zip(self.first, parts, strict=True)]
        hidden: Tensor = self.rest(sum(found[1:], found[0]))
        return hidden

"""What every model offers: states for all positions, vectors of items, and scores by inner product.

B users   L positions   D width   V vocabulary size   M items of a user
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from sparkrec.models.events import Events
from sparkrec.models.heads import NEXT_ACTION, OWN_ACTION, PURCHASE, ActionHead, PurchaseHead
from sparkrec.models.initial import SPREAD
from sparkrec.models.items import Items
from sparkrec.models.neighbours import Neighbours, Opinions
from sparkrec.models.second_opinion import SecondOpinion
from sparkrec.models.shape import ModelShape
from sparkrec.tables import FIRST_ITEM, PAD

USER = "user_idx"
"""The column of `windows` with a number per user, (B,)."""
PAIR_ITEMS = 128
"""Items whose pairs with some users are scored at a time: what caches hold."""


@dataclass(frozen=True)
class Past:
    """What an architecture makes states of."""

    vector_BLD: Tensor
    """See `Events`."""
    is_event_BL: Tensor
    """Where there is no padding."""
    inputs: Mapping[str, Tensor]
    user_BD: Tensor | None
    """The users' own vectors, where the architecture reads them."""


class SequenceModel(nn.Module):
    """A model of users' pasts. An architecture says how vectors of events become states: `encode`.

    Items that `is_known_V` leaves out are never scored.
    """

    item_tables: tuple[str, ...] = ("items.own.weight",)
    """Parameters with a row per item, (V, …): they grow with the vocabulary."""

    learns: ClassVar[bool] = True
    """Whether weights are learnt step by step; others are counted or solved for."""

    reads_user: bool = False
    """Whether users have vectors of their own."""

    reads_past: bool = True
    """Whether states follow from what a user did."""

    scores_pairs: ClassVar[bool] = False
    """Whether the best items by inner product are put in order by `pair_scores`."""

    is_known_V: Tensor
    lately: Tensor
    """See `SecondOpinion`. What ranks adds it, `scores` does not."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self._begin(shape)
        self.items = Items(shape)
        self.events = Events(shape)
        if self.reads_user:
            self.users = nn.Embedding(shape.num_users, shape.width)
            nn.init.normal_(self.users.weight, std=SPREAD)
        self._end(shape)

    def _end(self, shape: ModelShape) -> None:
        """Have what goes on from states and vectors of items."""
        self.neighbours: Neighbours | None = (
            Neighbours(shape.vocabulary_size, shape.num_neighbours) if shape.num_neighbours else None
        )
        self.purchase = PurchaseHead(self.num_known_of_pair, shape) if PURCHASE in shape.heads else None
        self.actions = nn.ModuleDict(
            {name: ActionHead(self.state_width, shape) for name in (NEXT_ACTION, OWN_ACTION) if name in shape.heads}
        )

    def _begin(self, shape: ModelShape) -> None:
        """Have what every model has, learnt or not."""
        self.shape = shape
        self.register_buffer("is_known_V", torch.zeros(shape.vocabulary_size, dtype=torch.bool))
        self.register_buffer("lately", torch.zeros(()))

    @property
    def inputs(self) -> tuple[str, ...]:
        """Columns of `windows` that `states` wants, each (B, L)."""
        return ("item_idxs", *self.shape.side_inputs)

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of `windows` that states are found from: `inputs`, and the user's where it is read."""
        return (*self.inputs, USER) if self.reads_user else self.inputs

    @property
    def parts(self) -> Sequence["SequenceModel"]:
        """Models that learn from the next item each by itself: this one, or the members of an ensemble."""
        return [self]

    def states_of_parts(self, state_TD: Tensor) -> Sequence[Tensor]:
        """Return every part's own states, (T, D) each."""
        return [state_TD]

    def encode(self, past: "Past") -> Tensor:
        """Return (B, L, D); what stands at a position depends on that event and those before it only."""
        raise NotImplementedError

    def encode_last(self, past: "Past") -> Tensor:
        """Return (B, D), the last of `encode`; an architecture may find it without all the others."""
        return self.encode(past)[:, -1]

    def pair_scores(self, state_BD: Tensor, items_BM: Tensor) -> Tensor:
        """Return (B, M), scores of pairs of a state and an item; the higher, the better. Only with `scores_pairs`.

        In   items_BM: items of each user, or (1, M) the same ones for all.
        """
        raise NotImplementedError

    @property
    def state_width(self) -> int:
        return self.shape.width

    @property
    def num_known_of_pair(self) -> int:
        return 3 * self.state_width

    def known_of_pair(self, state_BD: Tensor, items_BM: Tensor) -> Tensor:
        """Return (B, M, F), what the head for purchases is told: both vectors and their product."""
        vector_BMD = self.item_vectors(items_BM)
        width = vector_BMD.shape[-1:]
        of_item_BMD = functional.layer_norm(vector_BMD, width)
        of_state_BMD = functional.layer_norm(state_BD, width)[:, None].expand_as(of_item_BMD)
        return torch.cat([of_state_BMD, of_item_BMD, of_state_BMD * of_item_BMD], dim=-1)

    def purchase_logits(self, state_BD: Tensor, items_BM: Tensor) -> Tensor:
        """Return (B, M), log odds that the next event, if it is on the item, is a purchase. Only with that head."""
        assert self.purchase is not None
        logits: Tensor = self.purchase(self.known_of_pair(state_BD, items_BM))
        return logits

    def action_logits(self, state_BD: Tensor, head: str) -> Tensor:
        """Return (B, E), logits of kinds of events by their code. In: the head's name, one of the model's."""
        logits: Tensor = self.actions[head](functional.layer_norm(state_BD, state_BD.shape[-1:]))
        return logits

    def states(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return (B, L, D)."""
        return self.items.as_states(self.encode(self._past(inputs)))

    def last_state(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return (B, D), the state of the last position."""
        return self.items.as_states(self.encode_last(self._past(inputs)))

    @property
    def has_opinions(self) -> bool:
        """Whether `opinions` adds anything."""
        return self.neighbours is not None and bool(self.neighbours.counts)

    def take(self, opinion: SecondOpinion) -> None:
        """Let the second opinion count so much."""
        self.lately.fill_(opinion.lately)
        if self.neighbours is not None:
            self.neighbours.counts.fill_(opinion.counts)
            self.neighbours.fades.fill_(opinion.fades)

    def opinions(self, item_BL: Tensor) -> Opinions | None:
        """Return what is added to inner products for pasts that end at the last position; None for nothing."""
        if self.neighbours is None or not self.has_opinions:
            return None
        opinions: Opinions = self.neighbours(item_BL)
        return opinions

    def item_vectors(self, item_idxs: Tensor) -> Tensor:
        """Return (…, D), what states are multiplied with."""
        return self.items.scored(item_idxs)

    def item_matrix(self) -> Tensor:
        """Return (V, D), the vectors of all items."""
        return self.items.matrix()

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        return self.states(inputs)

    def all_pair_scores(self, state_BD: Tensor) -> Tensor:
        """Return (B, V) in float32, `pair_scores` of all items; -inf for what is not an item or not known."""
        items = torch.split(torch.arange(len(self.is_known_V), device=state_BD.device), PAIR_ITEMS)
        scores_BV = torch.cat([self.pair_scores(state_BD, some[None]).float() for some in items], dim=1)
        return scores_BV.masked_fill_(~self.can_score, -torch.inf)

    def best_pair_scores(self, state_BD: Tensor, item_matrix_VD: Tensor, how_many: int) -> Tensor:
        """Return the same, of the best items by inner product alone; -inf for all others."""
        scores_BV = self.scores(state_BD, item_matrix_VD)
        best_BM, items_BM = scores_BV.topk(min(how_many, scores_BV.shape[1]), dim=1)
        pair_BM = self.pair_scores(state_BD, items_BM).float().masked_fill(best_BM == -torch.inf, -torch.inf)
        return torch.full_like(scores_BV, -torch.inf).scatter_(1, items_BM, pair_BM)

    def scores(self, state_BD: Tensor, item_matrix_VD: Tensor | None = None) -> Tensor:
        """Return (B, V) in float32, inner products; -inf for what is not an item or not known.

        In   item_matrix_VD: `item_matrix()`, where it was found before.
        """
        matrix_VD = self.item_matrix() if item_matrix_VD is None else item_matrix_VD
        scores_BV = state_BD.float() @ matrix_VD.float().T
        return scores_BV.masked_fill_(~self.can_score, -torch.inf)

    @property
    def can_score(self) -> Tensor:
        """(V,): which indices are items that the model knows."""
        can_score_V = self.is_known_V.clone()
        can_score_V[:FIRST_ITEM] = False
        return can_score_V

    def _past(self, inputs: Mapping[str, Tensor]) -> Past:
        is_event_BL = inputs["item_idxs"] != PAD
        user_BD = self.users(inputs[USER] % self.shape.num_users) if self.reads_user else None
        return Past(self.events(self.items, inputs), is_event_BL, inputs, user_BD)

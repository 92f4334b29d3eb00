"""Rank what is on offer for the users of a tile: best items, the model's own order, caps, variety.

B users   M best items a list is chosen from   N items per list   K items that the model scores   D width
"""

from itertools import groupby

import torch
from torch import Tensor

from sparkrec.config.settings import RecommendSettings
from sparkrec.models.best import Finder, Refused, Vectors, coarse_numbers
from sparkrec.models.lately import first_pass
from sparkrec.models.sequence_model import SequenceModel
from sparkrec.recommend.offer import NOWHERE, Offer
from sparkrec.recommend.pick import NONE, Candidates, pick, without_choice
from sparkrec.recommend.tile import Tile

WIDER = 4
"""How many times more items are looked at where caps are, and again where they leave a list short."""


class Ranking:
    """A model and an offer on one device."""

    def __init__(self, model: SequenceModel, offer: Offer, settings: RecommendSettings, device: torch.device) -> None:
        self.model, self.offer, self.settings, self.device = model, offer, settings, device
        on_device = Vectors(*(tensor.to(device) for tensor in vars(offer.vectors).values()))
        numbers = coarse_numbers(first_pass(model, settings.preselect), device)
        self.finder = Finder(on_device, settings.tile_users, numbers)
        self.has_caps = offer.has_caps
        self.refused_by_segment: dict[int, Tensor] = {}
        self.passed_over = 0
        """Items that were better than the last of a list and did not come in, for their category was full."""

    def lists_of(self, tile: Tile) -> tuple[Tensor, Tensor]:
        """Return scores and places in the offer, best first, (B, N); -inf and NOWHERE where there is nothing left."""
        how_many = self.settings.top_n
        if self.model.scores_pairs:
            how_many = max(how_many, self.settings.rerank_items)
        if self.settings.diversity:
            how_many = max(how_many, self.settings.diversity_items)
        if self.has_caps:
            how_many = max(how_many, WIDER * self.settings.top_n)
        return self._lists_from(tile, how_many)

    def _lists_from(self, tile: Tile, how_many: int) -> tuple[Tensor, Tensor]:
        top_n, diversity = self.settings.top_n, self.settings.diversity
        refused = self._refused(tile.segment_B)
        score_BM, place_BM = self.finder.best(
            tile.state_BD, tile.out_user, tile.out_place, refused, how_many, tile.added
        )
        if self.model.scores_pairs:
            score_BM, place_BM = self._rerank(tile.state_BD, place_BM)
        if not self.has_caps and not diversity:
            return score_BM[:, :top_n], place_BM[:, :top_n]
        best = self._candidates(tile.segment_B, score_BM, place_BM)
        if not diversity and without_choice(best, top_n):
            return score_BM[:, :top_n], place_BM[:, :top_n]
        chosen_BN = pick(best, top_n, diversity)
        is_none_BN = chosen_BN == NONE
        score_BN = score_BM.gather(1, chosen_BN.clamp(min=0)).masked_fill(is_none_BN, -torch.inf)
        place_BN = place_BM.gather(1, chosen_BN.clamp(min=0)).masked_fill(is_none_BN, NOWHERE)
        # Caps may have passed over more than was looked at.
        is_short_B = is_none_BN.any(dim=1) & (place_BM[:, -1] != NOWHERE) & (how_many < self.offer.num_scored)
        if not diversity:
            num_looked_at_B = (place_BM != NOWHERE).sum(dim=1)
            last_B = torch.where(is_none_BN.any(dim=1), num_looked_at_B, chosen_BN.amax(dim=1) + 1)
            self.passed_over += int((last_B - (~is_none_BN).sum(dim=1))[~is_short_B].sum())
        if is_short_B.any():
            wider = min(how_many * WIDER, self.offer.num_scored)
            score_BN[is_short_B], place_BN[is_short_B] = self._lists_from(tile.only(is_short_B), wider)
        return score_BN, place_BN

    def _candidates(self, segment_B: Tensor, score_BM: Tensor, place_BM: Tensor) -> Candidates:
        there_BM = place_BM.clamp(min=0).cpu()
        by_vector = self.settings.diversity and self.settings.diversity_by == "vectors"
        return Candidates(
            score_BM,
            torch.from_numpy(self.offer.categories_I)[there_BM].to(self.device),
            self.offer.cap_SI[segment_B.cpu().unsqueeze(1), there_BM].to(self.device),
            self.finder.vectors.exact_KD[place_BM.clamp(min=0)][..., : self.model.state_width] if by_vector else None,
        )

    def _rerank(self, state_BD: Tensor, place_BM: Tensor) -> tuple[Tensor, Tensor]:
        """Return scores and places in the order of the model's pair scores, ties by item."""
        place_BM = place_BM.masked_fill(place_BM == NOWHERE, self.offer.num_scored).sort(dim=1).values
        is_none_BM = place_BM == self.offer.num_scored
        item_K = torch.from_numpy(self.offer.item_idxs_I[: self.offer.num_scored]).to(self.device)
        pair_BM = self.model.pair_scores(state_BD, item_K[place_BM.masked_fill(is_none_BM, 0)]).float()
        pair_BM, order_BM = pair_BM.masked_fill(is_none_BM, -torch.inf).sort(dim=1, descending=True, stable=True)
        return pair_BM, place_BM.masked_fill(is_none_BM, NOWHERE).gather(1, order_BM)

    def _refused(self, segment_B: Tensor) -> list[Refused]:
        """Return which neighbours of the tile are not offered which items for their segment."""
        refused = []
        first = 0
        for row, users in groupby(segment_B.tolist()):
            end = first + len(list(users))
            items = self._of_segment(row)
            refused += [(slice(first, end), items)] if len(items) else []
            first = end
        return refused

    def _of_segment(self, row: int) -> Tensor:
        if row not in self.refused_by_segment:
            refusal_K = self.offer.refusal_SI[row, : self.offer.num_scored]
            self.refused_by_segment[row] = refusal_K.nonzero().flatten().to(self.device)
        return self.refused_by_segment[row]

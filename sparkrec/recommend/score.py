"""The lists of a group of users: scored in tiles, filled up with fallbacks, with reasons.

U users of a group   B users of a tile   N items per user
"""

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from sparkrec.config.settings import RecommendSettings
from sparkrec.models.lately import scored_states
from sparkrec.models.sequence_model import USER, SequenceModel
from sparkrec.recommend.device import device_of
from sparkrec.recommend.fallback import Ladder, last_category
from sparkrec.recommend.left_out import left_out
from sparkrec.recommend.offer import NOWHERE, Offer
from sparkrec.recommend.ranking import Ranking
from sparkrec.recommend.reasons import most_alike, most_missed, newest_different
from sparkrec.recommend.tile import Tile, added_to, inputs_of, rows_of, tiles_of, users_of
from sparkrec.sequences import Ints, hide_unknown, read_pasts
from sparkrec.tables import FIRST_ITEM, PAD

MODEL = "model"
NEVER_SEEN, NO_HISTORY, TOO_SHORT = "never seen", "no known item in the history", "too few items left"
"""Why a place in a list is not the model's."""


@dataclass
class Lists:
    """The lists of U users: N places each in the offer, NOWHERE where nothing could be found."""

    place_UN: Ints
    score_UN: npt.NDArray[np.float64]
    source_UN: Ints
    """Number in `sources`; 0 is the model."""
    because_UN: Ints
    """Item index of the reason, PAD for none."""
    purchase_UN: npt.NDArray[np.float64]
    """See the table's `purchase_probability`; no number where nothing is known of it."""
    sources: list[str]


class Scorer:
    """A model and an offer, ready to score on one device. A worker process has one."""

    def __init__(
        self, model: SequenceModel, offer: Offer, settings: RecommendSettings, cuts: Mapping[str, int | None]
    ) -> None:
        self.device = device_of(settings.device)
        self.model, self.offer, self.settings, self.cuts = model.to(self.device), offer, settings, cuts
        self.ranking = Ranking(self.model, offer, settings, self.device)
        self.place_V = self._on_device(offer.place_V)
        self.ladder = Ladder(offer, settings.popular_days)
        whys = (TOO_SHORT, NO_HISTORY, NEVER_SEEN)
        self.sources = [MODEL, *(f"{step}: {why}" for step in self.ladder.steps for why in whys)]
        self.cpu_s: dict[str, float] = defaultdict(float)
        """CPU seconds of this process, by part of the work."""

    @torch.inference_mode()
    def score(self, people: pa.Table) -> Lists:
        """Return the lists of a group. In: PEOPLE, a row per user."""
        shape = (len(people), self.settings.top_n)
        lists = Lists(
            place_UN=np.full(shape, NOWHERE, dtype=np.int64),
            score_UN=np.full(shape, -np.inf),
            source_UN=np.zeros(shape, dtype=np.int64),
            because_UN=np.full(shape, PAD, dtype=np.int64),
            purchase_UN=np.full(shape, np.nan),
            sources=self.sources,
        )
        with self.timed("read"):
            pasts = read_pasts(people.combine_chunks().to_batches()[0])
            known = replace(pasts, item_idxs=hide_unknown(pasts.item_idxs, self.model.is_known_V.cpu().numpy()))
            segment_U = self.offer.number_segments(people.column("segment"))
            out_user, out_item = left_out(people, self.cuts)
            out_place = self.offer.places_of(out_item)
            is_scored = (out_place != NOWHERE) & (out_place < self.offer.num_scored)
            ends = np.searchsorted(out_user[is_scored], np.arange(len(people) + 1))
            scored_place = out_place[is_scored]
        can_score_U = np.zeros(len(people), dtype=bool)
        length, tile_users = self.model.shape.length, self.settings.tile_users
        for users, positions in tiles_of(pasts.ends - pasts.starts, segment_U, length, tile_users):
            with self.timed("encode"):
                inputs = inputs_of(known, users, self.model.inputs, positions, tile_users, self.device)
                if self.model.reads_user:
                    inputs[USER] = users_of(people, users, tile_users, self.device)
                is_placed_B = (inputs["item_idxs"][: len(users)] >= FIRST_ITEM).any(dim=1)
                state_BD = self._states(inputs, is_placed_B)
            placed = users[is_placed_B.cpu().numpy()]
            can_score_U[placed] = True
            if not len(placed) or not self.offer.num_scored:
                continue
            with self.timed("score"):
                row, out = rows_of(placed, ends, scored_place)
                out_user_of, out_place_of, segment_B = map(self._on_device, (row, out, segment_U[placed]))
                placed_BL = inputs["item_idxs"][: len(users)][is_placed_B]
                added = added_to(self.model.opinions(placed_BL), self.place_V, self.offer.num_scored)
                tile = Tile(scored_states(self.model, state_BD), out_user_of, out_place_of, segment_B, added)
                score_BN, place_BN = self.ranking.lists_of(tile)
                lists.score_UN[placed], lists.place_UN[placed] = score_BN.cpu().numpy(), place_BN.cpu().numpy()
            if self.model.purchase is not None:
                lists.purchase_UN[placed] = self._purchases(state_BD, lists.place_UN[placed])
            if self.settings.reasons != "none":
                theirs = {name: values_BL[: len(users)][is_placed_B] for name, values_BL in inputs.items()}
                lists.because_UN[placed] = self._reasons(theirs, lists.place_UN[placed])
        with self.timed("fill up"):
            category_U = last_category(pasts, self.offer.category_V)
            why_U = np.where(can_score_U, 0, np.where(people.column("num_events").is_valid().to_numpy(), 1, 2))
            out_of_user = np.searchsorted(out_user, np.arange(len(people) + 1))
            for user in np.flatnonzero((lists.place_UN == NOWHERE).any(axis=1)).tolist():
                out_places = out_place[out_of_user[user] : out_of_user[user + 1]].tolist()
                self._fill_up(lists, user, out_places, int(segment_U[user]), int(category_U[user]), int(why_U[user]))
        return lists

    def _states(self, inputs: Mapping[str, Tensor], is_placed_B: Tensor) -> Tensor:
        state_BD = self.model.last_state(inputs).float()[: len(is_placed_B)][is_placed_B]
        if not torch.isfinite(state_BD).all():
            raise ValueError("the model gives states that are not numbers; train it again (make train)")
        return state_BD

    def _reasons(self, inputs: Mapping[str, Tensor], place_BN: Ints) -> Ints:
        with self.timed("reasons"):
            past = newest_different(inputs["item_idxs"].cpu().numpy(), self.settings.reason_items)
            past_BR, listed_BN = self._on_device(past), self._listed(place_BN)
            if self.settings.reasons == "similar":
                found_BN = most_alike(self.model, past_BR, listed_BN)
            else:
                found_BN = most_missed(self.model, inputs, past_BR, listed_BN)
            because_BN: Ints = found_BN.cpu().numpy()
            return because_BN

    def _purchases(self, state_BD: Tensor, place_BN: Ints) -> npt.NDArray[np.float64]:
        with self.timed("purchases"):
            chance_BN = self.model.purchase_logits(state_BD, self._listed(place_BN)).double().sigmoid().cpu().numpy()
            return np.where(place_BN == NOWHERE, np.nan, chance_BN)

    def _listed(self, place_BN: Ints) -> Tensor:
        """Return the item indices of places, PAD for none."""
        return self._on_device(np.where(place_BN == NOWHERE, PAD, self.offer.item_idxs_I[place_BN]))

    def _fill_up(self, lists: Lists, user: int, left_out: list[int], segment: int, category: int, why: int) -> None:
        taken = [place for place in lists.place_UN[user].tolist() if place != NOWHERE]
        added = self.ladder.fill_up(taken, left_out, segment, category, self.settings.top_n)
        for rank, (place, count, step) in enumerate(added, len(taken)):
            lists.place_UN[user, rank], lists.score_UN[user, rank] = place, count
            lists.source_UN[user, rank] = 1 + 3 * step + why

    def _on_device(self, values: Ints) -> Tensor:
        return torch.from_numpy(values).to(self.device)

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        began = time.process_time()
        yield
        self.cpu_s[part] += time.process_time() - began

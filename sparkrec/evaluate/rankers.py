"""The contestants: each gives the ranks of what is to be found in some cases, by every protocol.

C cases   P things to be found   X items that do not compete   K items that the model scores   N best items
M items drawn   D width   V vocabulary size
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import pyarrow as pa
import torch
from torch import Tensor

from sparkrec.evaluate.cases import Cases, case_opinions, case_states
from sparkrec.evaluate.ranks import SharedScores, Sought, drawn_ranks, full_ranks, ranks_after, scores_at, shared_ranks
from sparkrec.models.best import Finder, coarse_numbers, vectors_of
from sparkrec.models.lately import first_pass, scored_items, scored_states
from sparkrec.models.neighbours import Opinions
from sparkrec.models.sequence_model import SequenceModel
from sparkrec.sequences import Ints
from sparkrec.tables import FIRST_ITEM

NOWHERE = -1


class Ranker(Protocol):
    """Ranks by one way to score items."""

    def ranks(self, tile: pa.RecordBatch, cases: Cases, drawn: Sequence[Tensor | None]) -> list[Tensor]:
        """Return (P,) ranks for each of `drawn`: among the items drawn for each case, (C, M), or among all (None)."""


class InnerProducts:
    """Ranks by a model whose scores are inner products. Of ranks beyond `num_best` among all it says no more.

    That ranking is read from the N best items of a case, found by what recommend finds lists with: where not all of
    them score at least as much as a target, those that do are all there are.
    """

    def __init__(
        self, model: SequenceModel, num_best: int, tile_cases: int, lately: Mapping[str, Ints] | None = None
    ) -> None:
        """In: lately: by split, see `Contest`."""
        self.model, self.num_best = model, num_best
        self.splits = list(lately or ())
        item_K = model.can_score.nonzero().flatten()
        self.place_V = torch.full((len(model.can_score),), NOWHERE).index_put((item_K,), torch.arange(len(item_K)))
        events = [torch.from_numpy(events_V) for events_V in (lately or {}).values()]
        self.exact_KD = _numbers(scored_items(model, item_K, events))
        numbers = coarse_numbers(first_pass(model, "auto"), self.exact_KD.device)
        self.finder = Finder(vectors_of(self.exact_KD), tile_cases, numbers)

    def ranks(self, tile: pa.RecordBatch, cases: Cases, drawn: Sequence[Tensor | None]) -> list[Tensor]:
        sought = cases.sought
        number = self.splits.index(tile.column("split")[0].as_py()) if self.model.lately else 0
        asked_CD = scored_states(self.model, case_states(self.model, tile, cases), number, len(self.splits))
        state_CD = _numbers(asked_CD)
        opinions = case_opinions(self.model, tile, cases)
        score_P = self._scores(state_CD, sought.case_P, sought.item_P)
        if opinions is not None:
            score_P = score_P + opinions.at(sought.case_P, sought.item_P)
        return [
            self._among_all(state_CD, opinions, score_P, sought)
            if drawn_CM is None
            else drawn_ranks(score_P, self._scores_of_drawn(state_CD, opinions, drawn_CM), sought)
            for drawn_CM in drawn
        ]

    def _among_all(self, state_CD: Tensor, opinions: Opinions | None, score_P: Tensor, sought: Sought) -> Tensor:
        place_X = self._places(sought.item_X)
        is_scored_X = place_X != NOWHERE
        out_case, out_place = sought.case_X[is_scored_X], place_X[is_scored_X]
        added = None if opinions is None else (self._places(opinions.item_BM), opinions.score_BM)
        best_CN, _ = self.finder.best(state_CD, out_case, out_place, (), self.num_best, added)
        ahead_P = torch.count_nonzero(best_CN[sought.case_P] >= score_P[:, None], dim=1)
        return ranks_after(ahead_P, score_P, sought)

    def _scores_of_drawn(self, state_CD: Tensor, opinions: Opinions | None, drawn_CM: Tensor) -> Tensor:
        place_CM = self._places(drawn_CM)
        # Case by case, so that the vectors stay in the processor's cache.
        scores = [
            self.exact_KD.index_select(0, place_M.clamp(min=0)).mul_(state_D).sum(dim=1)
            for state_D, place_M in zip(state_CD, place_CM, strict=True)
        ]
        if not scores:
            return drawn_CM.float()
        score_CM = torch.stack(scores)
        if opinions is not None:
            score_CM = score_CM + opinions.of(drawn_CM)
        return torch.where(place_CM == NOWHERE, -torch.inf, score_CM)

    def _scores(self, state_CD: Tensor, case: Tensor, item: Tensor) -> Tensor:
        """Return the scores of pairs, added up as the finder adds them up; -inf for what the model does not know."""
        place = self._places(item)
        score = (state_CD[case] * self.exact_KD[place.clamp(min=0)]).sum(dim=1)
        return torch.where(place == NOWHERE, -torch.inf, score)

    def _places(self, item: Tensor) -> Tensor:
        size = len(self.place_V)
        return torch.where(item < size, self.place_V[item.clamp(max=size - 1)], NOWHERE)


class PairScores:
    """Ranks by a model that scores pairs: each with all items."""

    def __init__(self, model: SequenceModel) -> None:
        self.model = model

    def ranks(self, tile: pa.RecordBatch, cases: Cases, drawn: Sequence[Tensor | None]) -> list[Tensor]:
        score_CV = self.model.all_pair_scores(case_states(self.model, tile, cases))
        score_P = scores_at(score_CV, cases.sought.case_P, cases.sought.item_P)
        case_C1 = torch.arange(len(score_CV))[:, None]
        return [
            full_ranks(score_CV, cases.sought)
            if drawn_CM is None
            else drawn_ranks(score_P, scores_at(score_CV, case_C1, drawn_CM), cases.sought)
            for drawn_CM in drawn
        ]


class Popularity:
    """Ranks by events, which know the whole catalogue, also what is newer than a model."""

    def __init__(self, counts_V: Ints) -> None:
        score_V = torch.from_numpy(counts_V).double()
        score_V[:FIRST_ITEM] = -torch.inf
        self.scores = SharedScores(score_V)

    def ranks(self, tile: pa.RecordBatch, cases: Cases, drawn: Sequence[Tensor | None]) -> list[Tensor]:
        scores, sought = self.scores, cases.sought
        return [
            shared_ranks(scores, sought)
            if drawn_CM is None
            else drawn_ranks(scores.at(sought.item_P), scores.at(drawn_CM), sought)
            for drawn_CM in drawn
        ]


def ranker_of(model: SequenceModel, num_best: int, tile_cases: int, lately: Mapping[str, Ints] | None = None) -> Ranker:
    """Return what ranks by the model. In: lately: by split, see `Contest`."""
    return PairScores(model) if model.scores_pairs else InnerProducts(model, num_best, tile_cases, lately)


def _numbers(values: Tensor) -> Tensor:
    if not torch.isfinite(values).all():
        raise ValueError("the model gives states or item vectors that are not numbers; train it again (make train)")
    return values

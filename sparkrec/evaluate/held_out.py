"""Rank the held-out targets of `windows` by models and by popularity, in Spark; what comes back are sums."""

from collections.abc import Callable, Iterator

import pyarrow as pa
import pyarrow.compute as pc
import torch
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from torch import Tensor

from sparkrec.errors import RefusedError
from sparkrec.evaluate.cases import CASE_COLUMNS, Cases, case_states, cases_of, matrix
from sparkrec.evaluate.contest import Contest
from sparkrec.evaluate.drawn import draw_items
from sparkrec.evaluate.membership import memberships
from sparkrec.evaluate.ranked import Ranked, gains_of_ranks
from sparkrec.evaluate.ranks import SharedScores, Sought, drawn_ranks, full_ranks, scores_at, shared_ranks
from sparkrec.evaluate.sums import SUMS, Sums
from sparkrec.models.store import load_model

OTHER_COLUMNS = ("split", "window_id", "user_num_events", "category_idxs")


def existing(windows: DataFrame, where: str) -> DataFrame:
    """Return a date's windows; refuse a date that has none, for figures over nothing would replace real ones."""
    if windows.isEmpty():
        raise RefusedError(f"{where}: no windows; they are kept for window.keep_days, run 'make window' for that date")
    return windows


def sums_of_held_out(windows: DataFrame, contest: Contest) -> DataFrame:
    """Return rows of SUMS over all held-out windows among one date's rows."""
    inputs = {name for folder in contest.models.values() for name in load_model(folder).inputs}
    columns = dict.fromkeys((*CASE_COLUMNS, *OTHER_COLUMNS, *sorted(inputs)))
    held_out = windows.where(F.col("split") != "train").select(*columns)
    return held_out.mapInArrow(_summer(contest), SUMS)


def _summer(contest: Contest) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def add_up(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        torch.set_num_threads(1)
        found: dict[tuple[str, str], Sums] = {}
        for batch in batches:
            for split in pc.unique(batch.column("split")).to_pylist():
                rows = batch.filter(pc.equal(batch.column("split"), split))
                for start in range(0, len(rows), contest.tile_users):
                    for protocol, ranked in rank_tile(rows.slice(start, contest.tile_users), split, contest):
                        gains = gains_of_ranks(ranked, len(contest.slices.names), contest.pairs, contest.top_k)
                        found.setdefault((split, protocol), contest.sums()).add(*gains)
        for (split, protocol), sums in found.items():
            yield from sums.rows(split, protocol)

    return add_up


@torch.inference_mode()
def rank_tile(tile: pa.RecordBatch, split: str, contest: Contest) -> Iterator[tuple[str, Ranked]]:
    """Return the ranks of the cases of some rows of one split, by every protocol."""
    cases = cases_of(tile, contest.by_steps)
    columns = {
        "num_events_B": tile.column("user_num_events").to_numpy(),
        "category_BL": matrix(tile.column("category_idxs")).numpy(),
    }
    pair_Q, slice_Q = memberships(cases, columns, contest.slices)
    popular = contest.popular[split]
    models = [load_model(folder) for folder in contest.models.values()]
    scores = [model.scores(case_states(model, tile, cases)) for model in models]
    for protocol, num_drawn in contest.protocols.items():
        drawn_CM = _drawn(tile, cases, num_drawn, len(popular.score_V), contest.seed) if num_drawn else None
        ranks = [_ranks(score_CV, cases.sought, drawn_CM) for score_CV in scores]
        ranks.append(_popular_ranks(popular, cases.sought, drawn_CM))
        rank_KP = torch.stack(ranks).numpy()
        yield protocol, Ranked(cases.row_C, cases.sought.case_P.numpy(), rank_KP, pair_Q, slice_Q)


def _drawn(tile: pa.RecordBatch, cases: Cases, num: int, vocabulary_size: int, seed: int) -> Tensor:
    window_id_C = tile.column("window_id").to_numpy()[cases.row_C]
    sought = cases.sought
    return torch.from_numpy(
        draw_items(window_id_C, sought.case_X.numpy(), sought.item_X.numpy(), num, vocabulary_size, seed)
    )


def _ranks(score_CV: Tensor, sought: Sought, drawn_CM: Tensor | None) -> Tensor:
    if drawn_CM is None:
        return full_ranks(score_CV, sought)
    case_C1 = torch.arange(len(score_CV))[:, None]
    score_P = scores_at(score_CV, sought.case_P, sought.item_P)
    return drawn_ranks(score_P, scores_at(score_CV, case_C1, drawn_CM), sought)


def _popular_ranks(popular: SharedScores, sought: Sought, drawn_CM: Tensor | None) -> Tensor:
    """Popularity knows the whole catalogue, also what is newer than a model."""
    if drawn_CM is None:
        return shared_ranks(popular, sought)
    return drawn_ranks(popular.at(sought.item_P), popular.at(drawn_CM), sought)

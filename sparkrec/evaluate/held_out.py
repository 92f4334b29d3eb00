"""Rank the held-out targets of `windows` by models and by popularity, in Spark; what comes back are sums."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from torch import Tensor

from sparkrec.errors import RefusedError
from sparkrec.evaluate.cases import CASE_COLUMNS, Cases, cases_of, matrix
from sparkrec.evaluate.contest import Contest
from sparkrec.evaluate.drawn import draw_items
from sparkrec.evaluate.membership import memberships
from sparkrec.evaluate.ranked import Ranked, gains_of_ranks
from sparkrec.evaluate.rankers import Ranker
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
    read = {name for folder in contest.models.values() for name in load_model(folder).columns}
    columns = dict.fromkeys((*CASE_COLUMNS, *OTHER_COLUMNS, *sorted(read)))
    held_out = windows.where(F.col("split") != "train").select(*columns)
    return held_out.mapInArrow(_summer(contest), SUMS)


def _summer(contest: Contest) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def add_up(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        torch.set_num_threads(1)
        by_model: list[Ranker] = []
        rankers: dict[str, list[Ranker]] = {}
        found: dict[tuple[str, str], Sums] = {}
        for batch in batches:
            for split in pc.unique(batch.column("split")).to_pylist():
                if split not in rankers:
                    by_model = by_model or contest.by_model()
                    rankers[split] = [*by_model, *contest.by_popularity(split)]
                rows = batch.filter(pc.equal(batch.column("split"), split))
                for start in range(0, len(rows), contest.tile_rows):
                    tile = rows.slice(start, contest.tile_rows)
                    for protocol, ranked in rank_tile(tile, rankers[split], contest):
                        gains = gains_of_ranks(ranked, len(contest.slices.names), contest.pairs, contest.top_k)
                        found.setdefault((split, protocol), contest.sums()).add(*gains)
        for (split, protocol), sums in found.items():
            yield from sums.rows(split, protocol)

    return add_up


@torch.inference_mode()
def rank_tile(tile: pa.RecordBatch, rankers: Sequence[Ranker], contest: Contest) -> Iterator[tuple[str, Ranked]]:
    """Return the ranks of the cases of some rows of one split, by every protocol."""
    cases = cases_of(tile, contest.by_steps)
    columns = {
        "num_events_B": tile.column("user_num_events").to_numpy(),
        "category_BL": matrix(tile.column("category_idxs")).numpy(),
    }
    pair_Q, slice_Q = memberships(cases, columns, contest.slices)
    drawn = [_drawn(tile, cases, num, contest) if num else None for num in contest.protocols.values()]
    ranks_by_ranker = [ranker.ranks(tile, cases, drawn) for ranker in rankers]
    for protocol, rank_KP in zip(contest.protocols, map(torch.stack, zip(*ranks_by_ranker, strict=True)), strict=True):
        yield protocol, Ranked(cases.row_C, cases.sought.case_P.numpy(), rank_KP.numpy(), pair_Q, slice_Q)


def _drawn(tile: pa.RecordBatch, cases: Cases, num: int, contest: Contest) -> Tensor:
    window_id_C = tile.column("window_id").to_numpy()[cases.row_C]
    # Steps are counted from the last one, as positions are: windows of another length draw the same for them.
    step_C = np.zeros_like(window_id_C) if cases.position_C is None else contest.cases_per_row - 1 - cases.position_C
    seed_C = [(contest.seed, *numbers) for numbers in zip(window_id_C.tolist(), step_C.tolist(), strict=True)]
    return torch.from_numpy(draw_items(seed_C, cases.own_keys, num, contest.vocabulary_size))

"""A small model, an offer and people to score, all literal."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import polars as pl
import pyarrow as pa
import torch

from sparkrec.config.settings import RecommendSettings
from sparkrec.models.registry import build_model
from sparkrec.models.sequence_model import SequenceModel
from sparkrec.models.shape import ModelShape
from sparkrec.recommend.left_out import cutoffs
from sparkrec.recommend.lists import scored_rows
from sparkrec.recommend.offer import Offer, make_offer
from sparkrec.recommend.rules import effects_of
from sparkrec.recommend.score import Scorer
from sparkrec.tables import RULES
from tests.pasts import histories
from tests.running import day

VOCABULARY = 40
KNOWN = 35
"""Items 2 to 34 are known to the model."""
TOP_N = 5
DATE = day("1970-01-01")
"""Pasts begin at the beginning of time."""
LATELY_V = np.arange(VOCABULARY) * 5 % 7
"""Events of the last days, for models that count them."""
RULE_TYPES = {"string": pl.String, "int": pl.Int32, "date": pl.Date}
Row = dict[str, object]


def small_model(seed: int = 7, length: int = 6) -> SequenceModel:
    torch.manual_seed(seed)
    built = build_model("sasrec", ModelShape(VOCABULARY, length, 16, 1, 2, 0.0)).eval()
    built.is_known_V[2:KNOWN] = True
    with torch.no_grad():
        built.item_matrix()[2:] *= 20
    return built


def model_of_two_opinions() -> SequenceModel:
    """Every item has three neighbours, some of them not known to the model."""
    built = build_model("sasrec", replace(small_model().shape, num_neighbours=3)).eval()
    built.load_state_dict(small_model().state_dict(), strict=False)
    assert built.neighbours is not None
    items = torch.arange(2, VOCABULARY)
    for place, step in enumerate((1, 7, 11)):
        built.neighbours.next_VK[2:, place] = (2 + (items - 2 + step) % (VOCABULARY - 2)).int()
        built.neighbours.weight_VK[2:, place] = 1.0 + (items * step) % 5
    built.neighbours.counts.fill_(6.0)
    return built


def model_that_counts_what_is_popular_lately() -> SequenceModel:
    built = model_of_two_opinions()
    built.lately.fill_(1.5)
    return built


def ensemble_that_counts_it_too() -> SequenceModel:
    alone = model_of_two_opinions()
    assert alone.neighbours is not None
    built = build_model("sasrec", replace(alone.shape, num_members=2)).eval()
    for place, member in enumerate(built.parts):
        member.load_state_dict(small_model(7 + place).state_dict())
    assert built.neighbours is not None
    built.neighbours.load_state_dict(alone.neighbours.state_dict())
    built.is_known_V[:] = alone.is_known_V
    built.lately.fill_(1.5)
    return built


MODELS = (small_model, model_of_two_opinions, model_that_counts_what_is_popular_lately)
"""What makes models that lists of every kind are made with."""
AND_ENSEMBLES = (*MODELS, ensemble_that_counts_it_too)


def rules(*rows: Mapping[str, object]) -> pl.DataFrame:
    """Rules as they are read from the table: what a row leaves out is null."""
    kinds = {field.name: RULE_TYPES[field.dataType.simpleString()] for field in RULES.schema}
    return pl.DataFrame([{name: row.get(name) for name in kinds} for row in rows], schema=kinds)


def catalogue(unavailable: Sequence[int] = (), vocabulary: int = VOCABULARY) -> pl.DataFrame:
    """Items i2, i3, …; their category is c0, c1, c2 in turn."""
    indices = list(range(2, vocabulary))
    return pl.DataFrame(
        {
            "item_idx": indices,
            "item_id": [f"i{n}" for n in indices],
            "category": [f"c{n % 3}" for n in indices],
            "available": [n not in unavailable for n in indices],
        }
    )


def offer_for(
    model: SequenceModel,
    unavailable: Sequence[int] = (),
    night_rules: pl.DataFrame | None = None,
    recent: Sequence[int] = (),
) -> Offer:
    """All items but the unavailable ones; the higher the index, the more popular of all time. `recent` occurred lately,
    the first most often."""
    items = catalogue(unavailable)
    recent_V = np.zeros(VOCABULARY, dtype=np.int64)
    recent_V[list(recent)] = np.arange(len(recent), 0, -1)
    all_time_V = np.arange(VOCABULARY)
    effects = effects_of(rules() if night_rules is None else night_rules, items)
    category_V = np.array([-1, -1, *(n % 3 for n in range(2, VOCABULARY))])
    return make_offer(model, items, effects, category_V, recent_V, all_time_V, LATELY_V)


def people(
    *pasts: Sequence[int],
    segments: Sequence[str | None] | None = None,
    never_seen: int = 0,
    num_events: Sequence[int] | None = None,
    **more: object,
) -> pa.Table:
    """A row per past, see `histories`, then users that were never seen."""
    full = [*pasts, *([] for _ in range(never_seen))]
    batch = histories(*full, **more)  # type: ignore[arg-type]
    counted = [*(num_events or map(len, pasts)), *(None for _ in range(never_seen))]
    return (
        pa.Table.from_batches([batch])
        .append_column("num_events", pa.array(counted, pa.int64()))
        .append_column("segment", pa.array(segments or [None] * len(full), pa.string()))
        .append_column("made_from", pa.array(range(len(full)), pa.int64()))
    )


def scorer_for(model: SequenceModel, offer: Offer, **settings: object) -> Scorer:
    full = RecommendSettings.model_validate({"top_n": TOP_N, "tile_users": 4, **settings})
    return Scorer(model, offer, full, cutoffs(full.leave_out, DATE))


def lists(who: pa.Table, model: SequenceModel, offer: Offer, **settings: object) -> dict[str, list[Row]]:
    """Return the rows of `recommendations` by user."""
    scorer = scorer_for(model, offer, **settings)
    found: dict[str, list[Row]] = {name: [] for name in who.column("user_id").to_pylist()}
    for row in scored_rows(who, scorer.score(who), offer, "v").to_pylist():
        found[row["user_id"]].append(row)
    return found


def items_of(rows: list[Row]) -> list[int]:
    return [int(str(row["item_id"])[1:]) for row in rows]


def brute_force(past: Sequence[int], model: SequenceModel, out: Sequence[int] = ()) -> list[tuple[int, float]]:
    """Return all items the model may offer with their scores, best first, ties by index."""
    kept = list(past)[-model.shape.length :]
    padding = [0] * (model.shape.length - len(kept))
    item_BL = torch.tensor([padding + [item if item < KNOWN else 1 for item in kept]])
    kind_BL = torch.tensor([padding + [4 if item == 1 else 1 for item in kept]])
    with torch.inference_mode():
        state_D = model.states({"item_idxs": item_BL, "event_types": kind_BL})[0, -1]
        score_V = model.item_matrix() @ state_D
        opinions = model.opinions(item_BL)
        if opinions is not None:
            score_V = score_V + opinions.of(torch.arange(len(score_V))[None])[0]
        score_V = score_V + model.lately * torch.from_numpy(LATELY_V).float().log1p()
        scores = score_V.tolist()
    offered = [item for item in range(2, KNOWN) if item not in out]
    return [(item, scores[item]) for item in sorted(offered, key=lambda item: (-scores[item], item))]

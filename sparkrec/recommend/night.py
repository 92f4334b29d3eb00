"""All that decides tonight's lists but for users' own pasts: offer, plan, and their hashes."""

import hashlib
import json
import shutil
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import torch
from pyspark.sql import DataFrame, Row

from sparkrec.config.load import settings_hash
from sparkrec.config.settings import RecommendSettings, Settings
from sparkrec.lake import Lake
from sparkrec.models.store import load_model
from sparkrec.popularity import categories_by_index, count_by_index
from sparkrec.prepare.as_of import Known
from sparkrec.recommend.choose import check_vocabulary
from sparkrec.recommend.groups import GroupPlan
from sparkrec.recommend.left_out import cutoffs
from sparkrec.recommend.offer import Offer, make_offer, write_offer
from sparkrec.recommend.rules import REFUSALS, Effects, effects_of
from sparkrec.tables import RECOMMENDATIONS
from sparkrec.window.held_out import LATELY_DAYS

SCORED = "_scored"
"""Folder of lists that are not published yet, by date. It outlives a killed or refused run."""


def offer_of(
    items: DataFrame,
    lineage: str,
    known: Known,
    rules: pl.DataFrame,
    model: Row,
    run_date: date,
    settings: RecommendSettings,
) -> tuple[Offer, dict[tuple[str, str], int], dict[str, int]]:
    """Return the offer, how many items every reason of every segment refuses, and how many every rule speaks of.

    In   lineage: that of `items`; a model of another one is refused.
    """
    all_time = count_by_index(items, known.item_days, run_date)
    check_vocabulary(model, lineage, len(all_time))
    recent = count_by_index(items, known.item_days, run_date, settings.popular_days)
    rows = items.select("item_idx", "item_id", "category", "available").toArrow()
    listed = pl.DataFrame(pl.from_arrow(rows)).sort("item_idx")
    effects = effects_of(rules, listed)
    categories = categories_by_index(items, len(all_time))
    scorer, lately = load_model(model["path"]), np.zeros_like(all_time)
    if scorer.lately:
        lately = count_by_index(items, known.item_days, run_date, LATELY_DAYS)
    offer = make_offer(scorer, listed, effects, categories, recent, all_time, lately)
    return offer, refusals_of(effects), effects.items_by_rule


def refusals_of(effects: Effects) -> dict[tuple[str, str], int]:
    """Return how many items every (reason, segment) keeps from the segment's lists."""
    counted = {
        (reason, segment): int((effects.refusal_SI[row] == code).sum())
        for row, segment in enumerate(effects.segments)
        for code, reason in enumerate(REFUSALS, 1)
    }
    return {key: num for key, num in counted.items() if num}


def plan_night(
    lake: Lake, offer: Offer, model: Row, run_date: date, settings: Settings, code: str
) -> tuple[GroupPlan, str]:
    """Write the offer where workers read it; return the plan, and the hash that a user's list follows from."""
    folder = Path(lake.root) / SCORED / str(run_date)
    oldest = run_date - timedelta(days=settings.recommend.keep_days)
    for given_up in (other for other in folder.parent.glob("*") if other.name <= str(oldest)):
        shutil.rmtree(given_up, ignore_errors=True)
    for other in folder.glob("offer-*"):
        shutil.rmtree(other, ignore_errors=True)
    lists = _hash(model["model_version"], code, settings_hash(settings, ("recommend",)), _offer_hash(offer, settings))
    night = _hash(lists, offer.item_idxs_I, offer.recent_I, offer.all_time_I, offer.category_V)
    write_offer(folder / f"offer-{night}", offer)
    plan = GroupPlan(
        night=night,
        model_folder=model["path"],
        offer_folder=str(folder / f"offer-{night}"),
        staging=folder / RECOMMENDATIONS.name,
        run_date=run_date,
        model_version=model["model_version"],
        cuts=cutoffs(settings.recommend.leave_out, run_date),
        settings=settings.recommend,
    )
    return plan, lists


def drop_staged(lake: Lake, run_date: date) -> None:
    """Forget the lists of a date: they are published."""
    shutil.rmtree(Path(lake.root) / SCORED / str(run_date), ignore_errors=True)


def _offer_hash(offer: Offer, settings: Settings) -> str:
    """Return a hash of what decides which items the model's lists may hold; items it does not score change nothing."""
    num = offer.num_scored
    by_category = offer.has_caps or settings.recommend.diversity > 0
    return _hash(
        json.dumps(offer.segments),
        offer.item_idxs_I[:num],
        offer.refusal_SI[:, :num],
        offer.cap_SI[:, :num],
        offer.categories_I[:num] if by_category else np.zeros(0),
        offer.lately_I[:num],
    )


def _hash(*parts: object) -> str:
    digest = hashlib.sha256()
    for part in parts:
        values = part.numpy() if isinstance(part, torch.Tensor) else part
        told = values.tobytes() if isinstance(values, np.ndarray) else str(values).encode()
        digest.update(len(told).to_bytes(8, "big") + told)
    return digest.hexdigest()[:24]

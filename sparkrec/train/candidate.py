"""From a date's windows to the plan of its training, and from the trained model to its row in `models`."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path

import numpy as np
import torch
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from sparkrec.config import Settings
from sparkrec.config.load import chosen_settings, settings_hash
from sparkrec.config.train_settings import SINGLE, TrainSettings
from sparkrec.models.published import evaluated
from sparkrec.models.registry import LEARNT
from sparkrec.models.second_opinion import SecondOpinion
from sparkrec.models.shape import ModelShape
from sparkrec.models.store import LAYOUT, REFIT, Card, read_card
from sparkrec.sequences import Ints
from sparkrec.tables import MODELS
from sparkrec.train.attributes import Attributes
from sparkrec.train.checkpoint import check_fits
from sparkrec.train.neighbours import NeighbourLists
from sparkrec.train.plan import TrainingSet, TrainPlan, Vocabulary, name_version
from sparkrec.train.schedule import members_for
from sparkrec.train.warm_start import check_start
from sparkrec.window.held_out import held_out_words
from sparkrec.window.laws import known_mask


def plan_training(
    training_set: TrainingSet,
    vocabulary: Vocabulary,
    lineage: str,
    run_date: date,
    settings: Settings,
    model_root: Path,
    code: str,
    champion: Path | None,
) -> TrainPlan:
    """Fix everything that a training run depends on.

    In   champion: folder of the model of the newest published night before, if any.
    """
    train = settings.train
    # A refit has seen what is held out now; the training before it has not.
    learns = train.model in LEARNT
    start_from = evaluated(champion) if champion and learns and train.start == "champion" else None
    start = start_from.name if start_from else "random weights"
    version = name_version(
        run_date,
        train.model,
        settings_hash(settings),
        code,
        training_set.fingerprint,
        str(settings.run.seed),
        start,
        str(len(vocabulary.counts)),
        vocabulary.attributes_hash,
    )
    num_members = num_members_of(train, training_set.train.num_targets, start_from)
    shape = shape_of(train, settings.window.length, vocabulary, num_members)
    card = Card(version, train.model, shape, lineage, held_out_words(settings.window))
    if start_from:
        check_start(start_from, card)
    depends_on = {
        **named_settings(settings),
        "train.members": num_members,
        "layout": LAYOUT,
        "vocabulary lineage": lineage,
        "vocabulary size": len(vocabulary.counts),
        "attributes": vocabulary.attributes_hash,
        "windows": training_set.fingerprint,
        "starts from": start,
    }
    if train.resume_from:
        check_fits(Path(train.resume_from), depends_on)
    return TrainPlan(
        training_set=training_set,
        settings=train,
        num_negatives=settings.window.num_negatives,
        popularity_power=settings.window.popularity_power,
        shape=shape,
        card=card,
        folder=model_root / version,
        attempt=model_root / f"{version}.attempt",
        seed=settings.run.seed,
        depends_on=depends_on,
        start_from=start_from,
        by_steps=settings.window.held_out == "sessions",
    )


def named_settings(settings: Settings) -> dict[str, object]:
    """Return what decides how a training ends, by `section.name`."""
    decides = chosen_settings(settings, ("run", "window", "train"))
    return {f"{section}.{name}": value for section, values in decides.items() for name, value in values.items()}


def num_members_of(settings: TrainSettings, num_targets: int, start_from: Path | None) -> int:
    """Return how many models learn side by side: as many as are asked for, or as there are to go on from, or as the
    number of targets wants."""
    if settings.model in SINGLE:
        return 1
    if settings.members:
        return settings.members
    return read_card(start_from).shape.num_members if start_from else members_for(num_targets)


def shape_of(settings: TrainSettings, length: int, vocabulary: Vocabulary, num_members: int) -> ModelShape:
    """Return the shape of a model for windows of a length and a vocabulary."""
    return ModelShape(
        vocabulary_size=len(vocabulary.counts),
        length=length,
        width=settings.width,
        num_blocks=settings.num_blocks,
        num_heads=settings.num_heads,
        dropout=settings.dropout,
        temperature=settings.temperature,
        side_inputs=tuple(settings.side_inputs),
        num_users=settings.num_users,
        num_neighbours=vocabulary.next_items.shape[1],
        num_attributes=len(vocabulary.attribute_keys) - 1,
        max_attributes=vocabulary.attributes.shape[1],
        heads=tuple(settings.heads),
        num_members=num_members,
    )


def refit_of(plan: TrainPlan, epochs: int, second_opinion: SecondOpinion) -> TrainPlan:
    """Return the plan of the same training on all windows, held-out ones included, for a number of epochs."""
    version = plan.card.model_version + REFIT
    return replace(
        plan,
        settings=plan.settings.model_copy(update={"resume_from": None}),
        card=replace(plan.card, model_version=version, held_out=""),
        folder=plan.folder.with_name(version),
        attempt=plan.folder.with_name(f"{version}.attempt"),
        depends_on={**plan.depends_on, "refit epochs": epochs},
        fixed_epochs=epochs,
        second_opinion=second_opinion,
    )


def vocabulary_of(
    counts: Ints,
    categories: Ints,
    attributes: Attributes,
    neighbours: NeighbourLists,
    lately: Mapping[str, Ints],
    min_item_events: int,
) -> Vocabulary:
    """Return what training knows of every item.

    In   counts, categories: events and category by item index, (V,). lately: see `lately_by_split`.
    """
    known = known_mask(counts, min_item_events)
    events_lately = lately.get("validation", np.zeros(0, dtype=np.int64))
    about_items = (attributes.numbers_VA, attributes.keys, neighbours.next_VK, neighbours.weight_VK, events_lately)
    vectors = (counts, known, categories, *about_items)
    return Vocabulary(*(torch.from_numpy(values) for values in vectors))


def model_row(
    spark: SparkSession,
    plan: TrainPlan,
    run_date: date,
    settings: Settings,
    tables_read: Mapping[str, int],
    metrics: Mapping[str, float],
    trained_at: datetime,
) -> DataFrame:
    """Return the candidate's row."""
    row = {
        "model_version": plan.card.model_version,
        "run_date": run_date,
        "model": plan.card.architecture,
        "path": str(plan.folder),
        "vocabulary_lineage": plan.card.vocabulary_lineage,
        "vocabulary_size": plan.shape.vocabulary_size,
        "settings_hash": settings_hash(settings),
        "tables_read": dict(tables_read),
        "metrics": dict(metrics),
        "status": "candidate",
        "trained_at": trained_at,
    }
    return spark.createDataFrame([tuple(row[name] for name in MODELS.schema.names)], MODELS.schema).coalesce(1)


def with_candidate(models: DataFrame, candidate: DataFrame, version: str, run_date: date) -> DataFrame:
    """Return `models` with this version as the one candidate of its date.

    A version that is there already keeps its row, for it is the same model; a champion stays champion.
    """
    is_it = F.col("model_version") == version
    was_candidate = (F.col("run_date") == F.lit(run_date)) & (F.col("status") == "candidate")
    status = (
        F.when(is_it & (F.col("status") != "champion"), "candidate")
        .when(~is_it & was_candidate, "retired")
        .otherwise(F.col("status"))
    )
    known = models.withColumn("status", status)
    new = candidate.join(models.select("model_version"), "model_version", how="left_anti").select(models.columns)
    return known.unionByName(new).coalesce(1)

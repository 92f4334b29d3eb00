"""Untrained models, on literal histories beside most-popular, and in a lake as train would leave one."""

import hashlib
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from pyspark.sql import SparkSession

from sparkrec.config.settings import WindowSettings
from sparkrec.evaluate.contest import Contest
from sparkrec.evaluate.slices import without_categories
from sparkrec.job import now
from sparkrec.lake import Lake
from sparkrec.models.registry import build_model
from sparkrec.models.second_opinion import SecondOpinion
from sparkrec.models.sequence_model import SequenceModel
from sparkrec.models.shape import ModelShape
from sparkrec.models.store import Card, save_model
from sparkrec.tables import ITEMS, MODELS
from sparkrec.window.held_out import held_out_words
from tests.running import table

VOCABULARY = 30


def untrained(
    folder: Path, length: int, vocabulary: int = VOCABULARY, known: int | None = None, seed: int = 3,
    architecture: str = "sasrec",
) -> str:  # fmt: skip
    """Save a model that knows items 2 to `known`; return its folder."""
    torch.manual_seed(seed)
    model: SequenceModel = build_model(architecture, ModelShape(vocabulary, length, 8, 1, 2, 0.0, num_users=50))
    model.is_known_V[2:known] = True
    save_model(folder, model, Card("v", architecture, model.shape, "line"))
    return str(folder)


def contest(models: dict[str, str], cases_per_row: int = 1, drawn: int = 0, tile_users: int = 8) -> Contest:
    counts = np.arange(VOCABULARY)[::-1].copy()
    counts[:2] = 0
    return Contest(
        models=models,
        popularity={"popular": {"test": counts, "validation": counts + 1}},
        lately={},
        slices=without_categories(counts),
        protocols={"leave_one_out_full": 0} | ({f"leave_one_out_sampled_{drawn}": drawn} if drawn else {}),
        cases_per_row=cases_per_row,
        top_k=[1, 5],
        tile_users=tile_users,
        seed=7,
    )


def of_split(windows: pa.RecordBatch, split: str) -> pa.RecordBatch:
    return windows.filter(pc.equal(windows.column("split"), split))


def add_model(
    spark: SparkSession,
    root: Path,
    day: int,
    version: str,
    status: str = "candidate",
    held_out: str = "",
    heads: tuple[str, ...] = (),
    opinion: SecondOpinion | None = None,
    **more: Any,
) -> None:
    """Add a model with random weights, as train would leave one."""
    lake = Lake(spark, str(root))
    size = int(table(root, "items")["item_idx"].max()) + 1  # type: ignore[arg-type]
    torch.manual_seed(int(hashlib.sha256(version.encode()).hexdigest()[:6], 16))
    shape = ModelShape(size, 12, 16, 1, 2, 0.0, heads=heads)
    model = build_model("sasrec", shape)
    model.is_known_V[2:] = True
    model.take(opinion or SecondOpinion())
    folder = lake.model_root() / version
    told = held_out or held_out_words(WindowSettings())
    save_model(folder, model, Card(version, "sasrec", shape, lake.lineage(ITEMS), told))
    row = {
        "model_version": version, "run_date": date(2024, 3, day), "model": "sasrec", "path": str(folder),
        "vocabulary_lineage": lake.lineage(ITEMS), "vocabulary_size": size, "settings_hash": "", "tables_read": {},
        "metrics": {}, "status": status, "trained_at": now(),
    }  # fmt: skip
    lake.append(MODELS, [{**row, **more}])

"""A small contest: an untrained model and most-popular on literal histories."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from sparkrec.evaluate.contest import Contest
from sparkrec.evaluate.slices import NONE, Slices, popularity_classes
from sparkrec.models.registry import build_model
from sparkrec.models.sequence_model import ModelShape, SequenceModel
from sparkrec.models.store import Card, save_model

VOCABULARY = 30


def untrained(folder: Path, length: int, vocabulary: int = VOCABULARY, known: int | None = None, seed: int = 3) -> str:
    """Save a model that knows items 2 to `known`; return its folder."""
    torch.manual_seed(seed)
    model: SequenceModel = build_model("sasrec", ModelShape(vocabulary, length, 8, 1, 2, 0.0))
    model.is_known_V[2:known] = True
    save_model(folder, model, Card("v", "sasrec", model.shape, "line"))
    return str(folder)


def contest(models: dict[str, str], by_steps: bool = False, drawn: int = 0, tile_users: int = 8) -> Contest:
    counts = np.arange(VOCABULARY)[::-1].copy()
    counts[:2] = 0
    return Contest(
        models=models,
        popularity={"test": counts, "validation": counts + 1},
        slices=Slices(popularity_classes(counts), np.full(VOCABULARY, NONE)),
        protocols={"leave_one_out_full": 0} | ({f"leave_one_out_sampled_{drawn}": drawn} if drawn else {}),
        by_steps=by_steps,
        top_k=[1, 5],
        tile_users=tile_users,
        seed=7,
    )


def of_split(windows: pa.RecordBatch, split: str) -> pa.RecordBatch:
    return windows.filter(pc.equal(windows.column("split"), split))

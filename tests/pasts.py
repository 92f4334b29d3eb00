"""Literal histories as Arrow batches, and plain counterparts of what the fast code does."""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from sparkrec.window.cut import Catalogue, catalogue_of

LENGTH = 4


def histories(
    *pasts: Sequence[int],
    purchased: Sequence[Sequence[int]] | None = None,
    kinds: Sequence[Sequence[int]] | None = None,
    minutes: Sequence[Sequence[int]] | None = None,
    price: float | None = 2.0,
) -> pa.RecordBatch:
    """A row per user u0, u1, …, who looked at these items a minute apart; item 1 is a search."""
    kinds = kinds or [[4 if item == 1 else 1 for item in past] for past in pasts]
    minutes = minutes or [range(len(past)) for past in pasts]
    lengths = [len(past) for past in pasts]
    bought = purchased or [[] for _ in pasts]
    return pa.RecordBatch.from_pydict(
        {
            "user_id": [f"u{n}" for n in range(len(pasts))],
            "user_hash": pa.array([1000 + n for n in range(len(pasts))], pa.int64()),
            "item_idxs": pa.array([list(past) for past in pasts], pa.list_(pa.int32())),
            "event_types": pa.array([list(codes) for codes in kinds], pa.list_(pa.int8())),
            "event_tss": pa.array([[60_000_000 * n for n in times] for times in minutes], pa.list_(pa.int64())),
            "session_nos": pa.array([[1 + n // 3 for n in range(k)] for k in lengths], pa.list_(pa.int32())),
            "prices": pa.array([[price] * k for k in lengths], pa.list_(pa.float32())),
            "purchased": pa.array([list(items) for items in bought], pa.list_(pa.int32())),
        }
    )


def known(vocabulary_size: int, *unknown: int) -> np.ndarray:
    mask = np.ones(vocabulary_size, dtype=bool)
    mask[[0, 1, *unknown]] = False
    return mask


def catalogue(
    vocabulary_size: int,
    *unknown: int,
    shares: Mapping[str, float] | None = None,
    categories: Sequence[int] | None = None,
    power: float = 0.0,
) -> Catalogue:
    """Items 2 to V - 1, five events each, or one for those that are too rare to be known."""
    counts = np.full(vocabulary_size, 5)
    counts[list(unknown)] = 1
    counts[:2] = 0
    groups = np.array(categories if categories is not None else [-1] * vocabulary_size)
    return catalogue_of(counts, groups, 2, power, shares or {"uniform": 1.0})

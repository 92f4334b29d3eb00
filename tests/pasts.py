"""Literal histories as Arrow batches, and plain counterparts of what the fast code does."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

LENGTH = 4


def histories(*pasts: Sequence[int], purchased: Sequence[Sequence[int]] | None = None) -> pa.RecordBatch:
    """A row per user u0, u1, …, who looked at these items a minute apart; item 1 is a search."""
    lengths = [len(past) for past in pasts]
    bought = purchased or [[] for _ in pasts]
    return pa.RecordBatch.from_pydict(
        {
            "user_id": [f"u{n}" for n in range(len(pasts))],
            "user_hash": pa.array([1000 + n for n in range(len(pasts))], pa.int64()),
            "item_idxs": pa.array([list(past) for past in pasts], pa.list_(pa.int32())),
            "event_types": pa.array([[4 if item == 1 else 1 for item in past] for past in pasts], pa.list_(pa.int8())),
            "event_tss": pa.array([[60_000_000 * n for n in range(k)] for k in lengths], pa.list_(pa.int64())),
            "session_nos": pa.array([[1 + n // 3 for n in range(k)] for k in lengths], pa.list_(pa.int32())),
            "prices": pa.array([[2.0] * k for k in lengths], pa.list_(pa.float32())),
            "purchased": pa.array([list(items) for items in bought], pa.list_(pa.int32())),
        }
    )


def known(vocabulary_size: int, *unknown: int) -> np.ndarray:
    mask = np.ones(vocabulary_size, dtype=bool)
    mask[[0, 1, *unknown]] = False
    return mask

"""A lake to recommend from, of any size and without Spark or training; the same users and items as arrays for peers.

U users   I items   E events of some users, one user after the other   D width
"""

import shutil
from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch

from sparkrec.contract import Table
from sparkrec.lake import Lake
from sparkrec.models.registry import build_model
from sparkrec.models.shape import ModelShape
from sparkrec.models.store import Card, save_model
from sparkrec.prepare.histories import ROW_GROUP_USERS
from sparkrec.prepare.staged import file_report, new_files, write_part
from sparkrec.tables import EVENT_CODES, FIRST_ITEM, HISTORIES, ITEM_DAYS, ITEMS, MODELS, RUNS

BUCKETS, CATEGORIES = 4, 100
SHORTEST = 20
"""Events of the user with the fewest; the one with the most has `length`."""
SKEW = 0.8
"""The item of popularity rank r is drawn about r ** -SKEW times as often as the first."""
KINDS = {"view": 0.8, "cart": 0.12, "purchase": 0.08}
ITEM_STD, NORM_SPREAD = 0.3, 2.0
"""Spread of the items' numbers, and the largest norm over the smallest, chance in the directions left out."""
SILENCE_S, SECOND_US, DAY_S = 1800, 1_000_000, 86_400
POPULARITY, PASTS, STORIES, VECTORS, STATES, PRICES = range(6)
"""What random numbers are for: each has a generator of its own."""

Ints = npt.NDArray[Any]


class Chunk(NamedTuple):
    """Users from `first` up to `end`, which one row group holds."""

    bucket: int
    first: int
    end: int


class Pasts(NamedTuple):
    """The items of some users in the order of their events: those of user u lie from start_U[u] to start_U[u + 1]."""

    start_U: Ints
    item_E: Ints
    """From 0; item_idx is FIRST_ITEM more."""


def make_lake(
    folder: Path, num_users: int, num_items: int, day: str, width: int = 64, length: int = 50, seed: int = 7
) -> None:
    """Write, in place of what is there, the tables and the untrained model that `jobs/recommend.py --date DAY` reads.

    Users are "u0", "u1", …, items "i0", "i1", …, with item_idx from 2. The newest event of every user is of the day.
    """
    shutil.rmtree(folder, ignore_errors=True)
    lake, run_date = Lake(None, str(folder)), date.fromisoformat(day)  # it writes files without a session
    price_I = np.exp(_random(seed, PRICES).normal(3, 1, num_items)).astype(np.float32)
    counts_I = _write_histories(lake, num_users, price_I, run_date, length, seed)
    _write_items(lake, counts_I, price_I, run_date)
    _write_model(lake, item_vectors(num_items, width, seed), run_date, length, seed)
    lake.append(RUNS, [_run(lake, run_date, num_users)])
    shutil.rmtree(lake.staging_root())


def factors(folder: Path, num_users: int, num_items: int, width: int = 64, length: int = 50, seed: int = 7) -> None:
    """Write what peers read, as .npy files: user_factors (U, D), item_factors (I, D), indptr (U + 1), indices.

    Item factors are the item vectors of the model in `make_lake`, and the CSR of indptr and indices holds the different
    items that its users have seen. User factors are not the model's states, but have their mean and variance.
    """
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "user_factors.npy", _random(seed, STATES).standard_normal((num_users, width), dtype=np.float32))
    np.save(folder / "item_factors.npy", item_vectors(num_items, width, seed))
    order_I = _order(num_items, seed)
    sizes, indices = [np.zeros(1, dtype=np.int64)], []
    for chunk in _chunks(num_users):
        start_U, item_E = _pasts(chunk, order_I, length, seed)
        seen = np.unique(_owner(start_U) * num_items + item_E)
        sizes.append(np.bincount(seen // num_items, minlength=chunk.end - chunk.first))
        indices.append((seen % num_items).astype(np.int32))
    np.save(folder / "indptr.npy", np.cumsum(np.concatenate(sizes)))
    np.save(folder / "indices.npy", np.concatenate(indices))


def item_vectors(num_items: int, width: int, seed: int) -> npt.NDArray[np.float32]:
    """Return (I, D): normal numbers, in directions without any order, with norms of different size."""
    random = _random(seed, VECTORS)
    scale_I1 = ITEM_STD * NORM_SPREAD ** random.uniform(-0.5, 0.5, (num_items, 1))
    vector_ID = random.standard_normal((num_items, width), dtype=np.float32)
    vector_ID *= scale_I1.astype(np.float32)
    return vector_ID


def _chunks(num_users: int) -> Iterator[Chunk]:
    edges = [num_users * bucket // BUCKETS for bucket in range(BUCKETS + 1)]
    for bucket in range(BUCKETS):
        for first in range(edges[bucket], edges[bucket + 1], ROW_GROUP_USERS):
            yield Chunk(bucket, first, min(first + ROW_GROUP_USERS, edges[bucket + 1]))


def _pasts(chunk: Chunk, order_I: Ints, length: int, seed: int) -> Pasts:
    """Return the same items for the same chunk and seed each time."""
    random = _random(seed, PASTS, chunk.first)
    sizes_U = random.integers(min(SHORTEST, length), length + 1, chunk.end - chunk.first)
    start_U = np.concatenate([[0], np.cumsum(sizes_U)])
    # The inverse of the integral of x ** -SKEW, from 1 to I + 1.
    power = 1 - SKEW
    rank_E = (1 + random.random(start_U[-1]) * ((len(order_I) + 1) ** power - 1)) ** (1 / power)
    return Pasts(start_U, order_I[np.minimum(rank_E.astype(np.int64) - 1, len(order_I) - 1)])


def _order(num_items: int, seed: int) -> Ints:
    """Return the items by popularity: which are popular says nothing about their index."""
    return _random(seed, POPULARITY).permutation(num_items)


def _owner(start_U: Ints) -> Ints:
    return np.repeat(np.arange(len(start_U) - 1), np.diff(start_U))


def _random(seed: int, *purpose: int) -> np.random.Generator:
    return np.random.default_rng([seed, *purpose])


def _write_histories(lake: Lake, num_users: int, price_I: Ints, run_date: date, length: int, seed: int) -> Ints:
    """Write a file per bucket, a row group per chunk; return how many events every item has."""
    order_I, counts_I = _order(len(price_I), seed), np.zeros(len(price_I), dtype=np.int64)
    staging = lake.staging(HISTORIES)
    writers: dict[int, pq.ParquetWriter] = {}
    files = [f"user_bucket={bucket}/{run_date}.parquet" for bucket in range(BUCKETS)]
    sizes = [0] * BUCKETS
    for chunk in _chunks(num_users):
        pasts = _pasts(chunk, order_I, length, seed)
        counts_I += np.bincount(pasts.item_E, minlength=len(price_I))
        rows = _histories(chunk, pasts, price_I, run_date, _random(seed, STORIES, chunk.first))
        if chunk.bucket not in writers:
            path = staging / files[chunk.bucket]
            path.parent.mkdir(parents=True)
            writers[chunk.bucket] = pq.ParquetWriter(path, rows.schema, compression="zstd", compression_level=1)
        writers[chunk.bucket].write_table(rows)
        sizes[chunk.bucket] += len(rows)
    for writer in writers.values():
        writer.close()
    told = [file_report(staging, files[bucket], {"user_bucket": str(bucket)}, sizes[bucket]) for bucket in writers]
    lake.commit(HISTORIES, new_files(told, HISTORIES))
    return counts_I


def _histories(chunk: Chunk, pasts: Pasts, price_I: Ints, run_date: date, random: np.random.Generator) -> pa.Table:
    """Return the chunk's rows of `histories`: sessions of views with some purchases, the newest event on the day."""
    start_U, item_E = pasts
    owner_E, first_U, last_U = _owner(start_U), start_U[:-1], start_U[1:] - 1
    num_users, num_events = len(first_U), len(item_E)
    kind_E = random.choice([EVENT_CODES[kind] for kind in KINDS], num_events, p=list(KINDS.values())).astype(np.int8)
    is_soon_E = random.random(num_events) < 0.7
    gap_E = np.where(
        is_soon_E,
        random.integers(1, SILENCE_S // 3, num_events),
        random.integers(2 * SILENCE_S, 3 * DAY_S, num_events),
    )
    end_U = _noon(run_date) // SECOND_US - DAY_S // 2 + random.integers(0, DAY_S, num_users)
    clock_E = np.cumsum(gap_E)
    second_E = (end_U - clock_E[last_U])[owner_E] + clock_E
    opens_E = ~is_soon_E
    opens_E[first_U] = True
    session_E = np.cumsum(opens_E)
    opened_E = np.maximum.accumulate(np.where(opens_E, np.arange(num_events), 0))

    user_id = pc.binary_join_element_wise("u", pc.cast(pa.array(np.arange(chunk.first, chunk.end)), pa.string()), "")
    session_second = pc.cast(pa.array(second_E[opened_E[last_U]]), pa.string())
    columns = {
        "user_id": user_id,
        "as_of": pa.repeat(pa.scalar(run_date), num_users),
        "item_idxs": _lists(start_U, (item_E + FIRST_ITEM).astype(np.int32)),
        "event_types": _lists(start_U, kind_E),
        "event_tss": _lists(start_U, second_E * SECOND_US),
        "session_nos": _lists(start_U, (session_E - session_E[first_U][owner_E] + 1).astype(np.int32)),
        "prices": _lists(start_U, price_I[item_E]),
        "purchased": _purchased(start_U, item_E, kind_E == EVENT_CODES["purchase"]),
        "first_event_ts": _instants(second_E[first_U]),
        "last_event_ts": _instants(second_E[last_U]),
        "num_events": pa.array(np.diff(start_U)),
        "session_id": pc.binary_join_element_wise(user_id, session_second, "@"),
    }
    return pa.table({name: columns[name] for name in HISTORIES.in_files.names})


def _purchased(start_U: Ints, item_E: Ints, is_bought_E: npt.NDArray[np.bool_]) -> pa.Array:
    """Return the different items that every user bought, newest first."""
    owner_E = _owner(start_U)
    newest_first = (start_U[:-1] + start_U[1:] - 1)[owner_E] - np.arange(len(item_E))
    bought = newest_first[is_bought_E[newest_first]]
    pair = owner_E[bought] << 32 | item_E[bought]
    kept = bought[np.sort(np.unique(pair, return_index=True)[1])]
    sizes_U = np.bincount(owner_E[kept], minlength=len(start_U) - 1)
    return _lists(np.concatenate([[0], np.cumsum(sizes_U)]), (item_E[kept] + FIRST_ITEM).astype(np.int32))


def _lists(start_U: Ints, values: Ints) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array(start_U.astype(np.int32)), pa.array(values))


def _instants(seconds: Ints) -> pa.Array:
    return pa.array(seconds * SECOND_US).cast(pa.timestamp("us", tz="UTC"))


def _write_items(lake: Lake, counts_I: Ints, price_I: Ints, run_date: date) -> None:
    """Write `items`, and all their events, one at least, as views of the day."""
    number = pl.int_range(len(counts_I), dtype=pl.Int32)
    told_us = pl.lit(_noon(run_date))
    items = pl.DataFrame({"num_events": np.maximum(counts_I, 1), "price": price_I.astype(np.float64)}).select(
        pl.format("i{}", number).alias("item_id"),
        (number + FIRST_ITEM).alias("item_idx"),
        pl.lit(run_date).alias("first_seen"),
        pl.lit(run_date).alias("last_seen"),
        "num_events",
        pl.col("num_events").alias("num_users"),
        pl.format("c{}", number % CATEGORIES).alias("category"),
        pl.lit(None, dtype=pl.String).alias("brand"),
        "price",
        pl.lit(True).alias("available"),
        told_us.alias("category_us"),
        pl.lit(None, dtype=pl.Int64).alias("brand_us"),
        told_us.alias("price_us"),
        pl.lit([], dtype=pl.List(pl.Int64)).alias("user_sample"),
        pl.lit(None, dtype=pl.List(pl.String)).alias("attributes"),
    )
    _write_rows(lake, ITEMS, items, {})
    days = items.select("item_id", pl.lit("view").alias("event_type"), "num_events")
    _write_rows(lake, ITEM_DAYS, days, {"event_date": str(run_date)})


def _write_rows(lake: Lake, table: Table, rows: pl.DataFrame, partition: dict[str, str]) -> None:
    lake.commit(table, new_files([write_part(rows, lake.staging(table), "part", partition)], table))


def _write_model(lake: Lake, vector_ID: npt.NDArray[np.float32], run_date: date, length: int, seed: int) -> None:
    """Write a SASRec of random weights that knows all items, and its row in `models`."""
    num_items, width = vector_ID.shape
    shape = ModelShape(num_items + FIRST_ITEM, length, width, num_blocks=2, num_heads=2, dropout=0.0)
    torch.manual_seed(seed)
    model = build_model("sasrec", shape)
    with torch.no_grad():
        model.item_matrix()[FIRST_ITEM:] = torch.from_numpy(vector_ID)
    model.is_known_V[FIRST_ITEM:] = True
    version = f"{run_date}-sasrec-untrained"
    folder = lake.model_root() / version
    save_model(folder, model, Card(version, "sasrec", shape, lake.lineage(ITEMS)))
    row = {
        "model_version": version,
        "run_date": run_date,
        "model": "sasrec",
        "path": str(folder),
        "vocabulary_lineage": lake.lineage(ITEMS),
        "vocabulary_size": shape.vocabulary_size,
        "settings_hash": "",
        "tables_read": dict(lake.versions_written),
        "metrics": {},
        "status": "candidate",
        "trained_at": datetime.combine(run_date, time(12), UTC),
    }
    lake.append(MODELS, [row])


def _run(lake: Lake, run_date: date, num_users: int) -> dict[str, Any]:
    """Return the row of `runs` that says that the day was prepared."""
    noon = datetime.combine(run_date, time(12), UTC)
    return {
        "run_id": f"prepare@{run_date}@{_noon(run_date)}",
        "job": "prepare",
        "run_date": run_date,
        "started_at": noon,
        "ended_at": noon,
        "status": "complete",
        "rows_in": num_users,
        "rows_out": {HISTORIES.name: num_users},
        "versions_read": {},
        "versions_written": {table.name: lake.versions_written[table.name] for table in (ITEM_DAYS, ITEMS, HISTORIES)},
        "settings_hash": "",
        "code_version": "",
        "message": "made for a benchmark",
        "figures": {},
    }


def _noon(run_date: date) -> int:
    """Return the middle of the day in microseconds since 1970."""
    return int(datetime.combine(run_date, time(12), UTC).timestamp()) * SECOND_US

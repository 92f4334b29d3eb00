"""The data files of a Delta table: which there are, and commits of files that Spark's tasks wrote themselves.

Spark reads these tables as it does any other; only the JVM's row-by-row Parquet writer is left out.
"""

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
from deltalake import DeltaTable, write_deltalake
from deltalake.transaction import AddAction, CommitProperties, RemoveAction


@dataclass(frozen=True)
class NewFile:
    """A Parquet file that waits to become part of a table. `path` is relative to the table's folder."""

    path: str
    partition: dict[str, str]
    num_rows: int
    size_bytes: int
    lows: dict[str, Any] = field(default_factory=dict)
    """Smallest values of all columns that are no lists, for data skipping (`parquet.bounds_of`); `highs` likewise."""
    highs: dict[str, Any] = field(default_factory=dict)
    nulls: dict[str, int] = field(default_factory=dict)
    """How many nulls they have."""


def is_table(path: str) -> bool:
    return bool(DeltaTable.is_deltatable(path))


def newest_version(path: str) -> int:
    return int(DeltaTable(path).version())


def append_rows(path: str, rows: Sequence[dict[str, Any]]) -> None:
    """Add rows, a mapping of column names each, to the table in one commit."""
    told = pl.DataFrame(rows, schema=pl.scan_delta(path).collect_schema())
    # Views of strings, Polars' own kind, would stand in the file, and PyArrow cannot compare them with strings.
    write_deltalake(path, told.to_arrow(compat_level=pl.CompatLevel.oldest()), mode="append")


def list_files(path: str) -> pl.DataFrame:
    """Return the data files of the newest version.

    Out  a row is one file: path (as the log has it), num_records, `partition.<name>`, `min.<name>`, `max.<name>`.
    """
    return pl.DataFrame(DeltaTable(path).get_add_actions(flatten=True))


def _move(file: Path, target: Path, size_bytes: int) -> None:
    """Bring a file in; one of the same name and size that is there stays, for an older version may be read from it."""
    if target.exists() and target.stat().st_size == size_bytes:
        file.unlink()
    else:
        file.replace(target)


def commit_files(path: str, new: Sequence[NewFile], removed: Iterable[dict[str, Any]], staging: Path) -> int:
    """Move the files from `staging` into the table's folder and commit them; return the table's new version.

    In   removed: rows of `list_files` that the new files replace. Readers see all of it or nothing.
    """
    table = DeltaTable(path)
    root = Path(path)
    moment = int(time.time() * 1000)
    actions: list[AddAction | RemoveAction] = []
    for file in new:
        (root / file.path).parent.mkdir(parents=True, exist_ok=True)
        _move(staging / file.path, root / file.path, file.size_bytes)
        stats = {
            "numRecords": file.num_rows,
            "minValues": file.lows,
            "maxValues": file.highs,
            "nullCount": file.nulls,
        }
        actions.append(AddAction(file.path, file.size_bytes, file.partition, moment, True, json.dumps(stats)))
    names = table.metadata().partition_columns
    for row in removed:
        values: dict[str, str | None] = {name: str(row[f"partition.{name}"]) for name in names}
        actions.append(RemoveAction(row["path"], True, moment, row["size_bytes"], values))
    if not actions:
        return int(table.version())
    table.create_write_transaction(
        actions=actions,
        mode="append",
        schema=table.schema(),
        partition_by=names,
        commit_properties=CommitProperties(custom_metadata={"numOutputRows": str(sum(file.num_rows for file in new))}),
    )
    return int(DeltaTable(path).version())

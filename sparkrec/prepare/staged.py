"""Parquet files that a task leaves for a later step or for a commit."""

import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import polars as pl

from sparkrec.contract import Table
from sparkrec.files import NewFile
from sparkrec.parquet import bounds_of, open_file


def write_part(
    rows: pl.DataFrame | pl.LazyFrame,
    folder: Path,
    name: str,
    partition: dict[str, str] | None = None,
    row_group_rows: int | None = None,
) -> dict[str, Any]:
    """Write a file that a table shall keep; return the report that `new_files` turns into what a commit needs.

    In   rows: a LazyFrame is written while it is read, and never held. folder: the table's under staging.
    """
    values = partition or {}
    # The name is new each time, so that a task which runs twice does not write into its first file.
    file = "/".join([*(f"{key}={value}" for key, value in values.items()), f"{name}-{uuid.uuid4().hex[:12]}.parquet"])
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    if isinstance(rows, pl.LazyFrame):
        rows.sink_parquet(folder / file, compression="zstd", compression_level=1, row_group_size=row_group_rows)
        num_rows = open_file(folder / file).select(pl.len()).collect().item()
    else:
        rows.write_parquet(folder / file, compression="zstd", compression_level=1, row_group_size=row_group_rows)
        num_rows = len(rows)
    return file_report(folder, file, values, num_rows)


def file_report(folder: Path, file: str, partition: dict[str, str], num_rows: int) -> dict[str, Any]:
    """Return what a task reports of a file that it wrote under the table's folder in staging; see `new_files`."""
    return {
        "kind": "file",
        "table": folder.name,
        "path": file,
        "partition": partition,
        "num": num_rows,
        "size": (folder / file).stat().st_size,
        "bounds": bounds_of(folder / file),
    }


def new_files(told: Iterable[dict[str, Any]], table: Table) -> list[NewFile]:
    """Return a table's files among the reports of tasks."""
    return [
        NewFile(row["path"], row["partition"], row["num"], row["size"], *row["bounds"])
        for row in told
        if row["kind"] == "file" and row["table"] == table.name
    ]


def stage_file(rows: pl.DataFrame, file: Path) -> None:
    """Write a Parquet file that lives for this night only: quick rather than small."""
    file.parent.mkdir(parents=True, exist_ok=True)
    rows.write_parquet(file, compression="lz4", statistics=False)


def read_files(folder: Path) -> pl.DataFrame:
    """Return the rows of all files of a folder; it holds one at least."""
    return pl.concat([open_file(file) for file in sorted(folder.glob("*.parquet"))]).collect()

"""Parquet files that a task leaves for a later step or for a commit."""

from pathlib import Path

import polars as pl


def write_file(rows: pl.DataFrame, file: Path) -> int:
    """Write a Parquet file that a table keeps; return its size in bytes."""
    file.parent.mkdir(parents=True, exist_ok=True)
    rows.write_parquet(file, compression="zstd", compression_level=1)
    return file.stat().st_size


def stage_file(rows: pl.DataFrame, file: Path) -> None:
    """Write a Parquet file that lives for this night only: quick rather than small."""
    file.parent.mkdir(parents=True, exist_ok=True)
    rows.write_parquet(file, compression="lz4", statistics=False)


def read_files(folder: Path) -> pl.DataFrame:
    """Return the rows of all files of a folder; it holds one at least."""
    return pl.concat(
        [pl.read_parquet(file, hive_partitioning=False, glob=False) for file in sorted(folder.glob("*.parquet"))]
    )

"""Parquet files that tasks open by their path alone."""

from pathlib import Path

import polars as pl


def open_file(path: str | Path) -> pl.LazyFrame:
    """Return the rows of one file as it is: a folder named `day=…` adds no column, `*` in a name is a letter."""
    return pl.scan_parquet(path, hive_partitioning=False, glob=False)

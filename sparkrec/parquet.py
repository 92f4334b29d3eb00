"""Parquet files that tasks open by their path alone, and what their footers say."""

from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq


def open_file(path: str | Path) -> pl.LazyFrame:
    """Return the rows of one file as it is: a folder named `day=…` adds no column, `*` in a name is a letter."""
    return pl.scan_parquet(path, hive_partitioning=False, glob=False)


def bounds_of(path: str | Path) -> tuple[dict[str, Any], dict[str, Any], dict[str, int]]:
    """Return smallest value, largest value and number of nulls of every column that is no list, as Delta's log says it.

    All of them: delta-rs takes a column without them, where others have some, for one without any value, and what asks
    it for rows (PyArrow's dataset, DuckDB) then finds none.
    """
    lows: dict[str, Any] = {}
    highs: dict[str, Any] = {}
    nulls: dict[str, int] = {}
    footer = pq.read_metadata(path)
    for group in range(footer.num_row_groups):
        for place in range(footer.num_columns):
            column = footer.row_group(group).column(place)
            name, told = column.path_in_schema, column.statistics
            if "." in name or told is None:
                continue
            nulls[name] = nulls.get(name, 0) + (told.null_count or 0)
            low, high = (told.min, told.max) if told.has_min_max else _widest(column)
            if low is not None:
                lows[name] = min(low, lows.get(name, low))
                highs[name] = max(high, highs.get(name, high))
    # Times are told in milliseconds; rounded down, the newest would be skipped.
    late = {name: value + timedelta(milliseconds=1) for name, value in highs.items() if isinstance(value, datetime)}
    return _in_json(lows), _in_json({**highs, **late}), nulls


def _widest(column: pq.ColumnChunkMetaData) -> tuple[Any, Any]:
    """Return bounds of values that the footer has none of, as with long strings; (None, None) where all are null."""
    if column.statistics.null_count == column.num_values:
        return None, None
    return ("", chr(0x10FFFF)) if column.physical_type == "BYTE_ARRAY" else (None, None)


def _in_json(values: dict[str, Any]) -> dict[str, Any]:
    return {name: _as_json(value) for name, value in values.items()}


def _as_json(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%S.") + f"{value.microsecond // 1000:03d}Z"
    return value.isoformat() if isinstance(value, date) else value

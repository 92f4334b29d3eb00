"""Sequences without times (Amazon files in S3-Rec's form) as clicks: the place in the sequence is the second."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import polars as pl

FIRST_SECOND = 1_500_000_000
DAY = "2017-07-14"
"""The night of all clicks, the day of the first second; a sequence of more than 76,000 would go beyond it."""
MAPPING = """
name: sequences
format: parquet
columns: {user_id: user, item_id: item, event_ts: second}
event_always: view
time: {unit: seconds, zone: UTC}
"""
SETTINGS = (
    "prepare.max_user_day_events=1000000", "prepare.max_user_minute_events=1000000", "prepare.max_history=1000000",
)  # fmt: skip
"""No rules against bots, and no caps."""


def write_clicks(sequences: Path, folder: Path) -> Path:
    """Write `clicks.parquet` and `clicks.csv` (user, item, position, second) and the mapping; return the clicks."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sequences.yaml").write_text(MAPPING)
    rows = pl.DataFrame(list(read_sequences(sequences)), schema=["user", "item"], orient="row")
    # A user on two lines goes on where the first one ended.
    rows = rows.explode("item").with_columns(pl.int_range(pl.len()).over("user").alias("position"))
    clicks = rows.with_columns((FIRST_SECOND + pl.col("position")).alias("second"))
    clicks.write_parquet(folder / "clicks.parquet")
    clicks.write_csv(folder / "clicks.csv")
    return folder / "clicks.parquet"


def read_sequences(place: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield user and items, in time order, from lines `user item item …`."""
    for words in map(str.split, read_text(place).splitlines()):
        if words[1:]:
            yield words[0], words[1:]


def write_catalogue(attributes: Path, folder: Path) -> Path:
    """Write `catalogue.parquet` from one JSON object, item to list of attributes; return its path."""
    told = json.loads(read_text(attributes))
    rows = [(item, [str(name) for name in names]) for item, names in told.items()]
    schema = {"item_id": pl.String, "attributes": pl.List(pl.String)}
    pl.DataFrame(rows, schema=schema, orient="row").write_parquet(folder / "catalogue.parquet")
    return folder / "catalogue.parquet"


def read_text(place: Path) -> str:
    """Return a text, plain or gzip."""
    whole = place.read_bytes()
    return (gzip.decompress(whole) if whole[:2] == b"\x1f\x8b" else whole).decode()

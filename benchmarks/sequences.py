"""Sequences without times (Amazon files in S3-Rec's form) as clicks: the place in the sequence is the second."""

import gzip
from pathlib import Path

import polars as pl

FIRST_SECOND = 1_500_000_000
DAY = "2017-07-14"
"""The day of all clicks: 60 hours would be needed for more than 76,000 in one sequence."""
MAPPING = """
name: sequences
format: parquet
columns: {user_id: user, item_id: item, event_ts: second}
event_always: view
time: {unit: seconds, zone: UTC}
"""
SETTINGS = ("prepare.max_user_day_events=1000000", "prepare.max_user_minute_events=1000000", "window.stride=1000000")
"""No rules against bots; one training window per user, its newest events."""


def write_clicks(sequences: Path, folder: Path) -> Path:
    """Write `clicks.parquet` and `clicks.csv` (user, item, position, second) and the mapping; return the clicks."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sequences.yaml").write_text(MAPPING)
    with gzip.open(sequences, "rt") as file:
        users = [line.split() for line in file]
    rows = [(words[0], item, place) for words in users for place, item in enumerate(words[1:])]
    clicks = pl.DataFrame(rows, schema={"user": pl.String, "item": pl.String, "position": pl.Int64}, orient="row")
    clicks = clicks.with_columns((FIRST_SECOND + pl.col("position")).alias("second"))
    clicks.write_parquet(folder / "clicks.parquet")
    clicks.write_csv(folder / "clicks.csv")
    return folder / "clicks.parquet"

"""A billion rows on a small machine: fifty nights of twenty million, each on top of those before.

python benchmarks/bench_billion.py [--nights 50] [--events 20000000] [--users 500000]

A night's file is the same day with another date and with users permuted; making it is not counted. After every night
the files that it replaced are removed (vacuum), which is counted.
"""

import argparse
import shutil
import time
from datetime import date, timedelta
from pathlib import Path

import deltalake
import polars as pl
from bench_prepare import WORK, make_clicks, prepare, seconds_of

FIRST_DAY = date(2024, 3, 1)
STEP, SHIFT = 7_919, 104_729
"""Primes: user n becomes user n * STEP + night * SHIFT, modulo their number."""


def write_night(rows: pl.DataFrame, night: int, users: int, file: Path) -> date:
    """Write the clicks of a night; return its date."""
    day = FIRST_DAY + timedelta(days=night)
    number = pl.col("user_id").str.slice(1).cast(pl.Int64, strict=False)
    permuted = rows.with_columns(
        pl.col("event_time").str.replace(str(FIRST_DAY), str(day), literal=True),
        (pl.lit("u") + ((number * STEP + night * SHIFT) % users).cast(pl.String)).alias("user_id"),
    )
    permuted.write_parquet(file, compression="lz4")
    return day


def vacuum(lake: Path) -> float:
    """Remove the files that no version in use needs; return the seconds it took."""
    started = time.monotonic()
    for name in ("events", "items", "item_days", "histories"):
        table = deltalake.DeltaTable(str(lake / name))
        table.vacuum(retention_hours=0, dry_run=False, enforce_retention_duration=False)
    return time.monotonic() - started


def size_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def main(nights: int, events: int, users: int) -> None:
    WORK.mkdir(exist_ok=True)
    lake, clicks = WORK / "lake-billion", WORK / "night.parquet"
    shutil.rmtree(lake, ignore_errors=True)
    rows = pl.read_parquet(make_clicks(f"one-day-{events}", events, users, 100_000, days=1) / f"{FIRST_DAY}.parquet")
    seconds: list[float] = []
    peak = total = written = 0.0
    for night in range(nights):
        day = write_night(rows, night, users, clicks)
        found = prepare(clicks, str(day), lake, fresh=False)
        cleared = vacuum(lake)
        # The whole command counts, the start-up of the JVM with it.
        seconds.append(found.seconds)
        total += found.seconds + cleared
        peak = max(peak, found.peak_bytes / 2**30)
        written += found.written_bytes / 2**30
        print(
            f"night {night + 1}: {found.seconds:.1f} s ({seconds_of(found):.1f} without start-up), vacuum"
            f" {cleared:.1f} s, {found.cpu_s:.0f} CPU s, {found.peak_bytes / 2**30:.1f} GiB,"
            f" {found.written_bytes / 2**30:.2f} GiB written, lake {size_of(lake) / 2**30:.2f} GiB",
            flush=True,
        )
    count = nights * len(rows)
    fifth, last = seconds[min(4, nights - 1)], seconds[-1]
    print(
        f"bench-billion: rows={count} seconds={total:.0f} night5_s={fifth:.1f} night{nights}_s={last:.1f}"
        f" peak_gib={peak:.1f} written_gib={written:.0f}"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--nights", type=int, default=50)
    parser.add_argument("--events", type=int, default=20_000_000)
    parser.add_argument("--users", type=int, default=500_000)
    asked = parser.parse_args()
    main(asked.nights, asked.events, asked.users)

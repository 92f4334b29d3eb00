"""Prepare at 20 million events beside DuckDB, plain Spark SQL and Polars, and what one more night costs.

python benchmarks/bench_prepare.py [--large]
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from measure import Measured, measure

ROOT = Path(__file__).parents[1]
WORK = ROOT / "benchmarks" / "work"
PEERS = ROOT / "benchmarks" / "peers"
DAYS = [f"2024-03-{day:02d}" for day in range(1, 15)]
CORES = min(2, os.cpu_count() or 1)
SUBMIT = ["spark-submit", "--master", f"local[{CORES}]"]


def make_clicks(name: str, events: int, users: int, items: int, days: int = len(DAYS)) -> Path:
    folder = WORK / name
    if not folder.exists():
        size = ["--events", events, "--users", users, "--items", items, "--days", days, "--format", "parquet"]
        subprocess.run([sys.executable, "-m", "sparkrec.sample", *map(str, size), "--out", folder], check=True)
    return folder


def prepare(
    clicks: Path,
    day: str,
    lake: Path,
    fresh: bool = True,
    submit_words: Sequence[str] = (),
    settings: Sequence[str] = (),
) -> Measured:
    if fresh:
        shutil.rmtree(lake, ignore_errors=True)
    source = WORK / "source.yaml"
    mapping = (ROOT / "conf/sources/sample.yaml").read_text().replace("format: csv", "format: parquet")
    source.write_text(mapping.replace("header: true\n", ""))
    words = ["--source", source, "--input", clicks, "--date", day, "--lake", lake]
    words += [word for setting in ("prepare.max_history=50", *settings) for word in ("--set", setting)]
    return measure([*SUBMIT, *submit_words, str(ROOT / "jobs/prepare.py"), *map(str, words)])


def seconds_of(found: Measured) -> float:
    """Return what the command says its work took, JVM start-up excluded."""
    return float(re.findall(r"done in ([0-9.]+) s", found.output)[-1])


def rows_of(found: Measured) -> int:
    """Return the raw rows that the command says it read."""
    return int(re.findall(r"([0-9,]+) raw rows", found.output)[-1].replace(",", ""))


def tell(name: str, found: Measured) -> None:
    lines = [line for line in found.output.splitlines() if "events" in line and ":" in line]
    print(
        f"{name}: {seconds_of(found):.1f} s, {found.cpu_s:.0f} CPU s, {found.peak_bytes / 2**30:.1f} GiB; {lines[0]}",
        flush=True,
    )


def bench() -> None:
    clicks = make_clicks("clicks-20m", 20_000_000, 500_000, 100_000)
    whole = prepare(clicks, DAYS[-1], WORK / "lake")
    tell("sparkrec", whole)
    out = str(WORK / "peer")
    duckdb = measure([sys.executable, str(PEERS / "duckdb_prepare.py"), str(clicks), out, str(CORES)])
    tell("duckdb", duckdb)
    polars = measure(
        [sys.executable, str(PEERS / "polars_prepare.py"), str(clicks), out], {"POLARS_MAX_THREADS": str(CORES)}
    )
    tell("polars", polars)
    shutil.rmtree(out, ignore_errors=True)
    plain = measure([*SUBMIT, str(PEERS / "spark_sql_prepare.py"), str(clicks), out])
    tell("spark sql", plain)
    shutil.rmtree(out, ignore_errors=True)

    before = WORK / "clicks-13-nights"
    before.mkdir(exist_ok=True)
    for day in DAYS[:-1]:
        (before / f"{day}.parquet").unlink(missing_ok=True)
        (before / f"{day}.parquet").hardlink_to(clicks / f"{day}.parquet")
    lake = WORK / "lake-13"
    tell("13 nights", prepare(before, DAYS[-2], lake))
    night = prepare(clicks / f"{DAYS[-1]}.parquet", DAYS[-1], lake, fresh=False)
    tell("night 14", night)
    idle = measure([*SUBMIT, str(ROOT / "benchmarks/idle.py")])
    print(f"start-up of Spark alone: {idle.cpu_s:.0f} CPU s")
    share = (night.cpu_s - idle.cpu_s) / (whole.cpu_s - idle.cpu_s)
    print(f"night 14 with start-up in both: {night.cpu_s / whole.cpu_s:.3f} of the CPU seconds of all nights at once")
    peak = max(whole.peak_bytes, night.peak_bytes) / 2**30
    print(
        f"bench-prepare: duckdb_ratio={seconds_of(whole) / seconds_of(duckdb):.2f}"
        f" spark_sql_ratio={seconds_of(whole) / seconds_of(plain):.2f} peak_gib={peak:.1f} night_share={share:.3f}"
        f" million_rows_per_core_s={rows_of(whole) / 1e6 / (whole.cpu_s - idle.cpu_s):.3f}"
    )


def bench_large() -> None:
    small = make_clicks("clicks-20m", 20_000_000, 500_000, 100_000)
    large = WORK / "clicks-200m"
    if not large.exists():
        subprocess.run([sys.executable, str(ROOT / "benchmarks/multiply.py"), str(small), str(large), "10"], check=True)
    one = prepare(small, DAYS[-1], WORK / "lake")
    tell("20 M", one)
    ten = prepare(large, DAYS[-1], WORK / "lake-large")
    tell("200 M", ten)
    print(
        f"bench-prepare-large: scale_10x={seconds_of(ten) / seconds_of(one):.2f} peak_gib={ten.peak_bytes / 2**30:.1f}"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--large", action="store_true", help="200 million events instead, against 20 million")
    WORK.mkdir(exist_ok=True)
    bench_large() if parser.parse_args().large else bench()

"""Make a sample clickstream.

python -m sparkrec.sample --events 20000000 --users 500000 --items 100000 --days 14 --format parquet --out sample-20m
"""

import argparse
import sys
import time
from datetime import date
from pathlib import Path

from sparkrec.sample.write import SampleSize, write_sample


def main() -> None:
    size = SampleSize()
    parser = argparse.ArgumentParser(prog="sparkrec.sample", description=__doc__.split("\n")[0])
    parser.add_argument(
        "--events", type=_positive, default=size.num_events, help=f"what users do ({size.num_events:,})"
    )
    parser.add_argument("--users", type=_positive, default=size.num_users, help=f"users at most ({size.num_users:,})")
    parser.add_argument("--items", type=_positive, default=size.num_items, help=f"items ({size.num_items:,})")
    parser.add_argument("--days", type=_positive, default=size.num_days, help=f"days, a file each ({size.num_days})")
    parser.add_argument(
        "--first-day", type=date.fromisoformat, default=size.first_day, help=f"first day ({size.first_day})"
    )
    parser.add_argument("--seed", type=_positive, default=size.seed, help=f"same seed, same sample ({size.seed})")
    parser.add_argument("--format", choices=("csv", "parquet"), default="csv", help="file format (csv)")
    parser.add_argument("--out", type=Path, default=Path("sample"), help="folder to write (sample)")
    parser.add_argument("--if-missing", action="store_true", help="do nothing where the folder exists")
    asked = parser.parse_args()
    if asked.if_missing and asked.out.exists():
        return
    if asked.out.exists() and any(not _is_day(file) for file in asked.out.iterdir()):
        sys.exit(f"sample: {asked.out} holds files that are no sample's days; name another folder with --out")
    started = time.monotonic()
    wanted = SampleSize(asked.events, asked.users, asked.items, asked.days, asked.first_day, asked.seed)
    rows = write_sample(asked.out, wanted, asked.format)
    seconds = time.monotonic() - started
    print(f"sample: {rows:,} rows of {asked.days} days in {asked.out}/, a {asked.format} per day, in {seconds:.1f} s")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"wanted a number from 1, found {text}")
    return number


def _is_day(file: Path) -> bool:
    try:
        return bool(date.fromisoformat(file.name.split(".")[0]))
    except ValueError:
        return False


if __name__ == "__main__":
    main()

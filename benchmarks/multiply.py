"""Ten times the clicks of ten times the users: every file again with other user ids.

python benchmarks/multiply.py FROM TO TIMES
"""

import sys
from pathlib import Path

import polars as pl


def main(source: Path, target: Path, times: int) -> None:
    aside = target.with_name(target.name + ".writing")
    aside.mkdir(parents=True, exist_ok=True)
    for file in sorted(source.glob("*.parquet")):
        rows = pl.read_parquet(file)
        for copy in range(times):
            other = rows if copy == 0 else rows.with_columns(pl.col("user_id") + f"x{copy}")
            other.write_parquet(aside / f"{file.stem}.{copy}.parquet")
    aside.rename(target)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))

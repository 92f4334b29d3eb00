"""What sasrec and most-popular are worth by every protocol, on the sample and the public excerpts beside the project.

python benchmarks/protocols.py [sample rees46 taobao beauty]
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import polars as pl
from measure import measure
from sequences import DAY, SETTINGS, write_clicks

ROOT = Path(__file__).parents[1]
WORK = ROOT / "benchmarks" / "work"
DATA = ROOT.parent / "shared" / "data"
SUBMIT = ["spark-submit", "--master", f"local[{min(2, os.cpu_count() or 1)}]"]
HELD_OUT = {
    "leave one out": (),
    "last purchase": ('window.held_out_events=["purchase"]',),
    "last day": ("window.held_out=date",),
    "steps of the last day's sessions": ("window.held_out=sessions",),
}
K = 10
COLUMNS = (
    "data", "protocol", "users", "HR@10", "NDCG@10 (95 %)", "most-popular", "of 7 days",
    "repeat", "most-popular", "novel", "most-popular",
)  # fmt: skip
MODEL, POPULAR, LATELY = "model", "popular", "popular_7_days"


@dataclass(frozen=True)
class DataSet:
    """Clicks, the night to run, what is held out of them, and settings for all jobs."""

    day: str
    source: str
    place: str
    held_out: Sequence[str]
    settings: Sequence[str] = ()


def data_sets() -> dict[str, DataSet]:
    beauty = WORK / "beauty"
    return {
        "sample": DataSet("2024-03-14", "conf/sources/sample.yaml", str(WORK / "sample"), list(HELD_OUT)),
        "rees46": DataSet(
            "2019-10-01", "conf/sources/rees46.yaml", str(DATA / "rees46/2019-Oct-head.csv.gz"), list(HELD_OUT)[:2]
        ),
        "taobao": DataSet(
            "2017-12-03", "conf/sources/taobao.yaml", str(DATA / "taobao/UserBehavior.csv.gz"), list(HELD_OUT)
        ),
        "beauty": DataSet(
            DAY, str(beauty / "sequences.yaml"), str(beauty / "clicks.parquet"), list(HELD_OUT)[:1],
            SETTINGS,
        ),
    }  # fmt: skip


def make(name: str) -> None:
    """Write the clicks that are not there as they are."""
    if name == "sample":
        subprocess.run([sys.executable, "-m", "sparkrec.sample", "--out", str(WORK / "sample")], check=True, cwd=ROOT)
    if name == "beauty":
        write_clicks(DATA / "amazon_beauty" / "Beauty.txt.gz", WORK / "beauty")


def run(job: str, lake: Path, data: DataSet, held_out: str, *more: str) -> None:
    words = [word for setting in (*data.settings, *HELD_OUT[held_out]) for word in ("--set", setting)]
    measure([*SUBMIT, f"jobs/{job}.py", "--date", data.day, "--lake", str(lake), *words, *more])


def rows_of(name: str, data: DataSet) -> list[str]:
    """Return a line of the table for every protocol, told as soon as it is known."""
    lake = WORK / f"lake-protocols-{name}"
    shutil.rmtree(lake, ignore_errors=True)
    run("prepare", lake, data, data.held_out[0], "--source", data.source, "--input", data.place)
    told = []
    for held_out in data.held_out:
        began = time.monotonic()
        for job in ("window", "train"):
            run(job, lake, data, held_out)
        # What is measured here need not be fit to be published.
        run("recommend", lake, data, held_out, "--force")
        run("evaluate", lake, data, held_out)
        metrics = pl.read_delta(str(lake / "metrics")).filter(run_date=date.fromisoformat(data.day), k=K)
        for protocol in metrics["protocol"].unique().sort():
            if protocol not in ("published", "realised"):
                of_protocol = metrics.filter(protocol=protocol)
                told.append(f"| {name} | {protocol} | {' | '.join(cells_of(of_protocol))} |")
                print(told[-1], flush=True)
        print(f"{name}, {held_out}: {time.monotonic() - began:.0f} s", flush=True)
    return told


def cells_of(metrics: pl.DataFrame) -> list[str]:
    """Return users, HR and NDCG of the model, and NDCG of all contestants for all, repeat and novel targets."""
    name = pl.when(pl.col("model_version").is_in([POPULAR, LATELY])).then("model_version").otherwise(pl.lit(MODEL))
    rows = metrics.filter(against="").with_columns(who=name)
    found = {(row["slice"], row["who"], row["metric"]): row for row in rows.to_dicts()}
    whole = found["all", MODEL, "ndcg"]
    cells = [f"{whole['num_users']:,}", f"{found['all', MODEL, 'hr']['value']:.3f}", with_interval(whole)]
    for of_slice, who in (
        ("all", POPULAR),
        ("all", LATELY),
        *((s, w) for s in ("repeat", "novel") for w in (MODEL, POPULAR)),
    ):
        row = found.get((of_slice, who, "ndcg"))
        cells.append(f"{row['value']:.3f}" if row else "")
    return cells


def with_interval(row: dict[str, float]) -> str:
    return f"{row['value']:.3f}" + ("" if row["low"] is None else f" ({row['low']:.3f} to {row['high']:.3f})")


def main(names: Sequence[str]) -> None:
    known = data_sets()
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    lines = []
    for name in names or list(known):
        make(name)
        lines += rows_of(name, known[name])
    print(f"protocols: rows={len(lines)}")


if __name__ == "__main__":
    main(sys.argv[1:])

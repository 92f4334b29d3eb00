"""The models and what lifts them, held against each other on the same users: writes benchmarks/QUALITY.md.

python benchmarks/bench_quality.py [beauty beauty_attributes …]

What is trained already is used again, so a run that was cut off goes on where it was. A data set has a lake per seed;
its models are trained on the same windows and compared by `jobs/evaluate.py --against`.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from quality import SUBMIT
from sequences import DAY, SETTINGS, write_catalogue, write_clicks

ROOT = Path(__file__).parents[1]
WORK = ROOT / "benchmarks" / "work" / "quality"
DATA = ROOT.parent / "shared" / "data"
TABLE = ROOT / "benchmarks" / "QUALITY.md"
BEGIN, END = "<!-- table -->", "<!-- end of table -->"
SEED = 7
K = 10


@dataclass(frozen=True)
class Entry:
    """A row of the table: a model, or the default with something changed."""

    name: str
    settings: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (SEED,)


HEADLINE = Entry("default", (), (7, 8, 9))
MODELS = tuple(
    Entry(name, (f"train.model={name}",))
    for name in (
        "esasrec", "bsarec", "hstu", "gru4rec", "caser", "cnn_attention",
        "dfnn", "lstm", "dfnn_lstm", "rnn_profile", "item_knn", "mf",
    )
)  # fmt: skip
CHANGES = (
    Entry("default, no second opinion", ("train.neighbours=0",)),
    Entry("default, from the next item alone", ("train.later_targets=0",)),
    Entry("default, inner products", ("train.temperature=null",)),
    Entry("default, weights not averaged", ("train.average=0",)),
    Entry("default, width 64", ("train.width=64",)),
    Entry("default, one block", ("train.num_blocks=1",)),
    Entry("default, dropout 0.2", ("train.dropout=0.2",)),
    Entry("default, sampled softmax, 512 negatives", ("train.loss=sampled_softmax",)),
)
SETS: dict[str, tuple[Entry, ...]] = {
    "beauty": (HEADLINE, *MODELS, *CHANGES),
    "beauty_attributes": (HEADLINE,),
}
FILES = {
    "beauty": ("amazon_beauty/Beauty.txt.gz", None),
    "beauty_attributes": ("amazon_beauty/Beauty.txt.gz", "amazon_beauty/Beauty_item2attributes.json.gz"),
}


class Lake:
    """A data set's lake for one seed, with what has been trained in it."""

    def __init__(self, name: str, seed: int) -> None:
        self.folder, self.seed = WORK / f"{name}-{seed}", seed
        self.root = self.folder / "lake"
        self.settings = [*SETTINGS, f"run.seed={seed}"]
        sequences, attributes = FILES[name]
        if attributes:
            self.settings.append(f"prepare.catalogue={self.folder / 'catalogue.parquet'}")
        if (self.folder / "ready").exists():
            return
        clicks = write_clicks(DATA / sequences, self.folder)
        if attributes:
            write_catalogue(DATA / attributes, self.folder)
        self.run("prepare", "--source", str(clicks.with_name("sequences.yaml")), "--input", str(clicks))
        self.run("window")
        (self.folder / "ready").touch()

    def train(self, entry: Entry) -> str:
        """Return the model's version, trained before or now."""
        told = self.folder / "versions.json"
        versions = json.loads(told.read_text()) if told.exists() else {}
        if entry.name not in versions:
            began = time.monotonic()
            self.run("train", settings=entry.settings)
            newest = pl.read_delta(str(self.root / "models")).sort("trained_at").row(-1, named=True)
            seconds = time.monotonic() - began
            versions[entry.name] = {"version": newest["model_version"], "seconds": seconds, "epochs": _epochs(newest)}
            told.write_text(json.dumps(versions, indent=1))
            print(f"{self.folder.name}: {entry.name} trained in {seconds:.0f} s", flush=True)
        self.versions = versions
        return str(versions[entry.name]["version"])

    def compare(self, first: str, others: Sequence[str]) -> pl.DataFrame:
        """Return the figures on the test targets of `first`, the others, and their paired differences."""
        self.run("train", settings=())  # the default is the candidate again
        self.run("recommend", "--force")
        self.run("evaluate", *(word for version in others for word in ("--against", version)))
        metrics = pl.read_delta(str(self.root / "metrics"))
        return metrics.filter(k=K, slice="all", protocol="leave_one_out_full")

    def run(self, job: str, *words: str, settings: Sequence[str] = ()) -> None:
        told = [word for setting in (*self.settings, *settings) for word in ("--set", setting)]
        command = [*SUBMIT, f"jobs/{job}.py", "--date", DAY, "--lake", str(self.root), *told, *words]
        log = self.folder / f"{job}.log"
        with log.open("w") as file:
            code = subprocess.run(command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, check=False).returncode
        if code:
            raise SystemExit(f"{job} failed, see {log}")


def _epochs(row: dict[str, object]) -> int:
    told = json.loads((Path(str(row["path"])) / "training.json").read_text())
    return int(told["best_epoch"])


def rows_of(name: str, entries: Sequence[Entry]) -> list[str]:
    """Return a line per entry and seed, trained and compared."""
    lines = []
    for seed in sorted({seed for entry in entries for seed in entry.seeds}):
        lake = Lake(name, seed)
        here = [entry for entry in entries if seed in entry.seeds]
        versions = {lake.train(entry): entry for entry in here}
        first, *others = versions
        metrics = lake.compare(first, others)
        lines += [_line(name, seed, metrics, version, entry, lake, first) for version, entry in versions.items()]
        if seed == SEED:
            lines += [_line(name, seed, metrics, "popular", Entry("most-popular"), lake, first)]
    return lines


def _line(name: str, seed: int, metrics: pl.DataFrame, version: str, entry: Entry, lake: Lake, first: str) -> str:
    found = metrics.filter(model_version=version, against="")
    hr, ndcg = (found.filter(metric=metric).row(0, named=True) for metric in ("hr", "ndcg"))
    told = lake.versions.get(entry.name, {})
    cells = [
        name, entry.name, str(seed), f"{ndcg['num_users']:,}", _short(hr["value"]), _with_interval(ndcg),
        _beside(metrics, first, version), str(told.get("epochs", "")), f"{told['seconds']:.0f}" if told else "",
        f"`{' '.join(entry.settings)}`" if entry.settings else "",
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def _beside(metrics: pl.DataFrame, first: str, version: str) -> str:
    paired = metrics.filter(model_version=first, against=version, metric="ndcg")
    if paired.is_empty():
        return ""
    row = paired.row(0, named=True)
    low, high, gain = -row["high"], -row["low"], -row["value"]
    counts = "" if low <= 0 <= high else " *"
    return f"{gain:+.4f} ({low:+.4f} to {high:+.4f}){counts}"


def _with_interval(row: dict[str, float]) -> str:
    return f"{_short(row['value'])} ({_short(row['low'])} to {_short(row['high'])})"


def _short(value: float) -> str:
    return f"{value:.4f}".lstrip("0")


COLUMNS = (
    "data", "model", "seed", "users", "HR@10", "NDCG@10 (95 %)", "NDCG@10 against the default (95 %)", "best epoch",
    "seconds", "settings",
)  # fmt: skip


def write_table(table: str) -> None:
    """Put the table where QUALITY.md has it."""
    told = TABLE.read_text()
    before, after = told[: told.index(BEGIN) + len(BEGIN)], told[told.index(END) :]
    TABLE.write_text(f"{before}\n{table}\n{after}")


def main(names: Sequence[str]) -> None:
    began = time.monotonic()
    lines = [line for name in names or list(SETS) for line in rows_of(name, SETS[name])]
    head = f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}"
    if not names:
        write_table("\n".join([head, *lines]))
    print("\n".join([head, *lines]))
    print(f"bench-quality: rows={len(lines)} seconds={time.monotonic() - began:.0f} cores={os.cpu_count()}")


if __name__ == "__main__":
    main(sys.argv[1:])

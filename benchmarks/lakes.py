"""A data set's lake per seed, in which models are trained on the same windows and compared on the same users.

What is trained or compared is written down at once, so a run that was cut off goes on where it was. What another
version of the code did is done again. The results are kept with the project (`measured`), the lakes are not: tables
stay whole where only a part of them is run, and models are trained again where their lake is gone before all are
compared.
"""

import json
import shutil
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from quality import ROOT, submit

from sparkrec.job import code_version

WORK = ROOT / "benchmarks" / "work" / "quality"
MEASURED = ROOT / "benchmarks" / "measured"
SEED = 7
K = 10
ONE_MEMBER = "train.members=1"
OF_LISTS = ["published", "realised"]
"""Protocols that measure lists, not what was held out."""
OF_HEADS = ["next_action", "own_action", "purchase"]
SLICES = ("all", "repeat", "novel", "interest shift")
"""Of rankings what is kept of them; of heads everything is."""
Rows = list[dict[str, Any]]
"""Rows of `metrics`."""


@dataclass(frozen=True)
class Entry:
    """A model to train: an architecture, or the default with something changed."""

    name: str
    settings: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (SEED,)


@dataclass(frozen=True)
class DataSet:
    """Clicks, the night to run, and settings of all jobs; `{folder}` stands for the folder of the lake."""

    name: str
    day: str
    source: str
    place: str
    protocol: str
    """Under which its figures stand in `metrics`."""
    settings: tuple[str, ...] = ()
    write: Callable[[Path, int | None], None] = lambda folder, num_users: None
    """Write the clicks into a folder, of so many users alone if that is told; nothing where they lie elsewhere."""

    def command(self) -> str:
        """Return what to type for the clicks to be taken in; later jobs need neither source nor input."""
        told = "".join(f"--set '{setting}' " for setting in self.settings)
        common = f"--date {self.day} --lake {{folder}}/lake {told}"
        return f"jobs/prepare.py {common}--source {self.source} --input {self.place}"


@dataclass(frozen=True)
class Scale:
    """How large a run is: everything, or a trial of the scripts that tells nothing of the models."""

    work: Path = WORK
    num_users: int | None = None
    settings: tuple[str, ...] = ()
    seeds: tuple[int, ...] | None = None

    @property
    def measured(self) -> Path:
        """Where results are kept: with the project, those of a trial beside its lakes."""
        return MEASURED if self.work == WORK else self.work

    def seeds_of(self, entry: Entry) -> tuple[int, ...]:
        return tuple(seed for seed in entry.seeds if self.seeds is None or seed in self.seeds)

    def page(self, name: str) -> Path:
        """Return the page whose tables are filled in: a copy of the real one, for a trial."""
        real = ROOT / "benchmarks" / name
        if self.num_users is None:
            return real
        self.work.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copy(real, self.work))

    @classmethod
    def trial(cls, num_users: int) -> "Scale":
        """Return the scale of a trial: few users, an epoch, a seed, a folder of its own."""
        return cls(WORK.with_name(f"trial-{num_users}"), num_users, ("train.max_epochs=1",), (SEED,))


class Lake:
    """A data set's lake for one seed, with what has been trained and compared in it."""

    def __init__(self, data: DataSet, seed: int, scale: Scale) -> None:
        self.data, self.seed = data, seed
        self.folder = scale.work / f"{data.name}-{seed}"
        self.settings = (*data.settings, *scale.settings, f"run.seed={seed}")
        self.num_users = scale.num_users
        self.results = scale.measured / f"{data.name}-{seed}.json"

    def measure(self, *comparisons: tuple[Entry, Sequence[Entry]]) -> None:
        """Train and compare what is not yet. In: comparisons: see `compare`."""
        if all(self.is_compared(first, others) for first, others in comparisons):
            return
        self.make()
        for entry in dict.fromkeys(entry for first, others in comparisons for entry in (first, *others)):
            self.train(entry)
        for first, others in comparisons:
            self.compare(first, others)

    def make(self) -> None:
        """Prepare and cut the windows, unless that was done."""
        ready, made = self.folder / "ready", "\n".join([code_version(), self.data.command(), *self.settings])
        if ready.exists() and ready.read_text() == made:
            return
        self.prepare()
        self.run("window")
        ready.write_text(made)

    def prepare(self) -> None:
        """Take in the clicks, in place of any lake that was there."""
        shutil.rmtree(self.folder / "lake", ignore_errors=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.data.write(self.folder, self.num_users)
        self.run("prepare", "--source", self._here(self.data.source), "--input", self._here(self.data.place))

    def trained(self, entry: Entry) -> dict[str, Any] | None:
        """Return what is known of the entry's model: version, settings, code, seconds, epochs, resumed, hr10, ndcg10,
        users, and `on`, the GPU, if its ranks ran elsewhere; None where it is yet to be trained."""
        told: dict[str, Any] | None = self._stored()["trained"].get(entry.name)
        return told if told and told["settings"] == list(entry.settings) else None

    def train(self, entry: Entry) -> str:
        """Return the version of the entry's model, trained before or now."""
        told = self._trained_now(entry)
        if told and (self.folder / "lake" / "_models" / told["version"]).exists():
            return str(told["version"])
        began = time.monotonic()
        self.run("train", settings=entry.settings)
        row = candidate_of(pl.read_delta(str(self.folder / "lake" / "models")).to_dicts())
        training = json.loads((Path(row["path"]) / "training.json").read_text())
        figures = dict(row["metrics"])
        told = {
            "version": row["model_version"], "settings": list(entry.settings), "code": code_version(),
            "seconds": time.monotonic() - began, "epochs": training["best_epoch"],
            "resumed": training["resumed_at"] > 0, "users": int(figures["test_users"]),
            "hr10": figures.get("test_hr10"), "ndcg10": figures.get("test_ndcg10"),
        }  # fmt: skip
        self._store("trained", entry.name, told)
        print(f"{self.folder.name}: {entry.name} trained in {told['seconds']:.0f} s", flush=True)
        return str(told["version"])

    def is_compared(self, first: Entry, others: Sequence[Entry]) -> bool:
        """Whether there is nothing left to train or to compare."""
        told = {entry.name: self._trained_now(entry) for entry in (first, *others)}
        versions = {name: one["version"] for name, one in told.items() if one}
        return len(versions) == len(told) and self._holds(first, versions)

    def compare(self, first: Entry, others: Sequence[Entry]) -> None:
        """Measure models on the same targets, and the first one's paired differences to the others, unless that was
        done with all of them."""
        versions = {entry.name: self.train(entry) for entry in (first, *others)}
        if self._holds(first, versions):
            return
        began = time.monotonic()
        self.run("train", settings=first.settings)  # reused, and the candidate again
        # What is measured here need not be fit to be published.
        self.run("recommend", "--force")
        against = [word for entry in others for word in ("--against", versions[entry.name])]
        self.run("evaluate", *against)
        metrics = pl.read_delta(str(self.folder / "lake" / "metrics"))
        is_ranking = (pl.col("k") == K) & pl.col("metric").is_in(["hr", "ndcg"]) & ~pl.col("protocol").is_in(OF_LISTS)
        is_ranking &= pl.col("slice").is_in(SLICES)
        rows = metrics.filter(is_ranking | pl.col("protocol").is_in(OF_HEADS)).drop("run_date").to_dicts()
        self._store("compared", first.name, {"versions": versions, "rows": rows})
        print(f"{self.folder.name}: {first.name} compared in {time.monotonic() - began:.0f} s", flush=True)

    def figures(self, first: Entry) -> Rows:
        """Return the rows of the entry's comparison, those of models that are trained anew since left out."""
        compared = self._stored()["compared"].get(first.name)
        if not compared:
            return []
        trained = self._stored()["trained"]
        now = {told["version"] for told in trained.values()}
        gone = set(compared["versions"].values()) - now
        return [row for row in compared["rows"] if not {row["model_version"], row["against"]} & gone]

    def run(self, job: str, *words: str, settings: Sequence[str] = ()) -> None:
        """Run a job to its end; it ends with this process."""
        told = [word for setting in (*self.settings, *settings) for word in ("--set", self._here(setting))]
        lake = ["--date", self.data.day, "--lake", str(self.folder / "lake")]
        submit(job, [*lake, *told, *words], self.folder / f"{job}.log")

    def _trained_now(self, entry: Entry) -> dict[str, Any] | None:
        """Return what is known of the entry's model if this version of the code trained it."""
        told = self.trained(entry)
        return told if told and told["code"] == code_version() else None

    def _holds(self, first: Entry, versions: Mapping[str, str]) -> bool:
        """Whether a comparison of these versions by entry is stored."""
        stored: dict[str, str] = self._stored()["compared"].get(first.name, {}).get("versions", {})
        return versions.items() <= stored.items()

    def _here(self, text: str) -> str:
        return text.replace("{folder}", str(self.folder))

    def _stored(self) -> dict[str, dict[str, Any]]:
        empty: dict[str, dict[str, Any]] = {"trained": {}, "compared": {}}
        return json.loads(self.results.read_text()) if self.results.exists() else empty

    def _store(self, kind: str, name: str, told: dict[str, Any]) -> None:
        stored = self._stored()
        stored[kind][name] = told
        self.results.parent.mkdir(parents=True, exist_ok=True)
        aside = self.results.with_suffix(".new")
        aside.write_text(json.dumps(stored, indent=1))
        aside.rename(self.results)


def candidate_of(models: Rows) -> dict[str, Any]:
    """Return the row of the model that was trained or used again last: the candidate, or else the champion, which stays
    one when it is used again."""
    by_status = {row["status"]: row for row in models}
    return by_status.get("candidate") or by_status["champion"]


def end_with_jobs() -> None:
    """Turn SIGTERM into an exception, so that a job that runs ends, too."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

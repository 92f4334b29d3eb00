"""What a model is worth on a file of sequences: full ranking, leave one out, through the jobs.

python benchmarks/quality.py --sequences FILE [--attributes FILE] [--model NAME] [--seed S] [--set section.key=value]

A line is `user item item …` in time order; ids are any strings. Attributes are one JSON object, item to list of ids.
Both may be gzip. The last item of a user is the test target, the one before it the validation target, by which the
epoch is chosen.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from sequences import DAY, SETTINGS, write_catalogue, write_clicks

ROOT = Path(__file__).parents[1]
SUBMIT = ["spark-submit", "--master", f"local[{min(2, os.cpu_count() or 1)}]"]
PATH = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
"""Where spark-submit and its Python are, also where the environment is not active."""


@dataclass(frozen=True)
class Quality:
    """What a run came to."""

    model: str
    users: int
    items: int
    hr10: float
    ndcg10: float
    seconds: float

    def __str__(self) -> str:
        return (
            f"quality: model={self.model} users={self.users} items={self.items} hr10={self.hr10:.4f}"
            f" ndcg10={self.ndcg10:.4f} seconds={self.seconds:.0f}"
        )


def run(
    work: Path, sequences: Path, attributes: Path | None, model: str | None, seed: int, minutes: float, *more: str
) -> Quality:
    """Prepare, cut windows, train, and read the test figures that train found. In: work, a new folder."""
    began = time.monotonic()
    clicks = write_clicks(sequences, work)
    lake = work / "lake"
    settings = [*SETTINGS, f"run.seed={seed}", f"train.max_minutes={minutes}", *more]
    settings += [f"train.model={model}"] if model else []
    settings += [f"prepare.catalogue={write_catalogue(attributes, work)}"] if attributes else []
    words = ["--date", DAY, "--lake", str(lake)]
    words += [word for setting in settings for word in ("--set", setting)]
    source = ["--source", str(clicks.with_name("sequences.yaml")), "--input", str(clicks)]
    for job, inputs in (("prepare", source), ("window", []), ("train", [])):
        log = work / f"{job}.log"
        submit(job, [*words, *inputs], log)
        print(_last_words(log.read_text(), job), flush=True)
    row = pl.read_delta(str(lake / "models")).row(0, named=True)
    figures = dict(row["metrics"])
    return Quality(
        row["model"],
        int(figures["test_users"]),
        row["vocabulary_size"] - 2,
        figures["test_hr10"],
        figures["test_ndcg10"],
        time.monotonic() - began,
    )


def submit(job: str, words: Sequence[str], log: Path) -> None:
    """Run a job to its end, with what it says in a file; it ends with this process."""
    command = [*SUBMIT, f"jobs/{job}.py", *words]
    with log.open("w") as file:
        process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **PATH}, stdout=file, stderr=file, start_new_session=True
        )
        try:
            code = process.wait()
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    if code:
        raise SystemExit(f"{log.read_text()[-4000:]}\n{' '.join(command)}: exit {code}")


def _last_words(output: str, job: str) -> str:
    lines = [line for line in output.replace("\r", "\n").splitlines() if line.startswith(f"{job}: ")]
    return lines[-1] if lines else f"{job}: done"


def main(words: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sequences", type=Path, required=True)
    parser.add_argument("--attributes", type=Path)
    parser.add_argument("--model", help="as in train.model; the default one if none is named")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--minutes", type=float, default=50, help="a guard: no epoch begins after so long")
    parser.add_argument("--set", action="append", default=[], help="any setting of the jobs")
    asked = parser.parse_args(words)
    for place in (asked.sequences, asked.attributes):
        if place is not None and not place.is_file():
            parser.error(f"{place}: no such file")
    work = Path(tempfile.mkdtemp(prefix="quality-", dir=os.environ.get("TMPDIR")))
    try:
        print(run(work, asked.sequences, asked.attributes, asked.model, asked.seed, asked.minutes, *asked.set))
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1:])

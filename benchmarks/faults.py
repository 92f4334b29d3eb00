"""Scripted faults, longer than tests may be: `make faults`.

A night is killed with SIGKILL in each of its five stages, and prepare between each two of its commits, then run again
with the same command; its tables must equal those of a night that nobody disturbed. Then every kind of unusable input
is given to the real command line, which must end with a code other than 0, name the place, and leave every table as it
was.
"""

import gzip
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import polars as pl
import psutil

ROOT = Path(__file__).parents[1]
DAY_BEFORE, DATE = "2024-03-04", "2024-03-05"
QUICK = ("train.max_epochs=3", "train.width=32", "train.batch_size_per_rank=32")
COMPARED = ("events", "quarantine", "items", "item_days", "histories", "windows", "recommendations", "metrics")


@dataclass(frozen=True)
class Outcome:
    fault: str
    passed: bool
    seconds: float
    observed: str


def night(sample: Path, lake: Path, *more: str, job: str = "nightly") -> list[str]:
    settings = [word for setting in QUICK for word in ("--set", setting)]
    source = ["--source", "conf/sources/sample.yaml", "--input", str(sample)]
    return ["spark-submit", f"jobs/{job}.py", *source, "--date", DATE, "--lake", str(lake), *settings, *more]


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def content(lake: Path, table: str) -> list[tuple[object, ...]]:
    rows = pl.read_delta(str(lake / table))
    return sorted(rows.select(sorted(rows.columns)).rows(), key=repr)


def commits(lake: Path) -> dict[str, int]:
    return {log.parent.name: len(list(log.glob("*.json"))) for log in lake.glob("*/_delta_log")}


@dataclass(frozen=True)
class Moment:
    """When to pull the plug, seen from traces in the lake (glob patterns): from `reached` on, and before `passed`."""

    name: str
    reached: str
    passed: str


def commit_of(table: str, version: int) -> str:
    return f"{table}/_delta_log/{version:020d}.json"


# A table's version 0 is empty.
FIRST_NIGHT = [
    Moment("prepare, splits at work and nothing written", "_staging/steps", commit_of("quarantine", 1)),
    Moment("prepare, events written and items not", commit_of("events", 1), commit_of("items", 1)),
    Moment("window, files written and not committed", "_staging/windows/*/*", commit_of("windows", 1)),
    Moment("train, model saved and not yet in models", "_models/*/training.json", commit_of("models", 1)),
    Moment("recommend, staged, not published", "_scored/*/recommendations", commit_of("recommendations", 1)),
    Moment("recommend, published and the champion not named", commit_of("recommendations", 1), commit_of("models", 2)),
    Moment("evaluate, its table made and nothing in it", "metrics", commit_of("metrics", 1)),
]


def second_night_moments(before: dict[str, int]) -> list[Moment]:
    """Moments between the commits of prepare, on top of a night that is there. In: commits that the tables have."""
    order = ("quarantine", "events", "item_days", "items", "histories", "runs")
    return [
        Moment(
            f"a second night, {one} written and {other} not",
            commit_of(one, before[one]),
            commit_of(other, before[other]),
        )
        for one, other in pairwise(order)
    ]


def kill_at(command: list[str], lake: Path, moment: Moment) -> str:
    """Run the command and kill all its processes at the moment; say how it went."""
    process = subprocess.Popen(
        command, cwd=ROOT, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    driver = None
    while not any(lake.glob(moment.reached)):
        if process.poll() is not None:
            return "ended before the moment came"
        driver = driver or next((one for one in members(process.pid) if is_driver(one)), None)
        time.sleep(0.001 if driver else 0.1)
    kill([*([driver] if driver else []), *members(process.pid)])
    process.wait()
    return "missed" if any(lake.glob(moment.passed)) else "killed"


def kill(processes: Iterable[psutil.Process]) -> None:
    for process in processes:
        try:
            process.send_signal(signal.SIGKILL)
        except (ProcessLookupError, psutil.Error):
            continue


def is_driver(process: psutil.Process) -> bool:
    try:
        return "jobs/" in " ".join(process.cmdline()[1:2])
    except psutil.Error:  # it has ended meanwhile
        return False


def members(session: int) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == session:
                yield process
        except (ProcessLookupError, psutil.Error):
            continue


def kill_and_repeat(
    moments: list[Moment], start: Callable[[Path], list[str]], base: Path | None, whole: Path
) -> list[Outcome]:
    """Kill a command at every moment, each on a lake of its own, run it again, and compare with an unbroken lake."""
    outcomes = []
    for number, moment in enumerate(moments):
        started = time.monotonic()
        for attempt in range(5):  # the next commit may follow within milliseconds
            lake = whole.with_name(f"killed-{whole.name}-{number}-{attempt}")
            if base:
                shutil.copytree(base, lake)
            how = kill_at(start(lake), lake, moment)
            if how != "missed":
                break
        again = run(start(lake))
        there = [name for name in COMPARED if (whole / name).exists()]
        differ = [name for name in there if again.returncode or content(lake, name) != content(whole, name)]
        observed = f"{how}; run again: code {again.returncode}, tables that differ: {', '.join(differ) or 'none'}"
        passed = how == "killed" and not again.returncode and not differ
        outcomes.append(Outcome(f"SIGKILL in {moment.name}", passed, time.monotonic() - started, observed))
        print(f"  {outcomes[-1]}", flush=True)
    return outcomes


def second_nights(sample: Path, folder: Path) -> list[Outcome]:
    """Kill prepare between each two of its commits when the lake has a night, and late rows change its days."""

    def prepare(lake: Path, date: str = DATE) -> list[str]:
        loose = ("--set", "prepare.max_quarantine_share=0.5")  # in a small sample a bot's day is a large share
        return night(sample / f"{date}.csv", lake, "--date", date, *loose, job="prepare")

    base, whole = folder / "one-night", folder / "two-nights"
    before_night = [run(prepare(base, DAY_BEFORE)).returncode]
    before = commits(base)
    shutil.copytree(base, whole)
    before_night.append(run(prepare(whole)).returncode)
    second = whole / commit_of("events", before["events"])
    if any(before_night) or not second.exists() or '"remove"' not in second.read_text():
        sys.exit("faults: the undisturbed second night failed, or had no late rows")
    return kill_and_repeat(second_night_moments(before), prepare, base, whole)


def two_at_once(sample: Path, folder: Path, unbroken: Path) -> list[Outcome]:
    """Start the same command while it is running: one of them is refused, and the other one's tables stand."""
    started = time.monotonic()
    command = night(sample, folder / "twice", job="prepare")
    first = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (folder / "twice" / "_lock").exists() and first.poll() is None:
        time.sleep(0.01)
    second = run(command)
    said = second.stdout + second.stderr
    ended = first.wait()
    tables = ("events", "items", "histories")
    differ = [name for name in tables if ended or content(folder / "twice", name) != content(unbroken, name)]
    passed = second.returncode == 1 and "another job is writing it" in said and not differ
    observed = f"codes {ended} and {second.returncode}: {said.strip().splitlines()[-1][-120:]}"
    return [Outcome("the same date twice at once", passed, time.monotonic() - started, observed)]


def bad_inputs(sample: Path, folder: Path, lake: Path) -> list[Outcome]:
    (folder / "empty.csv").write_text("")
    good = (sample / f"{DATE}.csv").read_text()
    (folder / "no_column.csv").write_text(good.replace("item_id", "article", 1))
    (folder / "header.csv").write_text(good.split("\n", maxsplit=1)[0] + "\n")
    rows = good.split("\n")
    packed = gzip.compress((good * 20).encode())
    (folder / "broken.csv.gz").write_bytes(packed[: len(packed) // 2])
    times = [str(1_709_600_000_000 + n) for n in range(len(rows))]
    (folder / "millis.csv").write_text(
        "\n".join([rows[0], *(",".join([t, *r.split(",")[1:]]) for t, r in zip(times, rows[1:], strict=False) if r)])
    )
    seconds = folder / "seconds.yaml"
    seconds.write_text((ROOT / "conf/sources/sample.yaml").read_text().replace("unit: iso", "unit: seconds"))
    # The last fifth: the first third is the day's bot, and would be refused for that.
    (folder / "half.csv").write_text("\n".join([rows[0], *rows[-len(rows) // 5 :]]))
    (folder / "text.csv").write_text(
        "\n".join([rows[0], *(",".join(["soon", *r.split(",")[1:]]) for r in rows[1:] if r)])
    )
    (folder / "file").write_text("")
    cases: dict[str, tuple[list[str], str]] = {
        "a file that is not there": (["--input", str(folder / "nowhere.csv")], "no such file"),
        "an empty file": (["--input", str(folder / "empty.csv")], "empty"),
        "a file with a header only": (["--input", str(folder / "header.csv")], "no rows"),
        "a date without rows": (["--date", "2023-01-01"], "no row of 2023-01-01"),
        "a mapping that names a column the file lacks": (["--input", str(folder / "no_column.csv")], "maps item_id"),
        "text where a time should be": (["--input", str(folder / "text.csv")], "bad time"),
        "text where a number should be": (["--set", "recommend.top_n=ten"], "recommend.top_n: wanted"),
        "a gzip that breaks off": (["--input", str(folder / "broken.csv.gz")], "no table was changed"),
        "milliseconds where seconds were said": (
            ["--source", str(seconds), "--input", str(folder / "millis.csv")],
            "bad time",
        ),
        "a fifth of a day's file": (["--input", str(folder / "half.csv")], "is the delivery complete"),
        "a misspelt setting": (["--set", "train.max_epoch=3"], "did you mean 'max_epochs'"),
        "a value out of range": (["--set", "train.dropout=2"], "train.dropout: wanted less than 1"),
        "a lake that cannot be written": (["--lake", str(folder / "file" / "lake")], "cannot be written"),
        "a date that is none": (["--date", "tomorrow"], "wanted a day"),
    }
    outcomes = []
    before = commits(lake)
    for fault, (words, told) in cases.items():
        started = time.monotonic()
        ended = run(night(sample, lake, *words))
        # spark-submit hands Python's error stream on as its output.
        said = (ended.stdout + ended.stderr).strip()
        last = ended.stdout.strip().splitlines()[-1] if ended.stdout.strip() else said
        passed = ended.returncode != 0 and told in said and commits(lake) == before
        outcomes.append(Outcome(fault, passed, time.monotonic() - started, f"code {ended.returncode}: {last[-160:]}"))
        print(f"  {outcomes[-1]}", flush=True)
    return outcomes


def full_disk(sample: Path, folder: Path) -> list[Outcome]:
    """Give the lake a file system of a few megabytes; needs the right to mount one."""
    small = folder / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=700k", "tmpfs", str(small)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        return [Outcome("a full disk", False, 0.0, "not tried: this user may not mount a small file system")]
    try:
        started = time.monotonic()
        ended = run(night(sample, small / "lake", job="prepare"))
        said = ended.stdout + ended.stderr
        tables = [name for name in commits(small / "lake") if (small / "lake" / name / "_delta_log").exists()]
        passed = ended.returncode != 0 and "No space left" in said and not tables
        lines = [line for line in said.splitlines() if "No space left" in line]
        observed = f"code {ended.returncode}: {(lines or [said])[-1][-160:]}; tables: {', '.join(tables) or 'none'}"
        return [Outcome("a full disk", passed, time.monotonic() - started, observed)]
    finally:
        subprocess.run(["umount", str(small)], check=False)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="sparkrec-faults-") as name:
        folder = Path(name)
        sample, unbroken = folder / "sample", folder / "unbroken"
        size = ["--events", "15000", "--users", "500", "--items", "300", "--days", "5"]
        run([sys.executable, "-m", "sparkrec.sample", *size, "--out", str(sample)])
        first = run(night(sample, unbroken))
        if first.returncode:
            sys.exit(f"faults: the undisturbed night failed\n{first.stderr}")
        outcomes = full_disk(sample, folder) + bad_inputs(sample, folder, unbroken)
        outcomes += two_at_once(sample, folder, unbroken) + second_nights(sample, folder)
        outcomes += kill_and_repeat(FIRST_NIGHT, lambda lake: night(sample, lake), None, unbroken)
        show("faults", outcomes, folder)


def show(name: str, outcomes: list[Outcome], folder: Path) -> None:
    """Print the table and the last line, and end with a code that says whether all passed."""
    print("| fault | passed | seconds | observed |\n|---|---|---|---|")
    for outcome in outcomes:
        passed = "yes" if outcome.passed else "**no**"
        print(f"| {outcome.fault} | {passed} | {outcome.seconds:.0f} | {outcome.observed.replace(str(folder), '…')} |")
    num_passed = sum(outcome.passed for outcome in outcomes)
    print(f"{name}: passed={num_passed} failed={len(outcomes) - num_passed}")
    sys.exit(num_passed != len(outcomes))


if __name__ == "__main__":
    main()

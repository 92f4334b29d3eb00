"""Scripted faults, longer than tests may be: `make faults`.

A night is killed with SIGKILL in each of its five stages, then run again with the same command; its tables must equal
those of a night that nobody disturbed. Then every kind of unusable input is given to the real command line, which must
end with a code other than 0, name the place, and leave every table as it was.
"""

import gzip
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import psutil

ROOT = Path(__file__).parents[1]
DATE = "2024-03-05"
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


def written(lake: Path, table: str, commit: int = 1) -> Callable[[], bool]:
    return (lake / table / "_delta_log" / f"{commit:020d}.json").exists


def kill_moments(lake: Path) -> dict[str, Callable[[], bool]]:
    """When to pull the plug: a moment inside each stage, seen from its traces in the lake."""
    return {
        "prepare, splits at work and nothing written": (lake / "_staging" / "steps").exists,
        "prepare, events written and the rest not": written(lake, "events"),
        "prepare, items written and histories not": written(lake, "items"),
        "window, its table made and nothing in it": (lake / "windows").exists,
        "train, model saved and not yet in models": lambda: bool(list(lake.glob("_models/*/training.json"))),
        "recommend, the night staged and not published": (lake / "_staging" / "recommendations").exists,
        "recommend, published and the champion not named": written(lake, "recommendations"),
        "evaluate, its table made and nothing in it": (lake / "metrics").exists,
    }


def kill_at(command: list[str], moment: Callable[[], bool]) -> str:
    process = subprocess.Popen(
        command, cwd=ROOT, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while not moment():
        if process.poll() is not None:
            return "ended before the moment came"
        time.sleep(0.01)
    for member in psutil.process_iter():
        try:
            if os.getsid(member.pid) == process.pid:
                member.send_signal(signal.SIGKILL)
        except (ProcessLookupError, psutil.Error):
            continue
    process.wait()
    return "killed"


def kills(sample: Path, folder: Path, unbroken: Path) -> list[Outcome]:
    outcomes = []
    for number, fault in enumerate(kill_moments(folder)):
        lake = folder / f"killed-{number}"
        started = time.monotonic()
        how = kill_at(night(sample, lake), kill_moments(lake)[fault])
        again = run(night(sample, lake))
        differ = [name for name in COMPARED if again.returncode or content(lake, name) != content(unbroken, name)]
        observed = f"{how}; run again: code {again.returncode}, tables that differ: {', '.join(differ) or 'none'}"
        passed = how == "killed" and not again.returncode and not differ
        outcomes.append(Outcome(f"SIGKILL in {fault}", passed, time.monotonic() - started, observed))
        print(f"  {outcomes[-1]}", flush=True)
    return outcomes


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
    (folder / "half.csv").write_text("\n".join(rows[: len(rows) // 3]))
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
        "a third of a day's file": (["--input", str(folder / "half.csv")], "is the delivery complete"),
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
        outcomes = full_disk(sample, folder) + bad_inputs(sample, folder, unbroken) + kills(sample, folder, unbroken)
    print("| fault | passed | seconds | observed |\n|---|---|---|---|")
    for outcome in outcomes:
        passed = "yes" if outcome.passed else "**no**"
        print(f"| {outcome.fault} | {passed} | {outcome.seconds:.0f} | {outcome.observed.replace(str(folder), '…')} |")
    num_passed = sum(outcome.passed for outcome in outcomes)
    print(f"faults: passed={num_passed} failed={len(outcomes) - num_passed}")
    sys.exit(num_passed != len(outcomes))


if __name__ == "__main__":
    main()

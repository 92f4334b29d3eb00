"""What every job shares: its arguments, its checks before Spark starts, its session, and its row in `runs`."""

import hashlib
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path

from pyspark.sql import SparkSession

import sparkrec
from sparkrec.arguments import Asked, parse
from sparkrec.config import Settings
from sparkrec.config.load import settings_hash
from sparkrec.errors import RefusedError, SparkrecError
from sparkrec.lake import Lake, check_writable, locked
from sparkrec.session import start_session
from sparkrec.spark_errors import cause_of
from sparkrec.tables import ALL, RUNS


@dataclass
class Run:
    """One execution of one job for one date: what it may read, and what it reports."""

    job: str
    asked: Asked
    spark: SparkSession
    lake: Lake
    started_at: datetime
    rows_in: int = 0
    messages: list[str] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)
    """What the job measured, by name; kept in `runs`, and shown by a later stage of the same command."""
    last_words: str = ""
    """The last line that is printed, for scripts."""

    @property
    def date(self) -> date:
        return self.asked.date

    @property
    def settings(self) -> Settings:
        return self.asked.settings

    @property
    def seed(self) -> int:
        return self.settings.run.seed

    def say(self, sentence: str) -> None:
        """Tell the person one sentence, and keep it for `runs`."""
        self.messages.append(sentence)
        print(f"{self.job}: {sentence}", flush=True)


Main = Callable[[Run], None]
Around = Callable[[str, SparkSession, Asked], AbstractContextManager[None]]
"""From the lake's root, the session and what was asked to what a job is carried out within. Jobs bring it along: only
they pay for what it imports."""


def alone(root: str, spark: SparkSession, asked: Asked) -> AbstractContextManager[None]:
    """Carry out a job within nothing."""
    return nullcontext()


def start(description: str, main: Main, around: Around = alone) -> None:
    """Run a job as a program: exit code 0 when its tables for the date are complete, 1 otherwise."""
    job, asked_at = Path(sys.argv[0]).stem, now()
    try:
        asked = parse(job, description, sys.argv[1:])
        check_writable(asked.settings.lake.root)
        _end_with_spark()
        with locked(asked.settings.lake.root):
            spark = start_session(asked.settings.spark)
            try:
                carry_out(job, asked, asked_at, spark, main, around)
            finally:
                spark.stop()
    except SparkrecError as error:
        print(f"{job}: {error}", file=sys.stderr)
        sys.exit(1)
    except Exception:
        traceback.print_exc()
        print(f"{job}: failed unexpectedly (above); readers still see the previous tables", file=sys.stderr)
        sys.exit(1)


def carry_out(
    job: str, asked: Asked, asked_at: datetime, spark: SparkSession, main: Main, around: Around = alone
) -> Run:
    """Run `main` of a stage, recorded in `runs`, or of the nightly chain, whose stages record themselves."""
    lake = Lake(spark, asked.settings.lake.root)
    run = Run(job, asked, spark, lake, asked_at)
    with around(lake.root, spark, asked):
        if job == "nightly":
            main(run)
        else:
            execute(run, main)
    if run.last_words:
        print(run.last_words, flush=True)
    return run


def execute(run: Run, main: Main) -> None:
    """Run one stage and record it. What was refused before any write leaves no row; a failure later does."""
    started = time.monotonic()
    try:
        main(run)
    except RefusedError:
        raise
    except Exception as error:
        _record(run, "failed", cause_of(error) or type(error).__name__)
        raise
    run.say(f"done in {time.monotonic() - started:.1f} s")
    _record(run, "complete", "; ".join(run.messages))


def stage_of(run: Run, job: str) -> Run:
    """Return a fresh run of another job for the same date, session and arguments."""
    return Run(job, run.asked, run.spark, Lake(run.spark, run.settings.lake.root), now())


def now() -> datetime:
    """The clock is read here and nowhere else."""
    return datetime.now(UTC)


def code_version() -> str:
    """Return 12 hex digits over the package's source: what ran, also where git is not."""
    digest = hashlib.sha256()
    root = Path(sparkrec.__file__).parent
    for file in sorted(root.rglob("*.py")):
        digest.update(str(file.relative_to(root)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:12]


def _end_with_spark() -> None:
    """End when spark-submit's JVM is killed: this process would go on holding the lake's lock, and never finish."""
    parent = os.getppid()
    try:
        is_jvm = Path(f"/proc/{parent}/comm").read_text().strip() == "java"
    except OSError:
        return

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGKILL)

    if is_jvm:
        threading.Thread(target=watch, daemon=True).start()


def _record(run: Run, status: str, message: str) -> None:
    if status == "failed" and not any(run.lake.has(table) for table in ALL):
        return
    row = {
        "run_id": f"{run.job}@{run.date}@{int(run.started_at.timestamp() * 1e6)}",
        "job": run.job,
        "run_date": run.date,
        "started_at": run.started_at,
        "ended_at": now(),
        "status": status,
        "rows_in": run.rows_in,
        "rows_out": dict(run.lake.rows_out),
        "versions_read": dict(run.lake.versions_read),
        "versions_written": dict(run.lake.versions_written),
        "settings_hash": settings_hash(run.settings, tuple(Settings.model_fields)),
        "code_version": code_version(),
        "message": message,
        "figures": {name: float(value) for name, value in run.figures.items()},
    }
    run.lake.append(RUNS, [row])

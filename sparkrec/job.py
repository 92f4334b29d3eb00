"""What every job shares: its arguments, its checks before Spark starts, its session, and its row in `runs`."""

import argparse
import hashlib
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

import sparkrec
from sparkrec.config import Settings, Source, load_settings, load_source
from sparkrec.config.load import settings_hash
from sparkrec.errors import RefusedError, SparkrecError
from sparkrec.lake import Lake, check_writable, locked
from sparkrec.prepare.inputs import Input, latest_sample_day, resolve_input
from sparkrec.session import start_session
from sparkrec.tables import ALL, RUNS

SAMPLE = "conf/sources/sample.yaml"
PUBLISHES = ("recommend", "nightly")
"""Jobs that take --force."""


@dataclass
class Run:
    """One execution of one job for one date: what it may read, and what it reports."""

    job: str
    date: date
    settings: Settings
    spark: SparkSession
    lake: Lake
    started_at: datetime
    source: Source | None = None
    input: Input | None = None
    force: bool = False
    """Publish although a check raises doubts."""
    rows_in: int = 0
    messages: list[str] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)
    """What the job measured, by name; kept in `runs`, and shown by a later stage of the same command."""

    @property
    def seed(self) -> int:
        return self.settings.run.seed

    @property
    def clicks(self) -> tuple[Source, Input]:
        """The source and the input of a job that reads raw clicks."""
        if self.source is None or self.input is None:
            raise RefusedError(f"{self.job}: needs --source and --input")
        return self.source, self.input

    def say(self, sentence: str) -> None:
        """Tell the person one sentence, and keep it for `runs`."""
        self.messages.append(sentence)
        print(f"{self.job}: {sentence}", flush=True)


Main = Callable[[Run], None]


@dataclass(frozen=True)
class Order:
    """A job as it was asked for: parsed and checked, before Spark starts."""

    job: str
    date: date
    settings: Settings
    source: Source | None
    input: Input | None
    asked_at: datetime
    force: bool = False


def start(description: str, main: Main, *, reads_clicks: bool = False) -> None:
    """Run a job as a program: exit code 0 when its tables for the date are complete, 1 otherwise."""
    job = Path(sys.argv[0]).stem
    try:
        order = take_order(job, description, sys.argv[1:], reads_clicks=reads_clicks)
        _end_with_spark()
        with locked(order.settings.lake.root):
            spark = start_session(order.settings.spark)
            try:
                carry_out(order, spark, main)
            finally:
                spark.stop()
    except SparkrecError as error:
        print(f"{job}: {error}", file=sys.stderr)
        sys.exit(1)
    except Exception:
        traceback.print_exc()
        print(f"{job}: failed unexpectedly (above); readers still see the previous tables", file=sys.stderr)
        sys.exit(1)


def take_order(job: str, description: str, words: list[str], *, reads_clicks: bool) -> Order:
    """Parse the arguments and check all that can be checked without Spark."""
    asked_at = now()
    arguments = _parse(description, words, reads_clicks, publishes=job in PUBLISHES)
    settings = load_settings(arguments.config, arguments.set, arguments.lake)
    source, place, run_date = _what_to_read(arguments, reads_clicks)
    check_writable(settings.lake.root)
    return Order(job, run_date, settings, source, place, asked_at, arguments.force)


def carry_out(order: Order, spark: SparkSession, main: Main) -> Run:
    """Run `main` of a stage, recorded in `runs`, or of the nightly chain, whose stages record themselves."""
    lake = Lake(spark, order.settings.lake.root)
    run = Run(
        order.job, order.date, order.settings, spark, lake, order.asked_at, order.source, order.input, order.force
    )
    if order.job == "nightly":
        main(run)
    else:
        execute(run, main)
    return run


def execute(run: Run, main: Main) -> None:
    """Run one stage and record it. What was refused before any write leaves no row; a failure later does."""
    started = time.monotonic()
    try:
        main(run)
    except RefusedError:
        raise
    except Exception as error:
        _record(run, "failed", str(error).strip().split("\n")[0][:2000] or type(error).__name__)
        raise
    run.say(f"done in {time.monotonic() - started:.1f} s")
    _record(run, "complete", "; ".join(run.messages))


def stage_of(run: Run, job: str) -> Run:
    """Return a fresh run of another job for the same date, session and arguments."""
    lake = Lake(run.spark, run.settings.lake.root)
    return Run(job, run.date, run.settings, run.spark, lake, now(), run.source, run.input, run.force)


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


def _parse(description: str, words: list[str], reads_clicks: bool, publishes: bool) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", metavar="FILE", default="conf/local.yaml", help="settings (conf/local.yaml)")
    parser.add_argument("--date", metavar="YYYY-MM-DD", type=_day, help="the night to run (the sample's last day)")
    parser.add_argument("--lake", metavar="PATH", help="folder of the tables (lake.root)")
    parser.add_argument("--set", metavar="section.key=value", action="append", default=[], help="change one setting")
    if reads_clicks:
        parser.add_argument("--source", metavar="FILE", help="mapping of the raw format, from conf/sources/")
        parser.add_argument("--input", metavar="PATH", help="raw clicks: a file, a folder or a glob")
    if publishes:
        parser.add_argument("--force", action="store_true", help="publish although a check raises doubts")
    else:
        parser.set_defaults(force=False)
    return parser.parse_args(words)


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"wanted a day such as 2019-10-31, found '{text}'") from error


def _what_to_read(arguments: Any, reads_clicks: bool) -> tuple[Source | None, Input | None, date]:
    if not reads_clicks:
        if arguments.date is None:
            return None, None, latest_sample_day(load_source(SAMPLE))
        return None, None, arguments.date
    on_sample = arguments.source is None and arguments.input is None
    if arguments.source is None and not on_sample:
        raise RefusedError("--input needs --source FILE, the mapping of its format; conf/sources/ has those that exist")
    source = load_source(SAMPLE if on_sample else arguments.source)
    run_date = arguments.date
    if run_date is None:
        if not on_sample:
            raise RefusedError("--date YYYY-MM-DD is needed with a --source of your own: the night to run")
        run_date = latest_sample_day(source)
    return source, resolve_input(source, arguments.input, run_date), run_date

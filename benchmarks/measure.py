"""Run a command and measure all its processes: seconds, CPU seconds, and the largest sum of their memory (PSS)."""

import os
import signal
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

EVERY_S = 0.5
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Measured:
    """What a command took. `cpu_s` counts every process of its session, also those that ended before it did."""

    seconds: float = 0.0
    cpu_s: float = 0.0
    peak_bytes: int = 0
    worker_peak_bytes: int = 0
    """Largest resident memory of one of Spark's Python workers, pages that they share included."""
    written_bytes: int = 0
    """What went to the disk or would have: tables, shuffle and staging."""
    output: str = ""
    code: int = 0
    cpu_by_process: dict[str, float] = field(default_factory=dict)
    written_by_process: dict[str, int] = field(default_factory=dict)


def measure(command: list[str], environment: dict[str, str] | None = None) -> Measured:
    """Run `command` in a session of its own; raise with its output if it fails."""
    found = Measured()
    started = time.monotonic()
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, **(environment or {})},
    )
    done = threading.Event()
    sampler = threading.Thread(target=_sample, args=(process.pid, found, done))
    sampler.start()
    try:
        found.output = process.communicate()[0]
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    finally:
        done.set()
        sampler.join()
    found.seconds = time.monotonic() - started
    found.cpu_s = sum(found.cpu_by_process.values())
    found.written_bytes = sum(found.written_by_process.values())
    found.code = process.returncode
    if found.code:
        raise SystemExit(f"{' '.join(command)}: exit {found.code}\n{found.output[-4000:]}")
    return found


def _sample(session: int, found: Measured, done: threading.Event) -> None:
    while not done.wait(EVERY_S):
        pss = 0
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit():
                continue
            try:
                fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
                if int(fields[3]) != session:
                    continue
                found.cpu_by_process[folder.name] = (int(fields[11]) + int(fields[12])) / TICKS
                written = (folder / "io").read_text().split("\nwrite_bytes:")[1].split()[0]
                found.written_by_process[folder.name] = int(written)
                memory = (folder / "smaps_rollup").read_text()
                pss += _bytes(memory, "Pss:")
                if b"pyspark.worker" in (folder / "cmdline").read_bytes():
                    found.worker_peak_bytes = max(found.worker_peak_bytes, _bytes(memory, "Rss:"))
            except (OSError, IndexError):
                continue
        found.peak_bytes = max(found.peak_bytes, pss)


def _bytes(memory: str, name: str) -> int:
    return int(memory.split(name)[1].split(maxsplit=1)[0]) * 1024


def tree_cpu_s(root: int) -> float:
    """Return the CPU seconds of a process and of all that it has started, also of what has ended."""
    total = 0.0
    for process in (psutil.Process(root), *psutil.Process(root).children(recursive=True)):
        times = process.cpu_times()
        total += times.user + times.system + times.children_user + times.children_system
    return total

"""What ranks leave for the driver in the attempt's folder: progress, completion marks, and why one failed."""

import json
import sys
import threading
import time
from pathlib import Path

from tqdm import tqdm

REPORT_EVERY_S = 0.5
_last_report = 0.0


def report(
    attempt: Path, rank: int, step: int, steps: int, epoch: int, loss: float, best: float, started: float
) -> None:
    """Rank 0 says how far it is, at most twice a second."""
    global _last_report  # noqa: PLW0603 - one rank per process
    now = time.monotonic()
    if rank != 0 or now - _last_report < REPORT_EVERY_S:
        return
    _last_report = now
    told = {
        "step": step,
        "steps": steps,
        "epoch": epoch,
        "loss": loss,
        "ndcg10": max(best, 0.0),
        "seconds": now - started,
    }
    aside = attempt / "progress.writing"
    aside.write_text(json.dumps(told), encoding="utf-8")
    aside.rename(attempt / "progress.json")


def mark_done(attempt: Path, rank: int) -> None:
    (attempt / f"done-{rank}").touch()


def mark_failed(attempt: Path, rank: int, reason: str, trace: str) -> None:
    (attempt / f"failed-{rank}").write_text(reason + "\n" + trace, encoding="utf-8")


def failures(attempt: Path) -> list[str]:
    """Return a line per rank that said why it failed, the earliest first."""
    told = sorted(attempt.glob("failed-*"), key=lambda file: file.stat().st_mtime)
    return [
        f"rank {file.name.removeprefix('failed-')}: {file.read_text(encoding='utf-8').splitlines()[0]}" for file in told
    ]


def missing_ranks(attempt: Path, num_ranks: int) -> list[int]:
    return [rank for rank in range(num_ranks) if not (attempt / f"done-{rank}").exists()]


class Bar:
    """A progress bar on the driver's terminal that follows rank 0's reports; nothing where there is no terminal."""

    def __init__(self, attempt: Path) -> None:
        self._file = attempt / "progress.json"
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> "Bar":
        if sys.stderr.isatty():
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _follow(self) -> None:
        with tqdm(desc="train", unit="step", dynamic_ncols=True, leave=False) as bar:
            while not self._stopping.wait(REPORT_EVERY_S):
                try:
                    told = json.loads(self._file.read_text(encoding="utf-8"))
                except (OSError, ValueError):
                    continue
                bar.total = told["steps"]
                bar.set_postfix(
                    epoch=told["epoch"],
                    loss=f"{told['loss']:.3f}",
                    ndcg10=f"{told['ndcg10']:.4f}",
                    refresh=False,
                )
                bar.update(told["step"] - bar.n)

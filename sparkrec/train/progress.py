"""What ranks leave for the driver in the attempt's folder: progress, completion marks, and why one failed."""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from sparkrec.session import on_terminal

REPORT_EVERY_S = 0.5
TELL_EVERY_S = 30.0
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
    """Follows rank 0's reports on the driver: a bar on a terminal, a plain line now and then in a log."""

    def __init__(self, attempt: Path) -> None:
        self._file = attempt / "progress.json"
        self._stopping = threading.Event()
        follow = self._draw if on_terminal() else self._tell
        self._thread = threading.Thread(target=follow, daemon=True)

    def __enter__(self) -> "Bar":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _reports(self, every_s: float) -> Iterator[dict[str, float]]:
        while not self._stopping.wait(every_s):
            try:
                yield json.loads(self._file.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                continue

    def _tell(self) -> None:
        for told in self._reports(TELL_EVERY_S):
            speed = told["step"] / max(told["seconds"], 1e-9)
            print(
                f"train: epoch {told['epoch']}, step {told['step']:,} of at most {told['steps']:,},"
                f" loss {told['loss']:.3f}, best NDCG@10 {told['ndcg10']:.4f}, {speed:.1f} steps/s",
                flush=True,
            )

    def _draw(self) -> None:
        with tqdm(desc="train", unit="step", leave=False) as bar:
            for told in self._reports(REPORT_EVERY_S):
                bar.total = told["steps"]
                bar.set_postfix(
                    epoch=told["epoch"],
                    loss=f"{told['loss']:.3f}",
                    ndcg10=f"{told['ndcg10']:.4f}",
                    refresh=False,
                )
                bar.update(told["step"] - bar.n)

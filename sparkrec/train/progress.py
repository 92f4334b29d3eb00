"""What ranks leave for the driver in the attempt's folder: progress, completion marks, and why one failed."""

import contextlib
import json
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from tqdm import tqdm

from sparkrec.session import on_terminal

REPORT_EVERY_S = 0.5
TELL_EVERY_S = 30.0
ECHOES = ("Connection closed by peer", "Connection reset by peer", "gloo/transport", "NCCL", "Broken pipe")
_last_report = 0.0


def report(attempt: Path, told: Mapping[str, float]) -> None:
    """Say how far the training is, at most twice a second: what `Bar` reads."""
    global _last_report  # noqa: PLW0603 - one rank per process
    now = time.monotonic()
    if now - _last_report < REPORT_EVERY_S:
        return
    _last_report = now
    _leave(attempt / "progress.json", told)


class EndedError(BaseException):
    """Another process ended this rank: torchrun does where one of its ranks has failed."""


def clear_marks(attempt: Path) -> None:
    """Forget what ranks of an earlier attempt said; its checkpoints stay."""
    for pattern in ("done-*", "failed-*", "progress.*"):
        for mark in attempt.glob(pattern):
            mark.unlink()


def mark_done(attempt: Path, rank: int) -> None:
    (attempt / f"done-{rank}").touch()


def mark_failed(attempt: Path, rank: int, error: BaseException, trace: str) -> None:
    """Say why this rank failed, or that it only heard of another's end."""
    is_echo = isinstance(error, EndedError) or any(word in str(error) for word in ECHOES)
    told = {"reason": f"{type(error).__name__}: {error}", "is_echo": is_echo, "trace": trace}
    _leave(attempt / f"failed-{rank}", told)


def reasons(attempt: Path, num_ranks: int) -> list[str]:
    """Return a line per rank that is to blame: those that failed by themselves, else those that went silently.

    A rank that lost the connection to another one only tells of that one's end.
    """
    failed = {}
    for rank in range(num_ranks):
        with contextlib.suppress(OSError, ValueError):  # it left none, or a disk was full
            failed[rank] = json.loads((attempt / f"failed-{rank}").read_text(encoding="utf-8"))
    blamed = [f"rank {rank}: {told['reason']}" for rank, told in failed.items() if not told["is_echo"]]
    silent = [rank for rank in missing_ranks(attempt, num_ranks) if rank not in failed]
    gone = [f"rank {rank}: ended without a word, as a process does that is killed or out of memory" for rank in silent]
    return blamed or gone or [f"rank {rank}: {told['reason']}" for rank, told in failed.items()]


def missing_ranks(attempt: Path, num_ranks: int) -> list[int]:
    return [rank for rank in range(num_ranks) if not (attempt / f"done-{rank}").exists()]


def _leave(mark: Path, told: Mapping[str, object]) -> None:
    """Leave a mark, whole or not at all; a full disk stops the next checkpoint, and is told there."""
    with contextlib.suppress(OSError):
        aside = mark.with_name(f"writing-{mark.name}")
        aside.write_text(json.dumps(dict(told)), encoding="utf-8")
        aside.rename(mark)


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
            print(
                f"train: epoch {told['epoch']}, step {told['step']:,} of at most {told['steps']:,},"
                f" loss {told['loss']:.3f}, best NDCG@10 {told['ndcg10']:.4f}, {told['windows_per_s']:,.0f} windows/s,"
                f" at most {told['left_s'] / 60:.0f} min left",
                flush=True,
            )

    def _draw(self) -> None:
        with tqdm(desc="train", unit="step", leave=False) as bar:
            for told in self._reports(REPORT_EVERY_S):
                bar.total = told["steps"]
                bar.set_postfix_str(
                    f"epoch {told['epoch']}, loss {told['loss']:.3f}, NDCG@10 {told['ndcg10']:.4f},"
                    f" {told['windows_per_s']:,.0f} windows/s",
                    refresh=False,
                )
                bar.update(told["step"] - bar.n)

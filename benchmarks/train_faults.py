"""Scripted faults of training: ranks, savers and drivers that are killed, and files that are not what they were.

python benchmarks/train_faults.py

What recovers must end at the weights of a training that nobody disturbed, byte by byte.
"""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil
from faults import QUICK, ROOT, Outcome, commits, kill, members, night, run, show

NUM_SAVES_KILLED = 20
RANKS = ("--set", "train.num_workers=2", "--set", "train.checkpoint_steps=5", "--set", "train.max_epochs=12")
WITHIN_S = 60


class Bench:
    """A lake with windows, copied for every fault, and the weights of an undisturbed training."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.sample, self.base = folder, folder / "sample", folder / "base"
        size = ["--events", "15000", "--users", "500", "--items", "300", "--days", "5"]
        run([sys.executable, "-m", "sparkrec.sample", *size, "--out", str(self.sample)])
        prepared = run(night(self.sample, self.base, job="prepare"))
        cut = run(self.train(self.base, job="window"))
        whole = self.lake("whole")
        trained = run(self.train(whole))
        if prepared.returncode or cut.returncode or trained.returncode:
            sys.exit(f"train_faults: the undisturbed training failed\n{trained.stdout}{trained.stderr}")
        self.weights = weights_of(whole)

    def lake(self, name: str) -> Path:
        return Path(shutil.copytree(self.base, self.folder / name))

    def train(self, lake: Path, *more: str, job: str = "train") -> list[str]:
        settings = [word for setting in QUICK for word in ("--set", setting)]
        return ["spark-submit", f"jobs/{job}.py", "--date", "2024-03-05", "--lake", str(lake), *settings, *RANKS, *more]

    def start(self, lake: Path, *more: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            self.train(lake, *more), cwd=ROOT, start_new_session=True, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def recovers(self, lake: Path) -> str:
        """Run the command again and say what came of it; '' if all is as it should be."""
        again = run(self.train(lake))
        if again.returncode:
            return f"; run again: code {again.returncode}"
        taken_up = re.search(r"taken up at step [\d,]+", again.stdout)
        same = weights_of(lake) == self.weights
        where = taken_up.group() if taken_up else "from the start"
        return f"; run again: {where}, {'the same weights' if same else 'OTHER WEIGHTS'}"


def weights_of(lake: Path) -> bytes:
    (file,) = lake.glob("_models/2024*/weights.safetensors")
    return file.read_bytes()


def ranks_of(job: int) -> dict[int, psutil.Process]:
    """Return the ranks below a process; torchrun gives each a session of its own."""
    found = {}
    try:
        below = psutil.Process(job).children(recursive=True)
    except psutil.Error:
        return {}
    for process in below:
        try:
            found[int(process.environ()["RANK"])] = process
        except (psutil.Error, KeyError):
            continue
    return found


def still_there(processes: Iterable[psutil.Process]) -> list[int]:
    return [one.pid for one in processes if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


def wait_for(condition: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.002)


def kill_rank(bench: Bench, rank: int, number: int) -> Outcome:
    """Kill a rank at a random step: the job must name it, end soon, and leave nobody behind."""
    started = time.monotonic()
    lake = bench.lake(f"rank-{rank}-{number}")
    job = bench.start(lake)
    wait_for(lambda: any(lake.glob("_models/*.attempt/checkpoint-*")))
    time.sleep(random.Random(number).uniform(0, 1.0))
    ranks = ranks_of(job.pid)
    everybody = [*psutil.Process(job.pid).children(recursive=True), *ranks.values()]
    ranks[rank].send_signal(signal.SIGKILL)
    killed = time.monotonic()
    said, _ = job.communicate()
    seconds = time.monotonic() - killed
    left = still_there(everybody)
    told = [line for line in said.splitlines() if line.startswith("train: ")][-1]
    recovery = bench.recovers(lake)
    passed = (
        job.returncode == 1
        and f"rank {rank}: ended without a word" in told
        and seconds < WITHIN_S
        and not left
        and recovery.endswith("the same weights")
        and "taken up" in recovery
    )
    observed = f"code {job.returncode} after {seconds:.0f} s, {len(left)} processes left: {told[:110]}{recovery}"
    return Outcome(f"SIGKILL of rank {rank} of 2 at a random step", passed, time.monotonic() - started, observed)


def kill_saver(bench: Bench) -> Outcome:
    """Kill rank 0 in the middle of a save, again and again, under torchrun; then let the job finish."""
    started = time.monotonic()
    lake = bench.lake("saver")
    job = bench.start(lake)
    wait_for(lambda: any(lake.glob("_models/*.attempt/checkpoint-*")))
    kill([*psutil.Process(job.pid).children(recursive=True), *members(job.pid)])
    job.wait()
    (attempt,) = lake.glob("_models/*.attempt")
    # From here on every step is saved; how often is not part of what the weights depend on.
    plan = attempt / "plan.json"
    plan.write_text(plan.read_text().replace('"checkpoint_steps": 5', '"checkpoint_steps": 1'))
    killed = tries = 0
    killed = tries = 0
    while killed < NUM_SAVES_KILLED and tries < 3 * NUM_SAVES_KILLED:
        tries += 1
        killed += kill_in_a_save(attempt, saves_before=random.Random(tries).randrange(1, 4))
    recovery = bench.recovers(lake)
    passed = killed == NUM_SAVES_KILLED and recovery.endswith("the same weights") and "taken up" in recovery
    observed = f"{killed} saves were under way when rank 0 was killed ({tries} kills){recovery}"
    return Outcome(
        f"SIGKILL of the saver in the middle of {NUM_SAVES_KILLED} saves", passed, time.monotonic() - started, observed
    )


def kill_in_a_save(attempt: Path, saves_before: int) -> bool:
    """Start both ranks under torchrun and kill rank 0 in a save, after some whole ones; say whether it was in one."""
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "sparkrec.train"]
    aside = attempt / "checkpoint.writing"
    shutil.rmtree(aside, ignore_errors=True)
    job = subprocess.Popen(
        [sys.executable, *words, str(attempt)], cwd=ROOT, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    wait_for(lambda: job.poll() is not None or 0 in ranks_of(job.pid))
    saver = ranks_of(job.pid).get(0)
    for _ in range(saves_before):
        wait_for(aside.exists, 30)
        wait_for(lambda: not aside.exists(), 30)
    wait_for(lambda: any(aside.glob("*")), 30)
    in_a_save = job.poll() is None and saver is not None
    if saver is not None and saver.is_running():
        saver.send_signal(signal.SIGKILL)
    in_a_save = in_a_save and aside.exists()
    job.wait()
    return in_a_save


def kill_driver(bench: Bench) -> Outcome:
    """Kill the driver alone: torchrun and the ranks must end by themselves."""
    started = time.monotonic()
    lake = bench.lake("driver")
    job = bench.start(lake)
    wait_for(lambda: any(lake.glob("_models/*.attempt/checkpoint-*")))
    everybody = psutil.Process(job.pid).children(recursive=True)
    num_ranks = len(ranks_of(job.pid))
    os.kill(job.pid, signal.SIGKILL)  # spark-submit is the JVM itself
    killed = time.monotonic()
    job.wait()
    wait_for(lambda: not still_there(everybody), WITHIN_S)
    left = still_there(everybody)
    seconds = time.monotonic() - killed
    for process in left:
        os.kill(process, signal.SIGKILL)
    recovery = bench.recovers(lake)
    passed = num_ranks == 2 and not left and recovery.endswith("the same weights") and "taken up" in recovery
    observed = f"of {len(everybody)} processes below it {len(left)} left after {seconds:.0f} s{recovery}"
    return Outcome("SIGKILL of the driver's JVM in training", passed, time.monotonic() - started, observed)


def refused(bench: Bench) -> list[Outcome]:
    """Commands that must end with a code other than 0 and a clear word, `models` untouched."""
    cases: dict[str, tuple[Callable[[Path], None], list[str], str]] = {
        "a window file cut in half": (cut_a_window_file, [], "cannot be read"),
        "no windows for the date": (
            lambda lake: None,
            ["--date", "2024-03-04"],
            "run 'make window' for that date first",
        ),
        "more ranks than files": (lambda lake: None, ["--set", "train.num_workers=40"], "window.files=4 is less than"),
        "windows cut with other settings": (
            lambda lake: None,
            ["--set", "window.num_negatives=9"],
            "window.num_negatives was 4 and is 9 now",
        ),
        "a learning rate that makes the loss no number": (
            lambda lake: None,
            ["--set", "train.learning_rate=1e30", "--set", "train.clip_norm=1e30", "--set", "train.warmup_steps=0"],
            "lower train.learning_rate",
        ),
        "a checkpoint of another training": (
            lambda lake: None,
            ["--set", f"train.resume_from={bench.folder}"],
            "not a readable checkpoint",
        ),
        "a lake too full for a checkpoint": (fill_up, [], "No space left"),
    }
    outcomes = []
    for number, (fault, (break_it, words, told)) in enumerate(cases.items()):
        started = time.monotonic()
        lake = small_disk(bench, number) if break_it is fill_up else bench.lake(f"refused-{number}")
        break_it(lake)
        before = commits(lake).get("models")
        ended = run(bench.train(lake, *words))
        said = ended.stdout + ended.stderr
        line = next((line for line in said.splitlines()[::-1] if told in line), said.strip().splitlines()[-1])
        passed = ended.returncode == 1 and told in said and commits(lake).get("models") == before
        outcomes.append(Outcome(fault, passed, time.monotonic() - started, f"code {ended.returncode}: {line[:220]}"))
        print(f"  {outcomes[-1]}", flush=True)
        if break_it is fill_up:
            subprocess.run(["umount", str(lake.parent)], check=False)
    return outcomes


def cut_a_window_file(lake: Path) -> None:
    victim = sorted(lake.glob("windows/*/train-*.parquet"))[0]
    content = victim.read_bytes()
    victim.write_bytes(content[: len(content) // 2])


def small_disk(bench: Bench, number: int) -> Path:
    """Return a copy of the lake on a file system with little room left; needs the right to mount one."""
    place = bench.folder / f"small-{number}"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(place)], check=True)
    return Path(shutil.copytree(bench.base, place / "lake"))


def fill_up(lake: Path) -> None:
    free = shutil.disk_usage(lake).free
    with (lake.parent / "filler").open("wb") as filler:
        filler.write(b"\0" * (free - 300_000))


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="sparkrec-faults-") as name:
        bench = Bench(Path(name))
        outcomes = []
        for fault in (
            lambda: kill_rank(bench, 1, 1),
            lambda: kill_rank(bench, 1, 2),
            lambda: kill_rank(bench, 0, 3),
            lambda: kill_driver(bench),
            lambda: kill_saver(bench),
        ):
            outcomes.append(fault())
            print(f"  {outcomes[-1]}", flush=True)
        outcomes += refused(bench)
        show("train-faults", outcomes, Path(name))


if __name__ == "__main__":
    main()

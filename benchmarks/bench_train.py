"""Training on Amazon Beauty beside RecTools' SASRec: the same width, blocks, length, batch and training targets.

python benchmarks/bench_train.py [CPU_SECONDS]
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from measure import measure
from planned import plan_on
from sequences import DAY, SETTINGS, write_clicks

from sparkrec.train.objective import num_targets
from sparkrec.train.place import join
from sparkrec.train.plan import TrainPlan, Vocabulary
from sparkrec.train.training import Training
from sparkrec.train.validation import read_tiles, validate

ROOT = Path(__file__).parents[1]
WORK = ROOT / "benchmarks" / "work"
PEER = WORK / "rectools-env"
BEAUTY = ROOT.parent / "shared" / "data" / "amazon_beauty" / "Beauty.txt.gz"
CORES = min(2, os.cpu_count() or 1)
WIDTH, BLOCKS, HEADS, LENGTH, BATCH, NEGATIVES = 64, 1, 1, 50, 128, 256
SHAPE = {"width": WIDTH, "num_blocks": BLOCKS, "num_heads": HEADS, "batch_size_per_rank": BATCH}
ONE_WINDOW_EACH = "window.stride=1000000"
AS_THE_PEER = {
    "members": 1, "temperature": None, "later_targets": 0, "average": 0, "dropout": 0.2, "warmup_steps": 50,
}  # fmt: skip
"""What the product does otherwise and RecTools does not."""
LOSSES = ("softmax", "sampled_softmax")
"""The first is one and the same in both; sampled, RecTools draws negatives per target and sparkrec per batch."""


def make_windows() -> Path:
    """Prepare and cut the windows through the jobs; return the lake."""
    lake = WORK / "lake-beauty"
    shutil.rmtree(lake, ignore_errors=True)
    clicks = write_clicks(BEAUTY, WORK / "beauty")
    submit = ["spark-submit", "--master", f"local[{CORES}]"]
    more = [word for setting in (*SETTINGS, ONE_WINDOW_EACH) for word in ("--set", setting)]
    source = ["--source", str(clicks.with_name("sequences.yaml")), "--input", str(clicks)]
    for job, words in (("prepare", source), ("window", [])):
        measure([*submit, f"jobs/{job}.py", "--date", DAY, "--lake", str(lake), *words, *more])
    return lake


def ours(lake: Path, loss: str, cpu_seconds: float) -> dict[str, float]:
    """Plan as the job does, then train in a process of its own until the CPU seconds are spent."""
    told = subprocess.run(
        [sys.executable, __file__, "--ours", str(lake), loss, str(cpu_seconds)],
        stdout=subprocess.PIPE, text=True, check=True,
    ).stdout  # fmt: skip
    return dict(json.loads(told.splitlines()[-1]))


def theirs(loss: str, cpu_seconds: float) -> dict[str, float]:
    if not PEER.exists():
        subprocess.run(["uv", "venv", "-q", "--python", "3.11", str(PEER)], check=True)
        install = ["uv", "pip", "install", "-q", "--python", str(PEER / "bin/python"), "rectools[torch]==0.19.0"]
        subprocess.run(install, check=True)
    numbers = map(str, (CORES, WIDTH, BLOCKS, HEADS, LENGTH, BATCH, NEGATIVES))
    script = ROOT / "benchmarks/peers/rectools_sasrec.py"
    words = [str(PEER / "bin/python"), str(script), str(WORK / "beauty/clicks.csv"), str(cpu_seconds), loss]
    told = subprocess.run([*words, *numbers], stdout=subprocess.PIPE, text=True, check=True).stdout
    return dict(json.loads(told.splitlines()[-1]))


def ranks_speedup(lake: Path) -> float:
    """Return targets/s of two ranks with a core each over those of one with a core."""
    speed = []
    for num_ranks in (1, CORES):
        plan, _ = planned(lake, "sampled_softmax", threads_per_worker=1, max_epochs=3, validation_users=1)
        words = [
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc-per-node",
            str(num_ranks),
            "-m",
            "sparkrec.train",
        ]
        subprocess.run([sys.executable, *words, str(plan.attempt)], check=True, capture_output=True)
        told = json.loads((plan.folder / "training.json").read_text())
        speed.append(1 / told["seconds"])
    return speed[1] / speed[0]


def planned(lake: Path, loss: str, **settings: object) -> tuple[TrainPlan, Vocabulary]:
    fixed = {"num_shared_negatives": NEGATIVES, "weight_decay": 0.0, "max_epochs": 10_000, **AS_THE_PEER, **SHAPE}
    return plan_on(lake, DAY, WORK / "beauty-model", LENGTH, 0.0, loss=loss, **{**fixed, **settings})


def train_for(lake: Path, loss: str, cpu_seconds: float) -> None:
    """Train with the product's loop, one rank, until the CPU seconds are spent; tell speed and test NDCG@10 as JSON."""
    alone = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29577", "RANK": "0", "WORLD_SIZE": "1"}
    os.environ.update(alone)
    plan, vocabulary = planned(lake, loss, threads_per_worker=CORES)
    place = join(plan.settings)
    training = Training(plan, vocabulary, place)
    targets, began, cpu_began = 0, time.monotonic(), time.process_time()
    epoch = 0
    while time.process_time() - cpu_began < cpu_seconds:
        epoch += 1
        training.states.train()
        with training.feed.epoch(epoch, training.steps_per_epoch) as batches:
            for number, batch in enumerate(batches):
                training._step(batch, number)
                training._look_at_losses()
                targets += num_targets(batch)
                if time.process_time() - cpu_began >= cpu_seconds:
                    break
    cpu_s, seconds = time.process_time() - cpu_began, time.monotonic() - began
    test = plan.training_set.test
    tiles = read_tiles(test, training.model, test.num_rows, place)
    told = {
        "targets": targets,
        "cpu_s": cpu_s,
        "seconds": seconds,
        "epochs": epoch,
        "users": sum(len(tile.rows) for tile in tiles),
        "ndcg10": validate(training.published(), tiles, place),
    }
    print(json.dumps(told))


def bench(cpu_seconds: float) -> None:
    lake = make_windows()
    rows = {}
    for loss in LOSSES:
        for name, run in (("sparkrec", ours(lake, loss, cpu_seconds)), ("rectools", theirs(loss, cpu_seconds))):
            rows[loss, name] = run
            print(
                f"{loss}, {name}: {run['targets']:,} targets ({run['epochs']:.1f} epochs) in {run['cpu_s']:.0f} CPU s,"
                f" {run['seconds']:.0f} s: {run['targets'] / run['cpu_s']:,.0f} targets per CPU second;"
                f" test NDCG@10 {run['ndcg10']:.4f} of {run['users']:,} users",
                flush=True,
            )
    mine, peer = rows[LOSSES[0], "sparkrec"], rows[LOSSES[0], "rectools"]
    ratio = (mine["targets"] / mine["cpu_s"]) / (peer["targets"] / peer["cpu_s"])
    print(
        f"bench-train: targets_per_s={mine['targets'] / mine['seconds']:.0f} rectools_ratio={ratio:.1f}"
        f" ndcg10={mine['ndcg10']:.4f} rectools_ndcg10={peer['ndcg10']:.4f} ranks2_speedup={ranks_speedup(lake):.2f}"
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--ours"]:
        train_for(Path(sys.argv[2]), sys.argv[3], float(sys.argv[4]))
    else:
        bench(float(sys.argv[1]) if len(sys.argv) > 1 else 600.0)

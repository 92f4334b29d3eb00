"""Windows of 20 million events: the time to cut them beside prepare's, and how fast and how evenly the feed is.

python benchmarks/bench_feed.py [--feed LAKE]
"""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

from bench_prepare import DAYS, SUBMIT, WORK, make_clicks, prepare, seconds_of, tell
from measure import measure
from planned import files_of, plan_on

from sparkrec.config.train_settings import TrainSettings
from sparkrec.train.feed import Feed

EPOCHS = 6
SETTINGS = TrainSettings()
BATCH = 128
COLUMNS = ["item_idxs", *SETTINGS.side_inputs, "target_idxs"]
"""What the default model and loss read, beside window_id."""


def bench() -> None:
    clicks = make_clicks("clicks-20m", 20_000_000, 500_000, 100_000)
    lake = WORK / "lake-feed"
    prepared = prepare(clicks, DAYS[-1], lake, settings=("prepare.max_history=200",))
    tell("prepare", prepared)
    cut = measure([*SUBMIT, "jobs/window.py", "--date", DAYS[-1], "--lake", str(lake)])
    told = next(line for line in cut.output.splitlines() if "training windows" in line)
    print(f"{told}: {seconds_of(cut):.1f} s, {cut.cpu_s:.0f} CPU s, {cut.peak_bytes / 2**30:.1f} GiB", flush=True)
    print(f"windows take {seconds_of(cut) / seconds_of(prepared):.2f} of the time of prepare", flush=True)

    # In a process of its own, whose memory is the feed's alone.
    subprocess.run([sys.executable, __file__, "--feed", str(lake)], check=True)
    wait_share = train_a_little(lake)
    fed = json.loads((WORK / "feed.json").read_text())
    print(
        f"bench-feed: windows_per_s={fed['windows_per_s']:.0f} bytes_per_window={fed['bytes_per_window']}"
        f" wait_share={wait_share:.3f} delivered={fed['delivered']} expected={fed['expected']}"
    )


def feed(lake: Path) -> None:
    """Read epochs through the shuffle as a rank does, and tell speed, memory, and what was delivered."""
    files = files_of(lake, DAYS[-1], "train")
    opened = Feed(files, COLUMNS, 0, 1, BATCH, SETTINGS.shuffle_rows, 7)
    steps = -(-files.num_rows // BATCH)
    delivered, speeds, size = 0, [], 0
    for epoch in range(1, EPOCHS + 1):
        began = time.monotonic()
        with opened.epoch(epoch, steps) as batches:
            for batch in batches:
                size = sum(values[0].nbytes for values in batch.values())
        speeds.append(steps * BATCH / (time.monotonic() - began))
        right = (opened.passes.rows[0], opened.passes.sums_of_ids[0]) == (files.num_rows, files.sum_of_ids)
        delivered += opened.passes.rows[0] if right else 0
        travel = opened.passes.mean_travel()
        print(
            f"epoch {epoch}: {speeds[-1]:,.0f} windows/s, {memory_mib():.0f} MiB, a window travels {travel:,.0f} places"
            f" ({travel / files.num_rows:.3f} of a pass) in the buffer",
            flush=True,
        )
    told = {
        "windows_per_s": min(speeds),
        "bytes_per_window": size,
        "delivered": delivered,
        "expected": files.num_rows * EPOCHS,
    }
    (WORK / "feed.json").write_text(json.dumps(told))


def train_a_little(lake: Path) -> float:
    """Train the default model for an epoch on two files; return the share of the time that it waited for data."""
    plan, _ = plan_on(lake, DAYS[-1], WORK / "feed-model", max_files=2, max_epochs=1, validation_users=64)
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "1", "-m", "sparkrec.train"]
    subprocess.run([sys.executable, *words, str(plan.attempt)], check=True, capture_output=True)
    told = json.loads((plan.folder / "training.json").read_text())
    print(
        f"training: {plan.training_set.train.num_rows:,} windows in {told['seconds']:.0f} s,"
        f" {100 * told['wait_share']:.2f} % of it spent waiting for data",
        flush=True,
    )
    return float(told["wait_share"])


def memory_mib() -> float:
    """Return the memory of this process without pages of files, in MiB."""
    told = re.search(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(told.group(1)) / 1024 if told else float("nan")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--feed"]:
        feed(Path(sys.argv[2]))
    else:
        bench()

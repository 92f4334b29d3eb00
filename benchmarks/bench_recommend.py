"""Top 20 of 100,000 users among 50,000 items beside implicit and Spark ALS; ten times the users; a million items.

python benchmarks/bench_recommend.py [--stage LAKE PAIRS]
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from measure import Measured, measure, tree_cpu_s
from scored_lake import factors, make_lake

ROOT = Path(__file__).parents[1]
WORK = ROOT / "benchmarks" / "work"
PEERS = WORK / "peers-env"
CORES = min(2, os.cpu_count() or 1)
SUBMIT = ["spark-submit", "--master", f"local[{CORES}]"]
DAY, TOP_N = "2024-03-01", 20
USERS, ITEMS, MANY_USERS, FEW_USERS, MANY_ITEMS = 100_000, 50_000, 1_000_000, 4_000, 1_000_000
SEEN = '{"view": null, "cart": null, "purchase": null}'
SETTINGS = (
    f"recommend.top_n={TOP_N}",
    f"recommend.leave_out={SEEN}",
    "recommend.max_concentration=1",
)
"""What users have seen is left out, as peers do; weights are random, which is not what the gate is for."""
NOT_SCORING = ("encode", "write", "look")


def bench() -> None:
    lake, many = WORK / "lake-recommend", WORK / "lake-recommend-10x"
    for folder, num_users in ((lake, USERS), (many, MANY_USERS)):
        make_lake(folder, num_users, ITEMS, DAY)
    factors(WORK / "factors", USERS, ITEMS)
    # Each in a process of its own, twice; the second time counts, for no peer's start is measured either.
    commands = {
        "sparkrec": [*SUBMIT, __file__, "--stage", str(lake), str(USERS * ITEMS)],
        "implicit": [peers_python(), *peer("implicit_recommend.py"), str(CORES)],
        "Spark ALS": [*SUBMIT, *peer("als_recommend.py")],
    }
    found = {name: [one_of(name, command) for _ in range(2)] for name, command in commands.items()}
    ours, implicit, als = (max(runs) for runs in found.values())
    night, long_night = recommend(lake), recommend(many)
    wide = WORK / "lake-recommend-wide"
    make_lake(wide, FEW_USERS, MANY_ITEMS, DAY)
    told = recommend(wide)
    for name, users, measured in (("100k x 50k", USERS, night), ("1M x 50k", MANY_USERS, long_night),
                                  ("4k x 1M", FEW_USERS, told)):  # fmt: skip
        seconds = seconds_of(measured)
        print(
            f"{name}: {seconds:.1f} s, {users / seconds:,.0f} users/s, {measured.cpu_s:.0f} CPU s,"
            f" {measured.peak_bytes / 2**30:.1f} GiB in all, {measured.worker_peak_bytes / 2**30:.2f} GiB per worker",
            flush=True,
        )
    peak = max(measured.worker_peak_bytes for measured in (night, long_night, told)) / 2**30
    print(
        f"bench-recommend: mpairs_per_core_s={ours:.0f} als_ratio={ours / als:.1f} implicit_ratio={ours / implicit:.2f}"
        f" users_per_s={USERS / seconds_of(night):.0f} scale_10x={seconds_of(long_night) / seconds_of(night):.2f}"
        f" peak_gib_per_worker={peak:.2f}"
    )


def recommend(lake: Path) -> Measured:
    """Run the job, from histories to recommendations."""
    words = [word for setting in SETTINGS for word in ("--set", setting)]
    measured = measure([*SUBMIT, "jobs/recommend.py", "--date", DAY, "--lake", str(lake), *words])
    print(next(line for line in measured.output.splitlines() if "users x" in line), flush=True)
    return measured


def seconds_of(measured: Measured) -> float:
    told = re.search(r"recommend: done in ([\d.]+) s", measured.output)
    return float(told.group(1)) if told else float("nan")


def one_of(name: str, command: list[str]) -> float:
    """Run a script that tells two runs as JSON; return million pairs per core and second of the second one."""
    lines = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT).stdout.splitlines()
    runs = [json.loads(line) for line in lines if line.startswith("{")]
    speeds = [told["pairs"] / told["cpu_s"] / 1e6 for told in runs]
    parts = {key: value for key, value in runs[-1].items() if key not in ("pairs", "cpu_s", "seconds")}
    print(
        f"{name}: {speeds[1]:.0f} M pairs per core and second, {runs[1]['cpu_s']:.1f} CPU s in"
        f" {runs[1]['seconds']:.1f} s; the first time {speeds[0]:.0f}; {parts}",
        flush=True,
    )
    return speeds[1]


def run_stage(lake: Path, pairs: int) -> None:
    """Do what the job does until lists are staged; tell the stage's CPU seconds, JVM and workers, by what they went on.

    Encoding of pasts, writing and the look at what was written are taken off, as workers count them.
    """
    from collections import Counter
    from datetime import date

    from sparkrec.config.load import load_settings
    from sparkrec.lake import Lake
    from sparkrec.prepare.as_of import known_as_of
    from sparkrec.recommend.groups import stage_groups
    from sparkrec.recommend.inputs import read_rules
    from sparkrec.recommend.night import drop_staged, offer_of, plan_night
    from sparkrec.recommend.people import people_of
    from sparkrec.session import start_session
    from sparkrec.tables import ITEMS as ITEMS_TABLE
    from sparkrec.tables import MODELS

    settings = load_settings("conf/local.yaml", list(SETTINGS), str(lake))
    spark = start_session(settings.spark)
    opened, run_date = Lake(spark, str(lake)), date.fromisoformat(DAY)
    known, items = known_as_of(opened, run_date, settings.prepare), opened.read(ITEMS_TABLE)
    model = opened.read(MODELS).first()
    rules = read_rules(opened, run_date)
    offer, _, _ = offer_of(items, opened.lineage(ITEMS_TABLE), known, rules, model, run_date, settings.recommend)
    drop_staged(opened, run_date)
    plan, decided_by = plan_night(opened, offer, model, run_date, settings, "bench")
    people = people_of(known.histories, None, None, decided_by, plan.cuts, False)
    for _ in range(2):
        before, began = tree_cpu_s(os.getppid()), time.monotonic()
        told = stage_groups(people, plan)
        cpu_s, seconds = tree_cpu_s(os.getppid()) - before, time.monotonic() - began
        parts: Counter[str] = Counter()
        for report in told:
            parts.update(report["cpu"])
        scoring = cpu_s - sum(parts[name] for name in NOT_SCORING)
        found = {"pairs": pairs, "seconds": seconds, "cpu_s": scoring, "all_cpu_s": cpu_s, **parts}
        print(json.dumps({name: round(value, 2) for name, value in found.items()}), flush=True)
        shutil.rmtree(plan.staging)
    drop_staged(opened, run_date)
    spark.stop()


def peers_python() -> str:
    if not PEERS.exists():
        subprocess.run(["uv", "venv", "-q", "--python", "3.11", str(PEERS)], check=True)
        install = ["uv", "pip", "install", "-q", "--python", str(PEERS / "bin/python"), "implicit==0.7.3", "scipy"]
        subprocess.run(install, check=True)
    return str(PEERS / "bin/python")


def peer(script: str) -> list[str]:
    return [str(ROOT / "benchmarks/peers" / script), str(WORK / "factors"), str(TOP_N)]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--stage"]:
        run_stage(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        bench()

"""Kills at random points of recommend, twenty times: part of `make faults`.

A lake has a published night with lists of five. The same date is then recommended with lists of ten, and SIGKILL ends
all processes of the command when a random number of groups is done and a random moment has passed. The same command
is run again: its table must equal that of a run nobody disturbed, what was done must not have been scored again, and a
reader that opens the table all the while must have seen whole nights only, of five or of ten for everybody.
"""

import multiprocessing
import random
import shutil
import subprocess
import sys
import tempfile
import time
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

import polars as pl
from faults import ROOT, Outcome, kill, members, run, show
from scored_lake import make_lake

KILLS, DAY = 20, "2024-03-01"
USERS, ITEMS, GROUP_USERS, BEFORE, AFTER = 6_000, 60_000, 250, 5, 10
SETTINGS = (f"recommend.group_users={GROUP_USERS}", "recommend.max_concentration=1")


def command(lake: Path, top_n: int) -> list[str]:
    settings = [word for setting in (*SETTINGS, f"recommend.top_n={top_n}") for word in ("--set", setting)]
    return ["spark-submit", "--master", "local[2]", "jobs/recommend.py", "--date", DAY, "--lake", str(lake), *settings]


def groups_done(lake: Path) -> list[Path]:
    return list((lake / "_scored" / DAY).glob("recommendations/*/*.json"))


def content(lake: Path) -> pl.DataFrame:
    return pl.read_delta(str(lake / "recommendations")).sort("user_id", "rank")


def poll(lake: Path, stop: "Synchronized[int]", told: "multiprocessing.Queue[tuple[int, list[str]]]") -> None:
    """Open the table again and again; tell how often, and every state that was no whole night."""
    looks, odd = 0, []
    while not stop.value:
        try:
            rows = pl.read_delta(str(lake / "recommendations"), columns=["user_id", "rank"])
            lists = rows.group_by("user_id").agg(pl.len(), pl.col("rank").max().alias("last"))
            shapes = lists.select("len", "last").unique().rows()
            if len(lists) != USERS or shapes not in ([(BEFORE, BEFORE)], [(AFTER, AFTER)]):
                odd.append(f"{len(lists)} users, lists {shapes}")
        except Exception as error:  # whatever a reader runs into counts
            odd.append(str(error)[:100])
        looks += 1
        time.sleep(0.1)  # the machine is for the job
    told.put((looks, odd))


def kill_once(lake: Path, num_groups: int, chance: random.Random) -> str:
    """Run the command and kill it; say when. A few kills come before the first group, a few while it publishes."""
    wanted, delay = chance.randint(0, num_groups), chance.uniform(0, 1.5)
    process = subprocess.Popen(
        command(lake, AFTER), cwd=ROOT, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while len(groups_done(lake)) < wanted and process.poll() is None:
        time.sleep(0.002)
    time.sleep(delay)
    done = len(groups_done(lake))
    ended = process.poll() is not None
    kill(list(members(process.pid)))
    process.wait()
    return "ended before the kill" if ended else f"killed with {done} of {num_groups} groups done"


def reused_of(lake: Path) -> float:
    runs = pl.read_delta(str(lake / "runs")).filter(job="recommend", status="complete").sort("started_at")
    return float(dict(runs["figures"].to_list()[-1])["reused"]) if len(runs) else float("nan")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="sparkrec-faults-") as name:
        folder = Path(name)
        base, unbroken = folder / "base", folder / "unbroken"
        make_lake(base, USERS, ITEMS, DAY)
        if run(command(base, BEFORE)).returncode:
            sys.exit("recommend_faults: the undisturbed night failed")
        shutil.copytree(base, unbroken)
        if run(command(unbroken, AFTER)).returncode:
            sys.exit("recommend_faults: the undisturbed second run failed")
        whole, num_groups = content(unbroken), USERS // GROUP_USERS
        outcomes = [one(number, base, folder / f"killed-{number}", whole, num_groups) for number in range(KILLS)]
        show("recommend_faults", outcomes, folder)


def one(number: int, base: Path, lake: Path, whole: pl.DataFrame, num_groups: int) -> Outcome:
    started = time.monotonic()
    shutil.copytree(base, lake)
    spawn = multiprocessing.get_context("spawn")  # Polars' threads do not survive a fork
    stop, told = spawn.Value("i", 0), spawn.Queue()
    reader = spawn.Process(target=poll, args=(lake, stop, told))
    reader.start()
    how = kill_once(lake, num_groups, random.Random(number))
    done = len(groups_done(lake))
    published = len(content(lake)) == len(whole)
    again = run(command(lake, AFTER))
    stop.value = 1
    looks, odd = told.get(timeout=60)
    reader.join()
    reused = reused_of(lake)
    same = content(lake).equals(whole)
    # A run that was killed after it had published starts from nothing, as any second run of a date does.
    kept = published or reused >= done * GROUP_USERS
    observed = (
        f"{how}{', published' if published else ''}; run again: code {again.returncode},"
        f" {reused:,.0f} users taken over,"
        f" {'equal' if same else 'DIFFERS'}; a reader looked {looks} times: {odd[0] if odd else 'whole nights only'}"
    )
    passed = same and kept and not again.returncode and not odd
    outcome = Outcome(f"SIGKILL in recommend, {number + 1}", passed, time.monotonic() - started, observed)
    print(f"  {outcome}", flush=True)
    shutil.rmtree(lake)
    return outcome


if __name__ == "__main__":
    main()

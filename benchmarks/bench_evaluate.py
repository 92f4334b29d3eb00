"""Metrics of 138,493 users' top 100 beside RePlay's; what ranking 100,000 held-out items among 50,000 costs.

python benchmarks/bench_evaluate.py [--lists LAKE | --ranking LAKE]
"""

import json
import os
import subprocess
import sys
import time
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from bench_recommend import DAY, ITEMS, SUBMIT, USERS, WORK
from measure import tree_cpu_s
from scored_lake import SHORTEST, make_lake

from sparkrec.contract import Table
from sparkrec.lake import Lake
from sparkrec.prepare.staged import new_files, write_part
from sparkrec.tables import EVENTS, RECOMMENDATIONS

ROOT = Path(__file__).parents[1]
PEERS = WORK / "replay-env"
# MovieLens-20M, the last item of every user held out, top 100: what RePlay's notebook 11 measures.
LISTS, CATALOGUE, TOP_N, CUT_OFFS = 138_493, 26_744, 100, (1, 10, 20, 100)
REPLAY_PUBLISHED_S = 272
"""On Spark, 12 cores of a Xeon Gold 6248R; with pandas 208, with Polars 14.5."""
SHARE_FOUND = 0.4
"""Users whose held-out item is in their list."""
LISTS_DAY = date.fromisoformat(DAY) - timedelta(days=1)


def bench() -> None:
    lists = WORK / "lake-lists"
    make_lists(lists)
    ours = told_by([*SUBMIT, __file__, "--lists", str(lists)])
    theirs = {kind: told_by([peers_python(), *peer(lists), kind]) for kind in ("spark", "polars")}
    for name, runs in {"sparkrec": ours, **{f"RePlay, {kind}": runs for kind, runs in theirs.items()}}.items():
        print(f"{name}: {first_and_second(runs, 'cpu_s')}")
    print(f"largest difference from RePlay's figures: {difference(ours[-1], theirs['spark'][-1]):.1e}")

    lake = WORK / "lake-recommend"
    make_lake(lake, USERS, ITEMS, DAY)
    subprocess.run([*SUBMIT, "jobs/window.py", "--date", DAY, "--lake", str(lake)], check=True, cwd=ROOT)
    ranking = told_by([*SUBMIT, __file__, "--ranking", str(lake)])
    scoring = told_by([*SUBMIT, "benchmarks/bench_recommend.py", "--stage", str(lake), str(USERS * ITEMS)])
    for name, runs, cpu_s in (("ranking", ranking, "cpu_s"), ("recommend's lists", scoring, "all_cpu_s")):
        print(f"{name}: {first_and_second(runs, cpu_s)}")
    print(f"among 999 drawn items beside that: {ranking[-1]['with_drawn_cpu_s'] - ranking[-1]['cpu_s']:.1f} CPU s more")
    print(
        f"bench-evaluate: seconds={ours[-1]['seconds']:.1f} replay_published_s={REPLAY_PUBLISHED_S}"
        f" first_s={ours[0]['seconds']:.1f} replay_spark_s={theirs['spark'][-1]['seconds']:.1f}"
        f" replay_polars_s={theirs['polars'][-1]['seconds']:.1f}"
        f" ranking_to_scoring={ranking[-1]['cpu_s'] / scoring[-1]['all_cpu_s']:.2f}"
    )


def make_lists(folder: Path) -> None:
    """Write a lake with lists of TOP_N of the day before, and one event of each user since; and both for the peer."""
    make_lake(folder, LISTS, CATALOGUE, str(LISTS_DAY), length=SHORTEST)
    random = np.random.default_rng(7)
    item_UN = np.argsort(random.random((LISTS, CATALOGUE // 100), dtype=np.float32), axis=1)[:, :TOP_N] * 100
    item_UN += random.integers(0, 100, item_UN.shape)
    place_U = random.integers(0, TOP_N, LISTS)
    is_found_U = random.random(LISTS) < SHARE_FOUND
    done_U = np.where(is_found_U, item_UN[np.arange(LISTS), place_U], random.integers(0, CATALOGUE, LISTS))
    lists = pl.DataFrame({
        "user": np.repeat(np.arange(LISTS), TOP_N),
        "rank": np.tile(np.arange(1, TOP_N + 1, dtype=np.int32), LISTS),
        "item": item_UN.ravel(),
    }).with_columns(score=1.0 / pl.col("rank"))  # fmt: skip
    truth = pl.DataFrame({"user": np.arange(LISTS), "item": done_U})
    for name, frame in (("lists", lists), ("truth", truth)):
        frame.write_parquet(folder / f"{name}.parquet")
    lake, ids = (
        Lake(None, str(folder)),
        (pl.format("u{}", "user").alias("user_id"), pl.format("i{}", "item").alias("item_id")),
    )
    write(lake, RECOMMENDATIONS, lists.select(
        *ids, "rank", "score", pl.lit("model").alias("source"), pl.lit(None, dtype=pl.String).alias("because_item_id"),
        pl.lit("a model").alias("model_version"), pl.lit(None, dtype=pl.Int64).alias("made_from"),
    ), run_date=str(LISTS_DAY))  # fmt: skip
    noon = pl.lit(date.fromisoformat(DAY)).cast(pl.Datetime("us", "UTC")) + pl.duration(hours=12)
    nothing = [pl.lit(None, dtype=pl.String).alias(name) for name in ("category", "brand", "query")]
    write(lake, EVENTS, truth.select(
        *ids, pl.lit("view").alias("event_type"), noon.alias("event_ts"), pl.lit("a session").alias("session_id"),
        pl.lit(None, dtype=pl.Float64).alias("price"), *nothing, pl.lit(date.fromisoformat(DAY)).alias("run_date"),
        pl.lit(0, dtype=pl.Int32).alias("user_bucket"),
    ), event_date=DAY)  # fmt: skip


def write(lake: Lake, table: Table, rows: pl.DataFrame, **partition: str) -> None:
    """Write four files of some users each."""
    parts = [rows.slice(first, -(-len(rows) // 4)) for first in range(0, len(rows), -(-len(rows) // 4))]
    files = [write_part(part, lake.staging(table), f"part-{n}", partition) for n, part in enumerate(parts)]
    lake.commit(table, new_files(files, table))


def run_lists(folder: Path) -> None:
    """Tell what it takes from the lists and the events since to rows of figures, as `jobs/evaluate.py` does it."""
    from sparkrec.config.load import load_settings
    from sparkrec.evaluate.night import figures_of_realised
    from sparkrec.prepare.as_of import known_as_of
    from sparkrec.session import start_session
    from sparkrec.tables import ITEMS as ITEMS_TABLE

    settings = load_settings("conf/local.yaml", [], str(folder))
    lake, run_date = Lake(start_session(settings.spark), str(folder)), date.fromisoformat(DAY)
    for _ in range(2):
        before, began = tree_cpu_s(os.getppid()), time.monotonic()
        known = known_as_of(lake, LISTS_DAY, settings.prepare)
        (figures,) = figures_of_realised(lake, lake.read(ITEMS_TABLE), known, run_date, CUT_OFFS)
        rows = [row.asDict() for row in figures.where("slice = 'all'").collect()]
        seconds, cpu_s = time.monotonic() - began, tree_cpu_s(os.getppid()) - before
        values = {f"{row['metric']}@{row['k']}": row["value"] for row in rows}
        print(json.dumps({"seconds": seconds, "cpu_s": cpu_s, "figures": values}), flush=True)
    lake.spark.stop()


def run_ranking(folder: Path) -> None:
    """Tell what it takes to rank the held-out items of all users among all items, and beside that among 999."""
    from dataclasses import replace

    from sparkrec.config.load import load_settings
    from sparkrec.evaluate.contest import contest_of
    from sparkrec.evaluate.held_out import sums_of_held_out
    from sparkrec.popularity import count_by_index
    from sparkrec.session import start_session
    from sparkrec.tables import ITEM_DAYS, MODELS, WINDOWS
    from sparkrec.tables import ITEMS as ITEMS_TABLE

    settings = load_settings("conf/local.yaml", [], str(folder))
    lake, run_date = Lake(start_session(settings.spark), str(folder)), date.fromisoformat(DAY)
    items = lake.read(ITEMS_TABLE)
    counts = count_by_index(items, lake.read(ITEM_DAYS), run_date)
    model = lake.read(MODELS).first()
    models = {model["model_version"]: Path(model["path"])}
    contest = contest_of(models, {"test": counts, "validation": counts}, {}, items, settings)
    among_all = replace(contest, protocols={name: num for name, num in contest.protocols.items() if not num})
    windows = lake.read(WINDOWS).where("split = 'test'")

    def cost(of: Any) -> tuple[float, float]:
        before, began = tree_cpu_s(os.getppid()), time.monotonic()
        sums_of_held_out(windows, of).write.format("noop").mode("overwrite").save()
        return tree_cpu_s(os.getppid()) - before, time.monotonic() - began

    for _ in range(2):
        cpu_s, seconds = cost(among_all)
        print(json.dumps({"cpu_s": cpu_s, "seconds": seconds, "with_drawn_cpu_s": cost(contest)[0]}), flush=True)
    lake.spark.stop()


def told_by(command: list[str]) -> list[dict[str, Any]]:
    """Run a script that tells its runs as JSON."""
    lines = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT).stdout.splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


def first_and_second(runs: list[dict[str, Any]], cpu_s: str) -> str:
    return ", then ".join(f"{run['seconds']:.1f} s with {run[cpu_s]:.1f} CPU s" for run in runs)


def difference(ours: dict[str, Any], theirs: dict[str, Any]) -> float:
    return max(abs(ours["figures"][name] - value) for name, value in theirs["figures"].items())


def peers_python() -> str:
    if not PEERS.exists():
        subprocess.run(["uv", "venv", "-q", "--python", "3.11", str(PEERS)], check=True)
        wanted = ["replay-rec[spark]==0.22.0", "pyspark==4.2.0", "psutil"]
        subprocess.run(["uv", "pip", "install", "-q", "--python", str(PEERS / "bin/python"), *wanted], check=True)
    return str(PEERS / "bin/python")


def peer(folder: Path) -> list[str]:
    return [str(ROOT / "benchmarks/peers/replay_metrics.py"), str(folder), json.dumps(CUT_OFFS)]


if __name__ == "__main__":
    stages = {"--lists": run_lists, "--ranking": run_ranking}
    if sys.argv[1:2] and sys.argv[1] in stages:
        stages[sys.argv[1]](Path(sys.argv[2]))
    else:
        bench()

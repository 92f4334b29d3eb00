"""Tasks of prepare on 20 million clicks as they are, and with one user in a million of them and one item in a third.

python benchmarks/bench_skew.py

The rules against bots are lifted, or the user would be refused.
"""

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import polars as pl
from bench_prepare import DAYS, WORK, make_clicks, prepare, tell

HEAVY_USER_EVENTS = 1_000_000
NO_BOT_RULES = ("prepare.max_user_day_events=100000000", "prepare.max_user_minute_events=100000000")
EVENT_LOG = WORK / "event-log"


@dataclass
class Stage:
    """What Spark's event log says of one stage."""

    seconds: list[float] = field(default_factory=list)
    shuffle_bytes: int = 0


def skew(clicks: Path, to: Path) -> Path:
    """Write the clicks again: every twentieth is one user's, every third is on one item."""
    if to.exists():
        return to
    aside = to.with_name(to.name + ".writing")
    aside.mkdir(parents=True, exist_ok=True)
    files = sorted(clicks.glob("*.parquet"))
    num_rows = pl.scan_parquet(files).select(pl.len()).collect().item()
    every = num_rows // HEAVY_USER_EVENTS
    for file in files:
        place = pl.int_range(pl.len())
        has_item = pl.col("item_id") != ""
        pl.read_parquet(file).with_columns(
            pl.when(place % every == 0).then(pl.lit("heavy")).otherwise("user_id").alias("user_id"),
            pl.when((place % 3 == 1) & has_item).then(pl.lit("hit")).otherwise("item_id").alias("item_id"),
        ).write_parquet(aside / file.name)
    aside.rename(to)
    return to


def read_stages(log: Path) -> dict[str, Stage]:
    """Return the stages with more than one task; a name is the number and what Spark calls it."""
    stages: dict[str, Stage] = {}
    names: dict[int, str] = {}
    for line in next(log.iterdir()).read_text().splitlines():
        event = json.loads(line)
        if event["Event"] == "SparkListenerStageSubmitted":
            info = event["Stage Info"]
            names[info["Stage ID"]] = f"{info['Stage ID']}, {info['Stage Name'].split(' at ')[0]}"
        elif event["Event"] == "SparkListenerTaskEnd":
            told, metrics = event["Task Info"], event["Task Metrics"]
            stage = stages.setdefault(names[event["Stage ID"]], Stage())
            stage.seconds.append((told["Finish Time"] - told["Launch Time"]) / 1000)
            stage.shuffle_bytes += metrics["Shuffle Write Metrics"]["Shuffle Bytes Written"]
    return {name: stage for name, stage in stages.items() if len(stage.seconds) > 1}


def observe(name: str, clicks: Path) -> dict[str, Stage]:
    shutil.rmtree(EVENT_LOG, ignore_errors=True)
    EVENT_LOG.mkdir()
    conf = {"enabled": "true", "dir": f"file://{EVENT_LOG}", "rolling.enabled": "false", "compress": "false"}
    words = [word for key, value in conf.items() for word in ("--conf", f"spark.eventLog.{key}={value}")]
    found = prepare(clicks, DAYS[-1], WORK / "lake-skew", submit_words=words, settings=NO_BOT_RULES)
    tell(name, found)
    stages = read_stages(EVENT_LOG)
    for title, stage in stages.items():
        print(
            f"  stage {title}: {len(stage.seconds)} tasks, median {median(stage.seconds):.1f} s, longest"
            f" {max(stage.seconds):.1f} s, {stage.shuffle_bytes / 2**20:,.0f} MiB into the shuffle",
            flush=True,
        )
    return stages


def longest_share(stages: dict[str, Stage]) -> float:
    """Return longest over median of the splits: of the stages behind the shuffle the one that took most."""
    seconds = max((stage.seconds for stage in stages.values() if not stage.shuffle_bytes), key=sum)
    return max(seconds) / median(seconds)


def main() -> None:
    WORK.mkdir(exist_ok=True)
    clicks = make_clicks("clicks-20m", 20_000_000, 500_000, 100_000)
    even = observe("as they are", clicks)
    skewed = observe("skewed", skew(clicks, WORK / "clicks-skewed"))
    shutil.rmtree(WORK / "lake-skew")
    print(f"bench-skew: longest_to_median={longest_share(skewed):.2f} without_skew={longest_share(even):.2f}")


if __name__ == "__main__":
    main()

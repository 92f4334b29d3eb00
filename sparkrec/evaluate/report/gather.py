"""What the lake tells of a night, a few rows of each table, as plain values; a night may have got nowhere."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from sparkrec.config import Settings
from sparkrec.contract import Table
from sparkrec.evaluate.contest import GATE_K, POPULAR
from sparkrec.evaluate.drift import figures_by_night
from sparkrec.evaluate.limits import Limit, limits_of
from sparkrec.lake import Lake
from sparkrec.tables import (
    ALL,
    EVENT_CODES,
    HISTORIES,
    ITEMS,
    METRICS,
    QUARANTINE,
    RECOMMENDATIONS,
    RUNS,
)

STAGES = ("prepare", "window", "train", "recommend", "evaluate")
PEOPLE, EVENTS_SHOWN = 10, 8
"""Users whose lists are shown, and how many of their newest events."""
NIGHTS = 60
"""Nights whose figures are drawn, at most."""
KINDS = {code: kind for kind, code in EVENT_CODES.items()}
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Night:
    """All that the page shows."""

    date: date
    settings: Settings
    version: str | None
    """The model of the published lists, None where nothing is published."""
    stages: dict[str, dict[str, Any]]
    """The newest run of every stage for the date: status, seconds, rows, message, figures."""
    refused_rows: dict[str, int]
    counts: dict[str, int]
    """Users and items known, users with lists and rows of them."""
    metrics: Rows
    history: Rows
    """The headline's figure of all nights, the model's and most-popular's."""
    drift: Rows
    """By night and group the stability index that the publish check saw."""
    limits: list[Limit]
    people: Rows
    sizes: dict[str, int]
    """Bytes of the files of every table as it is now."""


def gather(lake: Lake, run_date: date, settings: Settings) -> Night:
    """Return what the page shows."""
    runs = lake.read_or_empty(RUNS)
    of_night = F.col("run_date") == F.lit(run_date)
    stages = {row["job"]: _run(row) for row in runs.where(of_night).orderBy("started_at").collect()}
    night = lake.read_or_empty(RECOMMENDATIONS).where(of_night)
    first = night.select("model_version").first()
    figures: Mapping[str, float] = stages.get("recommend", {}).get("figures", {})
    return Night(
        date=run_date,
        settings=settings,
        version=first["model_version"] if first else None,
        stages=stages,
        refused_rows=_counts(lake.read_or_empty(QUARANTINE).where(of_night), "reason"),
        counts=_sizes_of_night(lake, night),
        metrics=_rows(lake.read_or_empty(METRICS).where(of_night).orderBy("protocol", "slice", "metric", "k")),
        history=_history(lake.read_or_empty(METRICS), run_date),
        drift=_drift(runs, run_date),
        limits=limits_of(figures, settings.recommend),
        people=_people(lake, night, settings.run.seed) if first else [],
        sizes={table.name: _bytes(lake, table) for table in ALL},
    )


def _run(row: Row) -> dict[str, Any]:
    seconds = (row["ended_at"] - row["started_at"]).total_seconds()
    told = {name: row[name] for name in ("status", "rows_in", "message", "code_version")}
    return {**told, "seconds": seconds, "rows_out": row["rows_out"] or {}, "figures": row["figures"] or {}}


def _counts(rows: DataFrame, column: str) -> dict[str, int]:
    return {row[column]: row["count"] for row in rows.groupBy(column).count().orderBy(F.desc("count")).collect()}


def _sizes_of_night(lake: Lake, night: DataFrame) -> dict[str, int]:
    lists = night.agg(F.count("*").alias("rows"), F.count_if(F.col("rank") == 1).alias("users")).first()
    return {
        "users known": lake.num_rows(HISTORIES) if lake.has(HISTORIES) else 0,
        "items known": lake.num_rows(ITEMS) if lake.has(ITEMS) else 0,
        "users with a list": lists["users"] if lists else 0,
        "rows published": lists["rows"] if lists else 0,
    }


def _rows(frame: DataFrame) -> Rows:
    return [row.asDict() for row in frame.collect()]


def _history(metrics: DataFrame, run_date: date) -> Rows:
    """NDCG over all users among all items, of what was published and of most-popular."""
    headline = (F.col("slice") == "all") & F.col("protocol").endswith("_full") & (F.col("against") == "")
    chosen = headline & (F.col("metric") == "ndcg") & (F.col("k") == GATE_K) & (F.col("run_date") <= F.lit(run_date))
    published = F.when(F.col("model_version") == POPULAR, POPULAR).otherwise("model").alias("who")
    rows = metrics.where(chosen).select("run_date", published, "model_version", "value", "low", "high")
    return _rows(rows.orderBy(F.desc("run_date"), "model_version").limit(NIGHTS * 2))[::-1]


def _drift(runs: DataFrame, run_date: date) -> Rows:
    return [
        {"run_date": night, "group": name.removeprefix("drift "), "value": value}
        for night, figures in reversed(figures_by_night(runs, run_date, NIGHTS))
        for name, value in sorted(figures.items())
        if name.startswith("drift ")
    ]


def _people(lake: Lake, night: DataFrame, seed: int) -> Rows:
    """A few users by chance: the newest events beside the list."""
    by_chance = F.xxhash64("user_id", F.lit(seed))
    users = night.where(F.col("rank") == 1).orderBy(by_chance).limit(PEOPLE).select("user_id")
    items = lake.read(ITEMS).select("item_id", "item_idx", "category", "brand", "price")
    lists = night.join(F.broadcast(users), "user_id", how="left_semi").join(items, "item_id", how="left")
    of_user: dict[str, dict[str, Any]] = {}
    for row in lists.orderBy("user_id", "rank").collect():
        user = of_user.setdefault(row["user_id"], {"user_id": row["user_id"], "past": [], "list": []})
        user["list"].append(row.asDict())
    pasts = lake.read(HISTORIES).join(F.broadcast(users), "user_id", how="left_semi")
    events = F.arrays_zip("item_idxs", "event_types", "event_tss")
    shown = F.slice(events, F.greatest(F.size("item_idxs") - EVENTS_SHOWN + 1, F.lit(1)), EVENTS_SHOWN)
    newest = pasts.select("user_id", F.posexplode(shown).alias("place", "event")).select("user_id", "place", "event.*")
    told = newest.withColumnRenamed("item_idxs", "item_idx").join(items, "item_idx", how="left")
    for row in told.orderBy("user_id", F.desc("place")).collect():
        event = {**row.asDict(), "kind": KINDS.get(row["event_types"], "?")}
        of_user[row["user_id"]]["past"].append(event)
    return list(of_user.values())


def _bytes(lake: Lake, table: Table) -> int:
    files = lake.files(table)
    return int(files["size_bytes"].sum()) if files is not None and len(files) else 0

"""What the lake tells of a night, a few rows of each table, as plain values; a night may have got nowhere."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from sparkrec.config import Settings
from sparkrec.config.settings import GATE_K
from sparkrec.contract import Table
from sparkrec.evaluate.contest import POPULAR
from sparkrec.evaluate.drift import figures_by_night
from sparkrec.evaluate.limits import Limit, limits_of
from sparkrec.evaluate.protocols import protocol_of
from sparkrec.lake import Lake
from sparkrec.models.published import night_before, published_version
from sparkrec.models.store import REFIT
from sparkrec.prepare.clean import start_of
from sparkrec.prepare.heal import ZONE
from sparkrec.tables import (
    ALL,
    EVENT_CODES,
    EVENTS,
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
    failure: str
    """What ended the command that wrote this, '' for nothing; a stage that was refused leaves no other trace."""
    refused_rows: dict[str, int]
    counts: dict[str, int]
    """Users with lists and rows of them; users and items known, as the tables are now."""
    metrics: Rows
    history: Rows
    """The headline's figure of all nights, of the published model and of most-popular."""
    champion: str | None
    """The model of the night before, where it is another one and was compared with."""
    drift: Rows
    """By night and group the stability index that the publish check saw."""
    limits: list[Limit]
    people: Rows
    sizes: dict[str, int]
    """Bytes of the files of every table as it is now."""


def gather(lake: Lake, run_date: date, settings: Settings, failure: str = "") -> Night:
    """Return what the page shows."""
    runs = lake.read_or_empty(RUNS)
    of_night = F.col("run_date") == F.lit(run_date)
    stages = {row["job"]: _run(row) for row in runs.where(of_night).orderBy("started_at").collect()}
    night = lake.read_or_empty(RECOMMENDATIONS).where(of_night)
    first = night.select("model_version").first()
    figures: Mapping[str, float] = stages.get("recommend", {}).get("figures", {})
    metrics = lake.read_or_empty(METRICS)
    history = _history(metrics, run_date, protocol_of(settings.window))
    before = _model_before(lake, run_date)
    told = _rows(metrics.where(of_night).orderBy("protocol", "slice", "metric", "k"))
    return Night(
        date=run_date,
        settings=settings,
        version=first["model_version"] if first else None,
        stages=stages,
        failure=failure,
        refused_rows=_counts(lake.read_or_empty(QUARANTINE).where(of_night), "reason"),
        counts=_sizes_of_night(lake, night),
        metrics=told,
        history=history,
        champion=next((row["against"] for row in told if row["against"] == before != ""), None),
        drift=_drift(runs, run_date),
        limits=limits_of(figures, settings.recommend),
        people=_people(lake, night, run_date, settings.run.seed) if first else [],
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
        "users with a list": lists["users"] if lists else 0,
        "rows published": lists["rows"] if lists else 0,
        "users known now": lake.num_rows(HISTORIES) if lake.has(HISTORIES) else 0,
        "items known now": lake.num_rows(ITEMS) if lake.has(ITEMS) else 0,
    }


def _rows(frame: DataFrame) -> Rows:
    return [row.asDict() for row in frame.collect()]


def _history(metrics: DataFrame, run_date: date, protocol: str) -> Rows:
    """Return NDCG over all users by this protocol, oldest night first: of what was published, which is what others were
    compared with, and of most-popular."""
    is_headline = (F.col("protocol") == protocol) & (F.col("slice") == "all") & (F.col("metric") == "ndcg")
    nights = metrics.where(is_headline & (F.col("k") == GATE_K) & (F.col("run_date") <= F.lit(run_date)))
    who = F.when(F.col("model_version") == POPULAR, POPULAR).otherwise("model").alias("who")
    rows = nights.where("against = ''").select("run_date", who, "model_version", "value", "low", "high", "num_users")
    of_models = nights.where(F.col("against") == POPULAR).select("run_date", "model_version")
    ours = rows.join(of_models, ["run_date", "model_version"], how="left_semi")
    both = ours.unionByName(rows.where(F.col("who") == POPULAR))
    return _rows(both.orderBy(F.desc("run_date"), "who").limit(NIGHTS * 2))[::-1]


def _model_before(lake: Lake, run_date: date) -> str:
    """Return the version by which the last published night's model is compared with, '' without such a night."""
    before = night_before(lake, run_date)
    return (published_version(before[1]) or "").removesuffix(REFIT) if before else ""


def _drift(runs: DataFrame, run_date: date) -> Rows:
    return [
        {"run_date": night, "group": name.removeprefix("drift "), "value": value}
        for night, figures in reversed(figures_by_night(runs, run_date, NIGHTS))
        for name, value in sorted(figures.items())
        if name.startswith("drift ")
    ]


def _people(lake: Lake, night: DataFrame, run_date: date, seed: int) -> Rows:
    """Return a few users by chance: the newest events until the date, as far as histories tell, beside the list."""
    by_chance = F.xxhash64("user_id", F.lit(seed))
    users = night.where(F.col("rank") == 1).orderBy(by_chance).limit(PEOPLE).select("user_id")
    items = lake.read(ITEMS).select("item_id", "item_idx", "category", "brand", "price")
    lists = night.join(F.broadcast(users), "user_id", how="left_semi").join(items, "item_id", how="left")
    of_user: dict[str, dict[str, Any]] = {}
    for row in lists.orderBy("user_id", "rank").collect():
        user = of_user.setdefault(row["user_id"], {"user_id": row["user_id"], "past": [], "list": []})
        user["list"].append(row.asDict())
    pasts = lake.read(HISTORIES).join(F.broadcast(users), "user_id", how="left_semi")
    columns = ("item_idxs", "event_types", "event_tss", "prices")
    end_us = start_of(run_date + timedelta(days=1), lake.properties(EVENTS).get(ZONE) or "UTC")
    until = F.filter(F.arrays_zip(*columns), lambda event: event["event_tss"] < end_us)
    shown = F.slice(until, F.greatest(F.size(until) - EVENTS_SHOWN + 1, F.lit(1)), EVENTS_SHOWN)
    newest = pasts.select("user_id", F.posexplode(shown).alias("place", "event")).select("user_id", "place", "event.*")
    told = newest.withColumnsRenamed({"item_idxs": "item_idx", "prices": "paid"}).join(items, "item_idx", how="left")
    for row in told.orderBy("user_id", F.desc("place")).collect():
        event = {**row.asDict(), "kind": KINDS.get(row["event_types"], "?")}
        of_user[row["user_id"]]["past"].append(event)
    return list(of_user.values())


def _bytes(lake: Lake, table: Table) -> int:
    files = lake.files(table)
    return int(files["size_bytes"].sum()) if files is not None and len(files) else 0

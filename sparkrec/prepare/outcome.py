"""What a split changes, written as files under the staging folder: nothing a reader of the lake can see yet."""

from dataclasses import dataclass
from datetime import date
from typing import Any

import polars as pl

from sparkrec.prepare.news import write_news
from sparkrec.prepare.plan import ROWS, NightPlan, local_day, words
from sparkrec.prepare.staged import stage_file, write_part
from sparkrec.prepare.steps import write_steps
from sparkrec.prepare.stored import read_stored, stored_days


@dataclass(frozen=True)
class Outcome:
    """Where the rows of a split go."""

    kept: pl.DataFrame
    """Events of touched users from their `from_date` on, as the lake shall have them; run_date is null for new ones."""
    removed: pl.DataFrame
    """Events that the lake has and shall have no longer."""
    num_withdrawn: int
    """Events of an earlier run of this date that are gone now, or have another content."""
    refused: list[tuple[pl.DataFrame, str | None]]
    """Rows for the quarantine and why; None where the rows say it themselves (`verdict`, `raw`)."""
    touched: pl.DataFrame
    """Users whose events change: user_id, user_key, from_date."""
    counted: pl.DataFrame
    """How many of their events lie before `kept`: user_id, num_before."""
    tails: pl.DataFrame
    """What `histories` says of them, columns of TAILS."""


def write_outcome(plan: NightPlan, split: int, bucket: int, outcome: Outcome) -> list[dict[str, Any]]:
    """Write the files of a split; return a report per file and per reason."""
    kept = outcome.kept
    is_new = pl.col("run_date").is_null()
    changed = pl.concat(
        [
            kept.filter(is_new | (pl.col("session_id") != pl.col("old_session"))).select("user_id", "event_date"),
            outcome.removed.select("user_id", "event_date"),
        ]
    ).unique()
    days = list(stored_days(plan, bucket))
    has_files = pl.col("event_date").is_in(days)
    direct = kept.filter(~has_files) if days else kept
    told = [
        write_events(plan, bucket, rows, day, f"{split}")
        for (day,), rows in direct.partition_by("event_date", as_dict=True, maintain_order=True).items()
        if isinstance(day, date)
    ]
    told += _write_patches(plan, split, bucket, kept, changed.filter(has_files))
    told += _write_refused(plan, split, outcome)
    older = _older(plan, bucket, outcome)
    # Users of whom every new row was refused are as they were.
    changing = pl.concat([kept.select("user_id"), outcome.removed.select("user_id")])
    touched = outcome.touched.join(changing, on="user_id", how="semi")
    again = outcome.removed.select("user_id").unique()
    write_steps(plan, split, bucket, kept, older, again, touched, outcome.counted, outcome.tails)
    write_news(plan, split, kept.filter(is_new & pl.col("item_id").is_not_null()))
    return told


def write_events(plan: NightPlan, bucket: int, rows: pl.DataFrame, day: date, name: str) -> dict[str, Any]:
    """Write one file of `events`; return what its commit needs. In: rows of one day and bucket, with session_id."""
    written = rows.select(
        "user_id",
        "item_id",
        words(rows["kind"]).alias("event_type"),
        pl.from_epoch("event_us", time_unit="us").dt.replace_time_zone("UTC").alias("event_ts"),
        "session_id",
        "price",
        "category",
        "brand",
        "query",
        pl.col("run_date").fill_null(plan.run_date),
        pl.lit(bucket, dtype=pl.Int32).alias("user_bucket"),
    )
    return write_part(written, plan.folder("events"), f"{plan.run_date}-{name}", {"event_date": str(day)})


def _write_patches(
    plan: NightPlan, split: int, bucket: int, kept: pl.DataFrame, changed: pl.DataFrame
) -> list[dict[str, Any]]:
    """Write the users' days that take the place of what files of the lake hold, see patch.py."""
    told = []
    for (day,), users in changed.partition_by("event_date", as_dict=True).items():
        unit = f"patches/{day}/{bucket}"
        rows = kept.filter(pl.col("event_date") == day).join(users, on="user_id", how="semi", maintain_order="left")
        stage_file(rows.select([*ROWS, "session_id"]), plan.folder(f"{unit}/rows") / f"{split}.parquet")
        stage_file(users.select("user_id"), plan.folder(f"{unit}/users") / f"{split}.parquet")
        told.append({"kind": "patch", "day": str(day), "bucket": bucket})
    return told


def _write_refused(plan: NightPlan, split: int, outcome: Outcome) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = []
    pages = []
    for rows, reason in outcome.refused:
        if not len(rows):
            continue
        page = _page(plan, rows, reason)
        pages.append(page)
        in_lake = int(rows["run_date"].is_not_null().sum()) if reason else 0
        for name, count in page.group_by("reason").len().iter_rows():
            told.append({"kind": "refused", "name": name, "num": count - in_lake})
    if pages:
        partition = {"run_date": str(plan.run_date)}
        told.append(write_part(pl.concat(pages), plan.folder("quarantine"), f"{split}", partition))
    told.append({"kind": "gone", "name": "own", "num": outcome.num_withdrawn})
    return told


def _page(plan: NightPlan, rows: pl.DataFrame, reason: str | None) -> pl.DataFrame:
    if reason is None:
        day = local_day(pl.col("event_us"), plan.zone)
        page = rows.select(pl.col("verdict").alias("reason"), "raw", "source", "user_id", day.alias("event_date"))
    else:
        readable = pl.struct(
            "user_id",
            "item_id",
            words(rows["kind"]).alias("event_type"),
            pl.from_epoch("event_us", time_unit="us").dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").alias("event_ts"),
            "price",
            "category",
            "brand",
            "query",
        )
        raw = readable.struct.json_encode().alias("raw")
        page = rows.select(pl.lit(reason).alias("reason"), raw, "source", "user_id", "event_date")
    # Null says that an earlier run had taken the event in; nothing else may.
    named = pl.col("source").replace_strict(plan.source_names, default="unknown", return_dtype=pl.String)
    file = pl.when(pl.col("source").is_not_null()).then(named)
    return page.with_columns(file.alias("source_file")).select("reason", "raw", "source_file", "user_id", "event_date")


def _older(plan: NightPlan, bucket: int, outcome: Outcome) -> pl.DataFrame:
    """Return all earlier events of users that lost some: their history may reach further back than it did."""
    lost = outcome.touched.join(outcome.removed.select("user_id").unique(), on="user_id", how="semi")
    stored = read_stored(plan, bucket, lost, None)
    older = stored.join(lost.select("user_id", "from_date"), on="user_id", how="inner")
    return older.filter((pl.col("event_date") < pl.col("from_date")) & (pl.col("run_date") != plan.run_date)).select(
        list(ROWS)
    )

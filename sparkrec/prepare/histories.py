"""One row per user: the newest events in time order, and what was bought; old histories with a night's steps added."""

from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from sparkrec.parquet import open_file
from sparkrec.prepare.plan import NightPlan
from sparkrec.prepare.staged import write_part
from sparkrec.tables import HISTORIES, UNKNOWN
from sparkrec.tasks import Work

LISTS = {
    "item_idxs": pl.Int32,
    "event_types": pl.Int8,
    "event_tss": pl.Int64,
    "session_nos": pl.Int32,
    "prices": pl.Float32,
}
ROW_GROUP_USERS = 20_000


def extend_histories(plan: NightPlan, items: list[str], as_of: date) -> Work:
    """Return the task that writes the histories of one bucket anew: touched users with the night's steps, others as is.

    In   items: files that tell item_id and item_idx. It reports a file per split that brought changes, and one for
    users left alone.
    """

    def work(bucket: int) -> list[dict[str, Any]]:
        listed = open_file(plan.history_files).filter(pl.col("user_bucket") == bucket).collect()
        old = [open_file(path) for path in listed["path"]]
        staging = Path(plan.staging)
        people_files = sorted((staging / f"people/{bucket}").glob("*.parquet"))
        vocabulary = pl.concat([open_file(path).select("item_id", "item_idx") for path in items]).collect()
        told = []
        for file in people_files:  # a split after the other, for the sake of memory
            people = open_file(file).collect()
            steps = _indexed(open_file(staging / f"steps/{bucket}/{file.name}").collect(), vocabulary)
            bought = _indexed(open_file(staging / f"bought/{bucket}/{file.name}").collect(), vocabulary)
            before = _of_users(old, people)
            rows = extend(before, people, steps, bought, plan.settings.max_history, plan.settings.max_purchased)
            told.append(_write(plan, bucket, rows, as_of))
        if old:
            touched = pl.concat([open_file(file).select("user_id") for file in people_files]) if people_files else None
            rest = pl.concat(old) if touched is None else pl.concat(old).join(touched, on="user_id", how="anti")
            told.append(_write(plan, bucket, rest, as_of))
        return [row for row in told if row["num"]]

    return work


def extend(
    old: pl.DataFrame,
    people: pl.DataFrame,
    steps: pl.DataFrame,
    bought: pl.DataFrame,
    max_history: int,
    max_purchased: int,
) -> pl.DataFrame:
    """Return the new histories of touched users.

    In   old: histories of those of them that have one. people, steps, bought: see `write_steps`, with item_idx.
    Out  a row is one user, without as_of; users without any event left have none.
    """
    new = steps.group_by("user_id", maintain_order=True).agg(
        pl.col("item_idx").alias("item_idxs_new"),
        pl.col("event_type").alias("event_types_new"),
        pl.col("event_us").alias("event_tss_new"),
        pl.col("opens").cast(pl.Int32).cum_sum().alias("session_nos_new"),
        pl.col("price").alias("prices_new"),
    )
    new_bought = bought.group_by("user_id", maintain_order=True).agg(pl.col("item_idx").alias("purchased_new"))
    kept_old = _until(old, people)
    together = (
        people.join(kept_old, on="user_id", how="left")
        .join(new, on="user_id", how="left")
        .join(new_bought, on="user_id", how="left")  # one row per user_id in each
        .with_columns(
            *(pl.col(name).fill_null([]).cast(pl.List(kind)) for name, kind in LISTS.items()),
            *(pl.col(f"{name}_new").fill_null([]).cast(pl.List(kind)) for name, kind in LISTS.items()),
            *(pl.col(name).fill_null([]).cast(pl.List(pl.Int32)) for name in ("purchased", "purchased_new")),
        )
    )
    last_no = pl.col("session_nos").list.last().fill_null(0)
    numbered = together.with_columns((pl.col("session_nos_new") + last_no).cast(pl.List(pl.Int32)))
    joined = numbered.select(
        "user_id",
        *(pl.concat_list(name, f"{name}_new").list.tail(max_history).alias(name) for name in LISTS),
        pl.concat_list("purchased_new", "purchased")
        .list.unique(maintain_order=True)
        .list.head(max_purchased)
        .alias("purchased"),
        _instant("first_us").alias("first_event_ts"),
        _instant("last_us").alias("last_event_ts"),
        "num_events",
        "session_id",
    )
    renumbered = (pl.col("session_nos") - pl.col("session_nos").list.first() + 1).cast(pl.List(pl.Int32))
    return joined.filter(pl.col("num_events") > 0).with_columns(renumbered)


def _until(old: pl.DataFrame, people: pl.DataFrame) -> pl.DataFrame:
    """Cut what the night tells anew off the old histories: events from the user's `from_us` on."""
    names = ["user_id", *LISTS, "purchased"]
    timed = old.select(names).join(people.select("user_id", "from_us"), on="user_id", how="inner")
    is_whole = pl.col("event_tss").list.last().fill_null(0) < pl.col("from_us")
    whole, cut = timed.filter(is_whole), timed.filter(~is_whole)
    if not len(cut):
        return whole.select(names)
    again = cut.filter(pl.col("from_us") <= -(2**61)).select("user_id")
    entries = (
        cut.select("user_id", "from_us", *LISTS).explode(list(LISTS)).filter(pl.col("event_tss") < pl.col("from_us"))
    )
    shorter = entries.group_by("user_id", maintain_order=True).agg(list(LISTS))
    nothing = pl.lit([], dtype=pl.List(pl.Int32))
    purchased = cut.select(
        "user_id",
        pl.when(pl.col("user_id").is_in(again["user_id"].implode()))
        .then(nothing)
        .otherwise("purchased")
        .alias("purchased"),
    )
    return pl.concat([whole.select(names), purchased.join(shorter, on="user_id", how="left").select(names)])


def _indexed(rows: pl.DataFrame, items: pl.DataFrame) -> pl.DataFrame:
    indexed = rows.join(items, on="item_id", how="left", maintain_order="left")  # one row per item_id in items
    return indexed.with_columns(pl.col("item_idx").fill_null(UNKNOWN).cast(pl.Int32)).drop("item_id")


def _of_users(histories: list[pl.LazyFrame], people: pl.DataFrame) -> pl.DataFrame:
    if not histories:
        lists = {name: pl.List(kind) for name, kind in LISTS.items()}
        return pl.DataFrame(schema={"user_id": pl.String(), **lists, "purchased": pl.List(pl.Int32)})
    names = ["user_id", *LISTS, "purchased"]
    theirs = pl.concat(histories).select(names).join(people.lazy().select("user_id"), on="user_id", how="semi")
    return theirs.collect()


def _write(plan: NightPlan, bucket: int, rows: pl.DataFrame | pl.LazyFrame, as_of: date) -> dict[str, Any]:
    written = rows.with_columns(pl.lit(as_of).alias("as_of")).select(HISTORIES.in_files.names)
    partition = {"user_bucket": str(bucket)}
    return write_part(written, plan.folder("histories"), f"{as_of}", partition, ROW_GROUP_USERS)


def _instant(name: str) -> pl.Expr:
    return pl.from_epoch(name, time_unit="us").dt.replace_time_zone("UTC")

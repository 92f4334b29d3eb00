"""The same work in Polars alone: raw Parquet -> events with sessions, items, the last 50 events per user, as Parquet.

POLARS_MAX_THREADS=2 python benchmarks/peers/polars_prepare.py RAW OUT
"""

import shutil
import sys
import time
from pathlib import Path

import polars as pl

KEY = ["user_id", "event_ts", "item_id", "event_type"]
GAP_US = 1_800_000_000


def text(name: str) -> pl.Expr:
    trimmed = pl.col(name).str.strip_chars(" ")
    return pl.when(trimmed != "").then(trimmed).alias(name)


def clean(raw: str) -> pl.DataFrame:
    when = pl.col("event_time").str.strip_suffix(" UTC").str.to_datetime("%Y-%m-%d %H:%M:%S%.3f", strict=False)
    typed = pl.scan_parquet(f"{raw}/*.parquet").select(
        text("user_id"),
        text("item_id"),
        "event_type",
        when.alias("event_ts"),
        "price",
        text("category"),
        text("brand"),
        text("query"),
    )
    standing = typed.filter(
        pl.col("user_id").is_not_null()
        & pl.col("event_ts").is_not_null()
        & pl.col("event_type").is_in(["view", "cart", "purchase", "search"])
        & (pl.col("item_id").is_not_null() | (pl.col("event_type") == "search"))
        & (pl.col("price").is_null() | pl.col("price").is_between(0, 1e12))
    )
    return standing.with_columns(pl.col("event_ts").dt.date().alias("event_date")).collect()


def sessionize(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the rows in order, each event once, without bots' days, with session_id."""
    rows = rows.sort(KEY)
    again = pl.all_horizontal(pl.col(name).eq_missing(pl.col(name).shift()) for name in KEY)
    rows = rows.filter(~again)
    bots = rows.group_by("user_id", "event_date").len().filter(pl.col("len") > 1000)
    rows = rows.join(bots, on=["user_id", "event_date"], how="anti", maintain_order="left")
    is_first = (pl.col("user_id") != pl.col("user_id").shift()).fill_null(True)
    opens = is_first | ((pl.col("event_ts") - pl.col("event_ts").shift()).dt.total_microseconds() > GAP_US)
    rows = rows.with_columns(opens.alias("opens"))
    start = pl.col("event_ts").dt.epoch("s").cast(pl.String)
    names = rows.filter("opens").select(pl.col("user_id") + "@" + start).to_series()
    return rows.with_columns(names.gather(rows["opens"].cum_sum() - 1).alias("session_id")).drop("opens")


def number_items(rows: pl.DataFrame) -> pl.DataFrame:
    described = (
        rows.filter(pl.col("item_id").is_not_null())
        .group_by("item_id")
        .agg(
            pl.col("event_date").min().alias("first_seen"),
            pl.col("event_date").max().alias("last_seen"),
            pl.len().alias("num_events"),
            *(pl.col(name).sort_by("event_ts").drop_nulls().last() for name in ("category", "brand", "price")),
        )
    )
    return described.sort("item_id").with_row_index("item_idx", offset=2)


def last_fifty(rows: pl.DataFrame, items: pl.DataFrame) -> pl.DataFrame:
    newest = rows.group_by("user_id", maintain_order=True).tail(50)
    indexed = newest.join(items.select("item_id", "item_idx"), on="item_id", how="left", maintain_order="left")
    return indexed.group_by("user_id", maintain_order=True).agg(
        pl.col("item_idx").fill_null(1),
        "event_type",
        pl.col("event_ts").dt.epoch("us"),
        pl.col("price").cast(pl.Float32),
    )


def main(raw: str, out: str) -> None:
    shutil.rmtree(out, ignore_errors=True)
    Path(out).mkdir(parents=True)
    started = time.monotonic()
    rows = sessionize(clean(raw))
    for (day,), part in rows.partition_by("event_date", as_dict=True, maintain_order=True).items():
        folder = Path(out) / "events" / f"event_date={day}"
        folder.mkdir(parents=True)
        part.drop("event_date").write_parquet(folder / "0.parquet", compression="zstd", compression_level=1)
    items = number_items(rows)
    items.write_parquet(Path(out) / "items.parquet")
    last_fifty(rows, items).write_parquet(Path(out) / "histories.parquet", compression="zstd", compression_level=1)
    seconds = time.monotonic() - started
    print(f"polars: {len(rows):,} events, {rows['session_id'].n_unique():,} sessions; done in {seconds:.1f} s")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])

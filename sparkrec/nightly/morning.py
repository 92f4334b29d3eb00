"""The last page of a nightly run: a few lists, the query to run next, and one line for scripts."""

from collections.abc import Mapping
from datetime import date

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from sparkrec.lake import Lake
from sparkrec.tables import HISTORIES, ITEMS, RECOMMENDATIONS

USERS_SHOWN, RANKS_SHOWN = 3, 4


def show_morning(lake: Lake, run_date: date) -> None:
    """Print a few users' first items beside what they looked at last, and how to go on."""
    night = lake.read(RECOMMENDATIONS).where(F.col("run_date") == F.lit(run_date))
    lists = first_lists(night, lake.read(HISTORIES), lake.read(ITEMS)).collect()  # twelve rows
    print(f"\nA few of the recommendations of {run_date}:\n")
    head = ("user", "looked at last", "rank", "item", "category", "price", "score", "source")
    print(as_text([head, *(tuple(_cell(value) for value in row) for row in lists)]))
    print(
        "\nAsk for more with (Spark SQL; the README has the same for Polars and DuckDB):\n"
        f"  SELECT * FROM delta.`{lake.path(RECOMMENDATIONS)}`\n"
        f"  WHERE run_date = '{run_date}' AND user_id = '{lists[0]['user_id'] if lists else '…'}' ORDER BY rank\n"
    )


def first_lists(night: DataFrame, histories: DataFrame, items: DataFrame) -> DataFrame:
    """Return the first ranks of the users with the longest histories that are not bots' (ties by id)."""
    known = items.select("item_id", "item_idx", F.coalesce("category", F.lit("")).alias("category"), "price")
    by_model = night.where((F.col("source") == "model") & (F.col("rank") == 1)).select("user_id")
    chosen = (
        histories.join(by_model, "user_id", how="left_semi")
        .orderBy(F.desc("num_events"), "user_id")
        .limit(USERS_SHOWN)
        .select(
            "user_id",
            "num_events",
            F.element_at(F.filter("item_idxs", lambda idx: idx > 1), -1).alias("item_idx"),
        )
    )
    last = chosen.join(known, "item_idx", how="left").select(  # one row per item_idx
        "user_id", "num_events", F.concat_ws(" ", "item_id", "category").alias("last_item")
    )
    shown = night.where(F.col("rank") <= RANKS_SHOWN).join(F.broadcast(last), "user_id", how="inner")
    return (
        shown.join(known, "item_id", how="left")  # one row per item_id
        .orderBy(F.desc("num_events"), "user_id", "rank")
        .select("user_id", "last_item", "rank", "item_id", "category", "price", "score", "source")
    )


def last_line(lake: Lake, run_date: date, seconds: float, figures: Mapping[str, float]) -> str:
    """Return the line for scripts; users and rows are those of `recommendations` for the date."""
    night = lake.read(RECOMMENDATIONS).where(F.col("run_date") == F.lit(run_date))
    counted = night.agg(F.countDistinct("user_id").alias("users"), F.count("*").alias("rows")).first()
    users, rows = (counted["users"], counted["rows"]) if counted else (0, 0)
    told = " ".join(f"{name}={figures.get(name, float('nan')):.4f}" for name in ("hr10", "ndcg10", "popular_ndcg10"))
    return f"nightly: date={run_date} users={users} rows={rows} seconds={seconds:.1f} {told}"


def as_text(rows: list[tuple[str, ...]]) -> str:
    """Return rows as aligned columns."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.2f}" if isinstance(value, float) else str(value)[:40]

"""What a night's new events tell of items: staged by the splits, read by items.py."""

import polars as pl

from sparkrec.prepare.plan import NightPlan
from sparkrec.prepare.staged import write_file

TOLD = ("category", "brand", "price")


def write_news(plan: NightPlan, split: int, new: pl.DataFrame) -> None:
    """Write news and visitors of a split.

    In   new: events on items that the lake did not have.
    news: a row is one item: item_id, and for each of TOLD the latest value and when it was told (`<name>_us`).
    visitors: a row is one item and one user that touched it: item_id, user_key.
    """
    if not len(new):
        return
    news = new.select("item_id").unique()
    for name in TOLD:
        news = news.join(_latest(new, name), on="item_id", how="left")
    write_file(news, plan.folder("news") / f"{split}.parquet")
    write_file(new.select("item_id", "user_key").unique(), plan.folder("visitors") / f"{split}.parquet")


def _latest(new: pl.DataFrame, name: str) -> pl.DataFrame:
    # Items have few values: those come first, so that little is left to sort. Ties go to the largest value.
    told = new.filter(pl.col(name).is_not_null())
    values = told.group_by("item_id", name).agg(pl.col("event_us").max().alias(f"{name}_us"))
    return values.sort(f"{name}_us", name).group_by("item_id").last()

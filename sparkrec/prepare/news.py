"""What a night's new events tell of items: staged by the splits, read by items.py."""

import polars as pl

from sparkrec.prepare.plan import NightPlan
from sparkrec.prepare.staged import stage_file

NUM_GROUPS = 16
TOLD = ("category", "brand", "price")
MAX_VISITORS = 512
"""Users in an item's sample: those with the smallest hashes. Up to so many the number of users is exact; beyond, it is
estimated from the largest of them within 4.4 % (one sigma; k minimum values, Bar-Yossef et al. 2002)."""


def write_news(plan: NightPlan, split: int, new: pl.DataFrame) -> None:
    """Write news and visitors of a split.

    In   new: events on items that the lake did not have.
    news: a row is one item: item_id, and for each of TOLD the latest value and when it was told (`<name>_us`).
    visitors: a row is one item: item_id, user_keys, the MAX_VISITORS smallest hashes of its users, in order; a folder
    per group of items, so that a task which describes some groups reads no others.
    """
    if not len(new):
        return
    # Numbers group faster than text, and a few values per item are all that is told of it.
    names = new["item_id"].cast(pl.Categorical)
    numbered = new.select(names.to_physical().alias("item"), "item_id", "user_key", "event_us", *TOLD)
    values = numbered.group_by("item", *TOLD).agg(pl.col("item_id").first(), pl.col("event_us").max())
    news = values.group_by("item").agg(pl.col("item_id").first())
    for name in TOLD:
        told = values.filter(pl.col(name).is_not_null()).sort("event_us", name)
        latest = told.group_by("item").agg(pl.col(name).last(), pl.col("event_us").last().alias(f"{name}_us"))
        news = news.join(latest, on="item", how="left")
    visitors = _visitors(numbered)
    stage_file(news.drop("item"), plan.folder("news") / f"{split}.parquet")
    named = visitors.join(news.select("item", "item_id"), on="item", how="left").drop("item")
    for (group,), rows in named.with_columns(item_group().alias("group")).partition_by("group", as_dict=True).items():
        stage_file(rows.drop("group"), plan.folder(f"visitors/{group}") / f"{split}.parquet")


def item_group() -> pl.Expr:
    """Return the group, of NUM_GROUPS, of an item; it serves within a night only, as Polars may change its hash."""
    return pl.col("item_id").hash() % NUM_GROUPS


def _visitors(numbered: pl.DataFrame) -> pl.DataFrame:
    """Return a row per item: item, user_keys. In: rows in the order of user_key."""
    # One number for item and user sorts fastest; numbers of users are in the order of their hashes.
    is_first = numbered["user_key"].ne_missing(numbered["user_key"].shift())
    keys = numbered["user_key"].filter(is_first)
    user_no = is_first.cast(pl.UInt64).cum_sum() - 1
    pair = (numbered["item"].cast(pl.UInt64) * 2**32 + user_no).sort()
    once = pair.filter(pair.ne_missing(pair.shift()))
    pairs = pl.DataFrame(
        {"item": (once // 2**32).cast(pl.UInt32), "user_key": keys.gather((once % 2**32).cast(pl.UInt32))}
    )
    return pairs.group_by("item", maintain_order=True).agg(pl.col("user_key").head(MAX_VISITORS).alias("user_keys"))

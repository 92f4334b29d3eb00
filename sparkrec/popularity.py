"""What is known of every item, as vectors by item index: how often it occurred, and its category."""

from datetime import date, timedelta

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from sparkrec.sequences import NO_CATEGORY, Ints


def count_by_index(items: DataFrame, item_days: DataFrame, last_day: date, num_days: int | None = None) -> Ints:
    """Return the events of every item up to `last_day`, or of the `num_days` that end with it; (vocabulary size,).

    One number per catalogue item passes through the driver, as do the item vectors of a model.
    """
    days = item_days.where(F.col("event_date") <= F.lit(last_day))
    if num_days is not None:
        days = days.where(F.col("event_date") > F.lit(last_day - timedelta(days=num_days)))
    counted = days.groupBy("item_id").agg(F.sum("num_events").alias("num_events"))
    indexed = items.select("item_id", "item_idx").join(counted, "item_id", how="left")  # one row per item_id
    rows = indexed.select("item_idx", F.coalesce("num_events", F.lit(0)).alias("num_events")).toArrow()
    item_idxs = rows.column("item_idx").to_numpy()
    counts = np.zeros(int(item_idxs.max(initial=1)) + 1, dtype=np.int64)
    counts[item_idxs] = rows.column("num_events").to_numpy()
    return counts


def with_events(items: DataFrame, item_days: DataFrame) -> DataFrame:
    """Return the items that occur in `item_days`: what was known then, also where `items` has grown since."""
    return items.join(item_days.select("item_id").distinct(), "item_id", how="left_semi")


def categories_by_index(items: DataFrame, vocabulary_size: int) -> Ints:
    """Return a number for the category of every item, a hash of its name, NO_CATEGORY for none; (V,)."""
    told = items.where(F.col("category").isNotNull())
    rows = told.select("item_idx", F.shiftrightunsigned(F.xxhash64("category"), 2).alias("category")).toArrow()
    categories = np.full(vocabulary_size, NO_CATEGORY, dtype=np.int64)
    categories[rows.column("item_idx").to_numpy()] = rows.column("category").to_numpy()
    return categories

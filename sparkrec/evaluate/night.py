"""The published lists of the night, and those of the night before in the light of what users did since."""

from collections.abc import Sequence
from datetime import date

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from sparkrec.evaluate.figures import FIGURES, summed
from sparkrec.evaluate.lists import by_user, with_deeds
from sparkrec.evaluate.properties import over_all_lists, rows_over_all, sums_of_properties, traits_of
from sparkrec.evaluate.slices import popularity_classes
from sparkrec.evaluate.worth import sums_of_worth
from sparkrec.lake import Lake
from sparkrec.models.published import published_version
from sparkrec.popularity import categories_by_index, count_by_index
from sparkrec.prepare.as_of import Known
from sparkrec.sequences import Ints
from sparkrec.tables import EVENTS, RECOMMENDATIONS

PUBLISHED, REALISED = "published", "realised"
"""Protocols: what tonight's lists are like, and what the last night's were worth."""

PROPERTY_USERS = 1_000_000
"""About so many users' lists, at least, tell what lists are like; the interval tells how well."""


def figures_of_published(
    lake: Lake, items: DataFrame, counts: Ints, run_date: date, version: str, top_k: Sequence[int]
) -> list[DataFrame]:
    """Return FIGURES of the lists of the date: novelty, popularity and diversity, coverage of the available items and
    Gini. In: counts: events by item."""
    night = _night(lake, run_date)
    num_users = night.where(F.col("rank") == 1).count()
    lists, num_items = _indexed(night.select("user_id", "rank", "item_id"), items), items.where("available").count()
    of_all = rows_over_all(over_all_lists(lists, num_items, top_k), version, PUBLISHED, num_users)
    one_in = max(1, num_users // PROPERTY_USERS)
    chosen = by_user(lists.where(F.pmod(F.xxhash64("user_id"), F.lit(one_in)) == 0))
    traits = traits_of(counts, categories_by_index(items, len(counts)))
    sums = sums_of_properties(chosen, traits, version, top_k, PUBLISHED)
    return [summed(sums), lake.spark.createDataFrame(of_all, FIGURES)]


def figures_of_realised(
    lake: Lake, items: DataFrame, known: Known, run_date: date, top_k: Sequence[int]
) -> list[DataFrame]:
    """Return FIGURES: what the lists of the last night before the date were worth to users with a list who did
    something since, until the date; nothing without such a night."""
    last_date = lake.last_date(RECOMMENDATIONS, run_date)
    if last_date is None:
        return []
    night = _night(lake, last_date)
    since = (F.col("event_date") > F.lit(last_date)) & (F.col("event_date") <= F.lit(run_date))
    deeds = lake.read(EVENTS).where(since & (F.col("run_date") <= F.lit(run_date)) & F.col("item_id").isNotNull())
    done = _indexed(deeds.select("user_id", "item_id", "event_type"), items)
    theirs = night.join(done.select("user_id").distinct(), "user_id", how="left_semi")
    users = with_deeds(by_user(_indexed(theirs.select("user_id", "rank", "item_id"), items)), done)
    counts = count_by_index(items, known.item_days, last_date)
    version = published_version(night) or ""
    return [summed(sums_of_worth(users, counts, popularity_classes(counts), version, top_k, REALISED))]


def _night(lake: Lake, run_date: date) -> DataFrame:
    return lake.read(RECOMMENDATIONS).where(F.col("run_date") == F.lit(run_date))


def _indexed(rows: DataFrame, items: DataFrame) -> DataFrame:
    """Return the rows with item_idx in place of item_id."""
    return rows.join(items.select("item_id", "item_idx"), "item_id", how="inner").drop("item_id")  # one row per item_id

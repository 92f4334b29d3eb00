"""The published lists of the night, and those of the night before in the light of what users did since."""

from collections.abc import Sequence
from datetime import date

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from sparkrec.evaluate.drift import figures_by_night
from sparkrec.evaluate.figures import FIGURES, summed
from sparkrec.evaluate.lists import by_user, with_deeds
from sparkrec.evaluate.properties import over_all_lists, rows_over_all, sums_of_properties, traits_of
from sparkrec.evaluate.slices import popularity_classes
from sparkrec.evaluate.worth import sums_of_worth
from sparkrec.lake import Lake
from sparkrec.models.published import night_before, published_version
from sparkrec.popularity import categories_by_index, count_by_index
from sparkrec.prepare.as_of import Known
from sparkrec.sequences import Ints
from sparkrec.tables import EVENTS, RECOMMENDATIONS, RUNS

PUBLISHED, REALISED = "published", "realised"
"""Protocols: what tonight's lists are like, and what the last night's were worth."""

PROPERTY_USERS = 1_000_000
"""About so many users' lists, at least, tell what lists are like; the interval tells how well."""


def figures_of_published(
    lake: Lake, items: DataFrame, counts: Ints, run_date: date, version: str, top_k: Sequence[int]
) -> list[DataFrame]:
    """Return FIGURES of the lists of the date: novelty, popularity and diversity, coverage of what was on offer and
    Gini. In: items: known by then. counts: events by item."""
    night = lake.read(RECOMMENDATIONS).where(F.col("run_date") == F.lit(run_date))
    num_users, longest = _size(night)
    cut_offs = cut_offs_of(top_k, longest)
    lists = _indexed(night.select("user_id", "rank", "item_id"), items)
    # Without the night's own word on what was on offer there is nothing to cover.
    offered = _offered(lake, run_date)
    over_all = over_all_lists(lists, offered, cut_offs) if offered else {}
    of_all = rows_over_all(over_all, version, PUBLISHED, num_users)
    one_in = max(1, num_users // PROPERTY_USERS)
    chosen = by_user(lists.where(F.pmod(F.xxhash64("user_id"), F.lit(one_in)) == 0))
    traits = traits_of(counts, categories_by_index(items, len(counts)))
    sums = sums_of_properties(chosen, traits, version, cut_offs, PUBLISHED)
    return [summed(sums), lake.spark.createDataFrame(of_all, FIGURES)]


def figures_of_realised(
    lake: Lake, items: DataFrame, known: Known, run_date: date, top_k: Sequence[int]
) -> list[DataFrame]:
    """Return FIGURES: what the lists of the last night before the date were worth to users with a list who did
    something since, until the date; nothing without such a night."""
    before = night_before(lake, run_date)
    if before is None:
        return []
    last_date, night = before
    since = (F.col("event_date") > F.lit(last_date)) & (F.col("event_date") <= F.lit(run_date))
    deeds = lake.read(EVENTS).where(since & (F.col("run_date") <= F.lit(run_date)) & F.col("item_id").isNotNull())
    done = _indexed(deeds.select("user_id", "item_id", "event_type", "event_ts"), items)
    active = done.select("user_id").distinct()
    theirs = night.join(active, "user_id", how="left_semi").select("user_id", "rank", "item_id")
    pasts = known.histories.select("user_id", "item_idxs", "event_tss").join(active, "user_id", how="left_semi")
    users = with_deeds(by_user(_indexed(theirs, items)), done, pasts)
    counts = count_by_index(items, known.item_days, last_date)
    version, cut_offs = published_version(night) or "", cut_offs_of(top_k, _size(night)[1])
    return [summed(sums_of_worth(users, counts, popularity_classes(counts), version, cut_offs, REALISED))]


def cut_offs_of(top_k: Sequence[int], longest: int) -> list[int]:
    """Return the cut-offs that lists of this length have, their length in place of longer ones.

    >>> cut_offs_of([5, 10, 20], 10), cut_offs_of([5, 10], 7), cut_offs_of([5, 10], 20)
    ([5, 10], [5, 7], [5, 10])
    """
    return sorted({min(k, longest) for k in top_k})


def _size(night: DataFrame) -> tuple[int, int]:
    """Return how many users have lists, and how long these are."""
    told = night.agg(F.count_if(F.col("rank") == 1), F.max("rank")).first()
    return (told[0], told[1] or 1) if told else (0, 1)


def _offered(lake: Lake, run_date: date) -> int:
    """Return how many items were on offer, as the night itself told; 0 where it did not."""
    complete = lake.read(RUNS).where((F.col("status") == "complete") & (F.col("run_date") == F.lit(run_date)))
    return int(sum(figures.get("offered", 0) for _, figures in figures_by_night(complete, run_date, 1)))


def _indexed(rows: DataFrame, items: DataFrame) -> DataFrame:
    """Return the rows with item_idx in place of item_id."""
    return rows.join(items.select("item_id", "item_idx"), "item_id", how="inner").drop("item_id")  # one row per item_id

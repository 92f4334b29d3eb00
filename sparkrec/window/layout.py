"""From histories to the rows of `windows`, laid out in files as the feed wants them."""

from datetime import date

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from sparkrec.config.settings import WindowSettings
from sparkrec.errors import RefusedError
from sparkrec.sequences import Ints
from sparkrec.tables import WINDOWS, conform
from sparkrec.window.cut import HISTORY_COLUMNS, CutPlan, cut_batches
from sparkrec.window.negatives import known_items, law_of


def build_windows(histories: DataFrame, counts: Ints, run_date: date, settings: WindowSettings, seed: int) -> DataFrame:
    """Return all windows of a date. `counts` are events by item index, (vocabulary size,).

    Every file holds one split only, so that the feed can pick files; within a split rows lie in random order, the
    same for the same seed however many partitions `histories` has.
    """
    plan = CutPlan(run_date, settings.length, settings.stride, settings.num_negatives, seed)
    power = settings.popularity_power if settings.negatives == "popularity" else 0.0
    is_known = known_mask(counts, settings.min_item_events)
    cut = cut_batches(plan, is_known, law_of(counts, settings.min_item_events, power))
    hashed = histories.withColumn("user_hash", F.xxhash64("user_id")).select(HISTORY_COLUMNS)
    windows = hashed.mapInArrow(cut, WINDOWS.schema)

    order = F.xxhash64("window_id", F.lit(seed))
    held_files = max(1, settings.files // 4)
    file = (
        F.when(F.col("split") == "train", F.pmod(order, F.lit(settings.files)))
        .when(F.col("split") == "validation", settings.files + F.pmod(order, F.lit(held_files)))
        .otherwise(settings.files + held_files + F.pmod(order, F.lit(held_files)))
    )
    placed = windows.withColumns({"file": file.cast("int"), "order": order})
    laid_out = placed.repartitionById(settings.files + 2 * held_files, "file").sortWithinPartitions(
        "order", "window_id"
    )
    return conform(laid_out, WINDOWS)


def known_mask(counts: Ints, min_item_events: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Return by item index whether the model may know the item, (vocabulary size,)."""
    mask = np.zeros(len(counts), dtype=bool)
    mask[known_items(counts, min_item_events)] = True
    return mask


def check_material(histories: DataFrame, counts: Ints, settings: WindowSettings, run_date: date) -> int:
    """Return how many users there are; refuse a date from which no window can be cut."""
    found = histories.agg(
        F.count("*").alias("users"), F.count_if(F.size("item_idxs") > 1).alias("with_two_events")
    ).first()
    users, usable = (int(found["users"]), int(found["with_two_events"])) if found else (0, 0)
    num_known = len(known_items(counts, settings.min_item_events))
    if not usable or num_known < 2:
        raise RefusedError(
            f"windows {run_date}: {users:,} users, {usable:,} of them with two events or more, {num_known:,} items with"
            f" window.min_item_events={settings.min_item_events}; there is nothing to learn from: use more days or"
            " users, or lower that setting"
        )
    return users


def count_splits(windows: DataFrame, run_date: date) -> dict[str, int]:
    """Return how many windows of the date every split has."""
    counted = windows.where(F.col("run_date") == F.lit(run_date)).groupBy("split").count()
    found = {row["split"]: int(row["count"]) for row in counted.collect()}  # three rows
    return {split: found.get(split, 0) for split in ("train", "validation", "test")}

"""From histories to the files of `windows`: which users share a file, and what is there to cut at all."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from sparkrec.config.settings import WindowSettings
from sparkrec.errors import RefusedError
from sparkrec.sequences import Ints
from sparkrec.tasks import REPORT, reports
from sparkrec.window.cut import HISTORY_COLUMNS, Catalogue, CutPlan
from sparkrec.window.laws import known_items
from sparkrec.window.write import SPLITS, write_windows


def stage_windows(
    histories: DataFrame,
    num_windows: int,
    plan: CutPlan,
    catalogue: Catalogue,
    folder: Path,
    settings: WindowSettings,
    made: str,
) -> list[dict[str, Any]]:
    """Cut and write all windows of a date; return a report per file.

    In   num_windows: how many there will be, about. folder: the table's under staging. made: see `made_with`.

    What travels between machines is histories, not windows. A user's windows share a part, parts are the same for the
    same seed however many partitions `histories` has, and within a file rows lie in random order.
    """
    num_parts = max(settings.files, -(-num_windows // settings.file_windows))
    hashed = histories.withColumn("user_hash", F.xxhash64("user_id")).select(HISTORY_COLUMNS)
    part = F.pmod(F.xxhash64("user_hash", F.lit(plan.seed)), F.lit(num_parts)).cast("int")
    parts = hashed.repartitionById(num_parts, part)
    return reports(parts.mapInArrow(write_windows(plan, catalogue, folder, settings.row_group_rows, made), REPORT))


def check_material(histories: DataFrame, counts: Ints, settings: WindowSettings, run_date: date) -> tuple[int, int]:
    """Return how many users there are, and about how many windows; refuse a date from which none can be cut."""
    num_events = F.size("item_idxs")
    found = histories.agg(
        F.count("*").alias("users"),
        F.count_if(num_events > 1).alias("with_two_events"),
        F.sum(2 + F.ceil(num_events / settings.step)).alias("windows"),
    ).first()
    users, usable, windows = (int(value or 0) for value in found) if found else (0, 0, 0)
    num_known = len(known_items(counts, settings.min_item_events))
    if not usable or num_known < 2:
        raise RefusedError(
            f"windows {run_date}: {users:,} users, {usable:,} of them with two events or more, {num_known:,} items with"
            f" window.min_item_events={settings.min_item_events}; there is nothing to learn from: use more days or"
            " users, or lower that setting"
        )
    return users, windows


def check_splits(told: Sequence[dict[str, Any]], where: str) -> dict[str, int]:
    """Return how many windows every split has; refuse a training set without a training window."""
    splits = {name: sum(row["num"] for row in told if row["bounds"][0]["split"] == name) for name in SPLITS}
    if not splits["train"]:
        raise RefusedError(
            f"{where}: no training windows, {splits['validation']:,} validation and {splits['test']:,} test targets;"
            " use more days, or fewer window.held_out_days"
        )
    return splits

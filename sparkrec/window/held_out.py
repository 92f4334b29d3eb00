"""What a date's windows hold out, in days: where training ends, and where the two periods begin."""

from datetime import date, timedelta

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from sparkrec.config.settings import WindowSettings
from sparkrec.errors import RefusedError
from sparkrec.lake import Lake
from sparkrec.prepare.clean import start_of
from sparkrec.prepare.heal import ZONE
from sparkrec.sequences import Ints
from sparkrec.tables import EVENTS, FIRST_ITEM
from sparkrec.window.rows import MIN_ITEMS_TEST, MIN_ITEMS_VALIDATION, Cut


def cut_of(lake: Lake, run_date: date, settings: WindowSettings) -> Cut | None:
    """Return the instants of a cut by date, in the zone of the lake's days; None where the last items are held out."""
    if settings.held_out == "last_items":
        return None
    zone = lake.properties(EVENTS).get(ZONE)
    if zone is None:
        raise RefusedError(
            f"{lake.path(EVENTS)}: does not tell the zone of its days and cannot be cut by date; prepare a new lake, or"
            " set window.held_out=last_items"
        )
    validation, test = (
        start_of(last_known_day(run_date, split, settings) + timedelta(days=1), zone)
        for split in ("validation", "test")
    )
    return Cut(validation, test)


def last_known_day(run_date: date, split: str, settings: WindowSettings) -> date:
    """Return the last day whose events may be used to predict a split's targets: training's, for validation."""
    if settings.held_out == "last_items":
        return run_date
    return run_date - timedelta(days=settings.held_out_days * (2 if split == "validation" else 1))


def count_held_out(histories: DataFrame, vocabulary_size: int, settings: WindowSettings) -> Ints:
    """Return by item index how often it is held out as a last item, (V,); zeros for a cut by date.

    What windows learn from must not know them: neither the laws of negatives nor which items can be learnt.
    """
    counts = np.zeros(vocabulary_size, dtype=np.int64)
    if settings.held_out == "date":
        return counts
    items = F.filter("item_idxs", lambda item: item >= FIRST_ITEM)
    num = F.size("items")
    held = (
        F.when(num >= MIN_ITEMS_VALIDATION, F.slice("items", -2, 2))
        .when(num >= MIN_ITEMS_TEST, F.slice("items", -1, 1))
        .otherwise(F.array().cast("array<int>"))
    )
    targets = histories.select(items.alias("items")).select(F.explode(held).alias("item_idx"))
    counted = targets.groupBy("item_idx").count().toArrow()
    counts[counted.column("item_idx").to_numpy()] = counted.column("count").to_numpy()
    return counts

"""What a date's windows hold out: where the two periods begin, and what may be known before them."""

from collections.abc import Callable, Iterator
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from sparkrec.config.settings import WindowSettings
from sparkrec.errors import RefusedError
from sparkrec.lake import Lake
from sparkrec.popularity import count_by_index
from sparkrec.prepare.as_of import Known
from sparkrec.prepare.clean import start_of
from sparkrec.prepare.heal import ZONE
from sparkrec.sequences import PAST_COLUMNS, Ints, read_pasts
from sparkrec.tables import EVENT_CODES, EVENTS, FIRST_ITEM
from sparkrec.window.rows import TEST, HeldOut, choose_rows

LATELY_DAYS = 7
"""Days whose events a model may count beside what it has learnt, and whose most popular items are a contestant of their
own, where periods are held out."""


def held_out_of(lake: Lake, run_date: date, settings: WindowSettings) -> HeldOut:
    """Return what the date's windows hold out; periods begin in the zone of the lake's days."""
    if settings.held_out == "last_items":
        return last_items_of(settings)
    zone = lake.properties(EVENTS).get(ZONE)
    if zone is None:
        raise RefusedError(
            f"{lake.path(EVENTS)}: does not tell the zone of its days and cannot be cut by date; prepare a new lake, or"
            " set window.held_out=last_items"
        )
    validation_us, test_us = (
        start_of(last_known_day(run_date, split, settings) + timedelta(days=1), zone)
        for split in ("validation", "test")
    )
    return HeldOut(settings.held_out, _codes(settings), validation_us, test_us)


def last_items_of(settings: WindowSettings) -> HeldOut:
    """Return what holds out the last items of each user, whatever the date."""
    return HeldOut("last_items", _codes(settings))


def _codes(settings: WindowSettings) -> tuple[int, ...]:
    return tuple(sorted(EVENT_CODES[kind] for kind in settings.held_out_events))


def held_out_words(settings: WindowSettings) -> str:
    """Return in a word what training does not see: a model whose training saw it cannot be judged by it."""
    kinds = "+".join(sorted(settings.held_out_events))
    days = "" if settings.held_out == "last_items" else f" {settings.held_out_days} days"
    return f"{settings.held_out} {kinds}{days}"


def last_known_day(run_date: date, split: str, settings: WindowSettings) -> date:
    """Return the last day whose events may be used to predict a split's targets: training's, for validation."""
    if settings.held_out == "last_items":
        return run_date
    return run_date - timedelta(days=settings.held_out_days * (2 if split == "validation" else 1))


def popularity_by_split(
    known: Known, counts: Ints, items: DataFrame, run_date: date, settings: WindowSettings
) -> dict[str, Ints]:
    """Return by split how often every item occurred, (V,), without what that split has to predict.

    In periods these are the events before the split's period; where last items are held out, all events but the user's
    targets and what came after them: test's for test, test's and validation's for validation.

    In   counts: events by item index up to the run's date, (V,).
    """
    if settings.held_out != "last_items":
        return {
            split: count_by_index(items, known.item_days, last_known_day(run_date, split, settings))
            for split in ("validation", "test")
        }
    later = count_held_out(known.histories, len(counts), last_items_of(settings))
    return {split: counts - of_split for split, of_split in later.items()}


def lately_by_split(known: Known, items: DataFrame, run_date: date, settings: WindowSettings) -> dict[str, Ints]:
    """Return by split how often every item occurred in the LATELY_DAYS days before the split's period, (V,); nothing
    where last items are held out, which lie in no common period."""
    if settings.held_out == "last_items":
        return {}
    last_days = {split: last_known_day(run_date, split, settings) for split in ("validation", "test")}
    return {split: count_by_index(items, known.item_days, day, LATELY_DAYS) for split, day in last_days.items()}


def count_held_out(histories: DataFrame, vocabulary_size: int, held_out: HeldOut) -> dict[str, Ints]:
    """Return by split how many events of every item come with or after what it holds out of a user, (V,).

    What is learnt or guessed before must not know them. Validation may not know what test holds out either.
    """
    counts = {split: np.zeros(vocabulary_size, dtype=np.int64) for split in ("validation", "test")}
    counted = histories.select(PAST_COLUMNS).mapInArrow(_counter(held_out), "split string, item_idx int, num long")
    summed = counted.groupBy("split", "item_idx").agg(F.sum("num").alias("num")).toArrow()
    for split, item_idx, num in zip(*(column.to_numpy() for column in summed.columns), strict=True):
        counts[split][item_idx] = num
    return counts


def _counter(held_out: HeldOut) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def count(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            pasts = read_pasts(batch)
            rows, train_ends = choose_rows(pasts, held_out.targets(pasts), 1 << 30, held_out)
            test_ends = pasts.ends.copy()
            is_test = rows.numbers == TEST
            test_ends[rows.users[is_test]] = rows.firsts[is_test]
            place, end = np.arange(len(pasts.item_idxs)), pasts.ends - pasts.starts
            for split, ends in (("validation", train_ends), ("test", test_ends)):
                later = pasts.item_idxs[place >= np.repeat(ends, end)]
                item_idx, num = np.unique(later[later >= FIRST_ITEM], return_counts=True)
                yield pa.RecordBatch.from_pydict(
                    {"split": pa.repeat(split, len(num)), "item_idx": item_idx.astype(np.int32), "num": num}
                )

    return count

"""What models' heads are worth on held-out windows: kinds of events, and purchases given interest."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import pyarrow as pa
import torch
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from sparkrec.config.settings import WindowSettings
from sparkrec.evaluate.actions import ActionSums, figures_of_actions
from sparkrec.evaluate.cases import CASE_COLUMNS
from sparkrec.evaluate.figures import summed
from sparkrec.evaluate.purchases import PurchaseSums, figures_of_purchases
from sparkrec.evaluate.sums import SUMS
from sparkrec.models.heads import NEXT_ACTION, OWN_ACTION, PURCHASE
from sparkrec.models.store import load_model, read_card
from sparkrec.tables import EVENT_CODES, PAD

COLUMNS = (*CASE_COLUMNS, "target_types", "event_types")
TILE_ROWS = 64


def figures_of_heads(windows: DataFrame, models: Mapping[str, str], settings: WindowSettings) -> list[DataFrame]:
    """Return FIGURES of the heads that models have; nothing where none has any, or where what is held out leaves no
    choice: a single kind of event, or for purchases none of these.

    In   windows: rows of one date. models: folders by name, the first of those with a head is compared with the others.
    """
    kinds = set(settings.held_out_events)
    told = [NEXT_ACTION, OWN_ACTION, *([PURCHASE] if "purchase" in kinds else [])] if len(kinds) > 1 else []
    heads = {name: read_card(Path(folder)).shape.heads for name, folder in models.items()}
    with_head = {head: {name: folder for name, folder in models.items() if head in heads[name]} for head in told}
    if not any(with_head.values()):
        return []
    counts = kinds_in_training(windows)
    found = []
    begun: Callable[[], ActionSums | PurchaseSums]
    for head, chosen in with_head.items():
        if chosen and head == PURCHASE:
            with_item = sum(num for code, num in counts.items() if code != EVENT_CODES["search"])
            share = counts.get(EVENT_CODES["purchase"], 0) / max(with_item, 1)
            by_steps = settings.held_out == "sessions"
            begun = partial(PurchaseSums, chosen, share, by_steps)
            found.append(figures_of_purchases(summed(_sums(windows, chosen, begun))))
        elif chosen:
            begun = partial(ActionSums, chosen, head, max(counts, key=lambda code: (counts[code], -code)))
            found.append(figures_of_actions(summed(_sums(windows, chosen, begun))))
    return found


def kinds_in_training(windows: DataFrame) -> dict[int, int]:
    """Return how many next events of every kind training windows hold, by code."""
    kinds = windows.where("split = 'train'").select(F.explode("target_types").alias("code")).where(F.col("code") != PAD)
    return {row["code"]: row["count"] for row in kinds.groupBy("code").count().collect()}


def _sums(windows: DataFrame, models: Mapping[str, str], begun: Callable[[], ActionSums | PurchaseSums]) -> DataFrame:
    """Return rows of SUMS over a date's test windows. In: begun, gives empty sums."""

    def add_up(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        torch.set_num_threads(1)
        sums = begun()
        with torch.inference_mode():
            for batch in batches:
                for start in range(0, len(batch), TILE_ROWS):
                    sums.add(batch.slice(start, TILE_ROWS))
        yield from sums.rows()

    read = {name for folder in models.values() for name in load_model(folder).columns}
    columns = dict.fromkeys((*COLUMNS, *sorted(read)))
    return windows.where("split = 'test'").select(*columns).mapInArrow(add_up, SUMS)

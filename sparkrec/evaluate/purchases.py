"""The chance that a purchase is what interest in an item comes to: how far off it is, and if it is what it says.

P things to be found   J figures
"""

from collections.abc import Iterator, Mapping
from functools import reduce
from itertools import pairwise

import numpy as np
import pyarrow as pa
import torch
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from sparkrec.evaluate.cases import case_states, cases_of
from sparkrec.evaluate.gains import Floats
from sparkrec.evaluate.sums import Figure, Sums
from sparkrec.models.heads import PURCHASE
from sparkrec.models.store import load_model
from sparkrec.sequences import Ints, hide_unknown
from sparkrec.tables import EVENT_CODES

CONSTANT = "constant"
"""Says of every pair what share of the next events in training windows were purchases."""
EDGES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0)
BINS = tuple(f"probability {low} to {high}" for low, high in pairwise(EDGES))
OFF = "off"
LEAST = 1e-7
"""Chances are held so far from 0 and 1, or a single mistake would cost an infinite loss."""


class PurchaseSums:
    """Adds up how far the chances that models give lie from what happened."""

    def __init__(self, models: Mapping[str, str], share: float, by_steps: bool) -> None:
        """In: models, folders by name. share, what CONSTANT says. by_steps, see `cases_of`."""
        self.models = {name: load_model(folder) for name, folder in models.items()}
        self.share, self.by_steps = share, by_steps
        self.sums = {name: Sums(_figures(name), ["all", *BINS]) for name in (*models, CONSTANT)}

    def add(self, tile: pa.RecordBatch) -> None:
        """Take in rows of one split; a user has one row."""
        cases = cases_of(tile, self.by_steps)
        case_P, item_P = cases.sought.case_P, cases.sought.item_P
        bought_P = (cases.type_P == EVENT_CODES["purchase"]).astype(float)
        user_P = cases.row_C[case_P.numpy()]
        for name, model in self.models.items():
            # An item that the model does not know is to it what 'unknown' is.
            known_P = torch.from_numpy(hide_unknown(item_P.numpy(), model.is_known_V.numpy()))
            state_PD = case_states(model, tile, cases)[case_P]
            chance_P = torch.sigmoid(model.purchase_logits(state_PD, known_P[:, None])[:, 0]).double().numpy()
            self._add(name, user_P, chance_P, bought_P)
        self._add(CONSTANT, user_P, np.full_like(bought_P, self.share), bought_P)

    def _add(self, name: str, user_P: Ints, chance_P: Floats, bought_P: Floats) -> None:
        bin_P = np.searchsorted(EDGES[1:-1], chance_P, side="right")
        off_PB = np.where(bin_P[:, None] == np.arange(len(BINS)), (chance_P - bought_P)[:, None], 0.0)
        held_P = np.clip(chance_P, LEAST, 1 - LEAST)
        loss_P = -np.log(np.where(bought_P > 0, held_P, 1 - held_P))
        gain_PJ = np.stack([(chance_P - bought_P) ** 2, loss_P, chance_P, bought_P, *off_PB.T], axis=1)
        for slice_P in (np.zeros_like(bin_P), 1 + bin_P):
            self.sums[name].add(user_P, slice_P, gain_PJ)

    def rows(self) -> Iterator[pa.RecordBatch]:
        for sums in self.sums.values():
            yield from sums.rows("test", PURCHASE)


def _figures(name: str) -> list[Figure]:
    metrics = ("brier", "log_loss", "predicted", "bought", *(f"{OFF} {number}" for number in range(len(BINS))))
    return [Figure(name, "", metric, 0) for metric in metrics]


def figures_of_purchases(means: DataFrame) -> DataFrame:
    """Return FIGURES: of all pairs Brier score, log loss, mean chance, share bought and calibration error; and chance
    and share of those whose chance lies between two bounds, as slices `probability …`.

    The calibration error is the expected one: the mean distance of chance and share over bins, by their size (Guo et
    al., ICML 2017, arXiv 1706.04599).

    In   means: FIGURES of what PurchaseSums adds up.
    """
    is_off, is_whole = F.col("metric").startswith(OFF), F.col("slice") == "all"
    error = (
        means.where(is_off & is_whole)
        .groupBy("split", "protocol", "slice", "model_version", "against", "k")
        .agg(F.sum(F.abs("value")).alias("value"), F.max("num_users").alias("num_users"))
        .withColumns(
            {"metric": F.lit("calibration_error"), **dict.fromkeys(("low", "high"), F.lit(None).cast("double"))}
        )
    )
    told = is_whole | F.col("metric").isin("predicted", "bought")
    return reduce(DataFrame.unionByName, [means.where(~is_off & told), error.select(means.columns)])

"""The kind of the next event: accuracy, and precision, recall and F1 of every kind, beside two that learn nothing.

C cases: moments whose next event is held out   E kinds of events, padding included   K contestants   J figures
"""

from collections.abc import Iterator, Mapping
from functools import reduce

import numpy as np
import pyarrow as pa
import torch
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from sparkrec.evaluate.cases import matrix, states_at
from sparkrec.evaluate.gains import Floats
from sparkrec.evaluate.sums import Figure, Sums
from sparkrec.models.heads import OWN_ACTION
from sparkrec.models.sequence_model import SequenceModel
from sparkrec.models.store import load_model
from sparkrec.sequences import Ints
from sparkrec.tables import EVENT_CODES, PAD

MAJORITY, REPEAT_LAST = "majority", "repeat_last"
"""The kind that is most frequent in training windows, always; and the kind of the newest event once more."""
HIT, PREDICTED, TRUE = "hit", "predicted", "true"


class ActionSums:
    """Adds up what models with a head for kinds of events say, case by case."""

    def __init__(self, models: Mapping[str, str], head: str, majority: int) -> None:
        """In: models, folders by name; the first is compared with all others, each with the majority. majority, the
        code of that kind."""
        self.models = {name: load_model(folder) for name, folder in models.items()}
        self.head, self.majority = head, majority
        contestants = [*models, MAJORITY, REPEAT_LAST]
        with_first = [(0, other) for other in range(1, len(contestants))]
        self.pairs = with_first + [(own, contestants.index(MAJORITY)) for own in range(1, len(models))]
        of_kinds = [f"{what} {kind}" for what in (HIT, PREDICTED, TRUE) for kind in EVENT_CODES]
        figures = [Figure(name, "", metric, 0) for name in contestants for metric in ("accuracy", *of_kinds)]
        figures += [Figure(contestants[ours], contestants[theirs], "accuracy", 0) for ours, theirs in self.pairs]
        self.sums = Sums(figures, ["all"])

    def add(self, tile: pa.RecordBatch) -> None:
        """Take in rows of one split; a user has one row."""
        next_BL = matrix(tile.column("target_types")).numpy()
        row_C, position_C = np.nonzero(next_BL != PAD)
        last_C = matrix(tile.column("event_types")).numpy()[row_C, position_C]
        # What the state has seen itself is no prediction; how well it is told shows what such a figure is worth.
        true_C = last_C if self.head == OWN_ACTION else next_BL[row_C, position_C]
        said = [self._by_model(model, tile, row_C, position_C) for model in self.models.values()]
        said += [np.full_like(true_C, self.majority), last_C]
        own = [_gains(said_C, true_C) for said_C in said]
        differences = [own[ours][:, :1] - own[theirs][:, :1] for ours, theirs in self.pairs]
        self.sums.add(row_C, np.zeros_like(row_C), np.concatenate([*own, *differences], axis=1))

    def _by_model(self, model: SequenceModel, tile: pa.RecordBatch, row_C: Ints, position_C: Ints) -> Ints:
        logits_CE = model.action_logits(states_at(model, tile, row_C, position_C), self.head)
        logits_CE[:, PAD] = -torch.inf
        best_C: Ints = logits_CE.argmax(dim=1).cpu().numpy()
        return best_C

    def rows(self) -> Iterator[pa.RecordBatch]:
        yield from self.sums.rows("test", self.head)


def _gains(said_C: Ints, true_C: Ints) -> Floats:
    codes = np.array(list(EVENT_CODES.values()))
    says_CE, is_CE = said_C[:, None] == codes, true_C[:, None] == codes
    gains: Floats = np.concatenate([(said_C == true_C)[:, None], says_CE & is_CE, says_CE, is_CE], axis=1).astype(float)
    return gains


def figures_of_actions(shares: DataFrame) -> DataFrame:
    """Return FIGURES: accuracy, and per kind that occurs or is predicted precision, recall and F1 as slices `action …`.

    In   shares: FIGURES of what ActionSums adds up.
    """
    words = F.split("metric", " ")
    per_kind = (
        shares.where(F.size(words) == 2)
        .withColumns({"what": words[0], "kind": words[1]})
        .groupBy("split", "protocol", "model_version", "against", "k", "kind")
        .agg(*(F.max(F.when(F.col("what") == what, F.col("value"))).alias(what) for what in (HIT, PREDICTED, TRUE)),
             F.max("num_users").alias("num_users"))
        .where((F.col(TRUE) > 0) | (F.col(PREDICTED) > 0))
    )  # fmt: skip
    ratios = {
        "precision": F.try_divide(HIT, PREDICTED),
        "recall": F.try_divide(HIT, TRUE),
        "f1": F.try_divide(2 * F.col(HIT), F.col(PREDICTED) + F.col(TRUE)),
    }
    told = [_ratio(per_kind, name, value).select(shares.columns) for name, value in ratios.items()]
    return reduce(DataFrame.unionByName, told, shares.where(F.col("metric") == "accuracy"))


def _ratio(per_kind: DataFrame, name: str, value: Column) -> DataFrame:
    nothing = F.lit(None).cast("double")
    # What is never predicted has no precision; of what is wrong every time it is zero.
    return per_kind.withColumns(
        {
            "slice": F.concat(F.lit("action "), "kind"),
            "metric": F.lit(name),
            "value": F.coalesce(value, F.lit(0.0)),
            "low": nothing,
            "high": nothing,
        }
    )

"""The table of paper A: the next action of a user by what it is, from the past alone.

Its published figures are of a data set that is not public, and as high as figures get where the action of the step is
among what the model reads; that figure stands apart, under its own name.
"""

from collections.abc import Mapping

from lakes import Rows
from page import short, table_of

MODELS = ("dfnn", "lstm", "dfnn_lstm")
BASELINES = {"majority": "always the most frequent action", "repeat_last": "the last action again"}
ACTIONS = ("view", "cart", "purchase", "search")
PUBLISHED_ACCURACY = {"dfnn": 0.8650, "lstm": 0.9453, "dfnn_lstm": 0.9898}
PUBLISHED_BY_ACTION = {
    "cart": (0.99, 0.99, 0.99), "purchase": (0.97, 0.99, 0.98), "search": (1.0, 1.0, 1.0), "view": (0.99, 0.98, 0.99),
}  # fmt: skip
"""Precision, recall and F1 of the hybrid."""
PARTS = ("precision", "recall", "f1")
COLUMNS = (
    "model", "published accuracy", "accuracy", *(f"{action}: precision / recall / F1" for action in ACTIONS),
)  # fmt: skip


def table(figures: Rows, names: Mapping[str, str]) -> str:
    """Return the table: the published hybrid, our models, then what needs none.

    In   figures: rows of `metrics`: next_action_accuracy of all, and next_action_precision, …_recall and …_f1 of the
         slices `action=view` and so on. names: of models by version.
    """
    whose = [names.get(row["model_version"], row["model_version"]) for row in figures]
    found = {(who, row["slice"], row["metric"]): row for who, row in zip(whose, figures, strict=True)}
    published = [" / ".join(f"{value:.2f}" for value in PUBLISHED_BY_ACTION[action]) for action in ACTIONS]
    rows = [["published dfnn_lstm", f"{PUBLISHED_ACCURACY['dfnn_lstm']:.4f}", "", *published]]
    for name in (*MODELS, *BASELINES):
        accuracy = found.get((name, "all", "next_action_accuracy"))
        cells = [BASELINES.get(name, name), f"{PUBLISHED_ACCURACY[name]:.4f}" if name in PUBLISHED_ACCURACY else ""]
        cells.append(short(accuracy["value"]) if accuracy else "not measured")
        for action in ACTIONS:
            by_part = [found.get((name, f"action={action}", f"next_action_{part}")) for part in PARTS]
            cells.append(" / ".join(short(row["value"]) for row in by_part if row))
        rows.append(cells)
    return table_of(COLUMNS, rows)

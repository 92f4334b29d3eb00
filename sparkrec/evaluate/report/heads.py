"""What models' heads say, as the page shows it: kinds of events, and chances of purchases."""

from typing import Any

from sparkrec.evaluate.actions import MAJORITY, REPEAT_LAST
from sparkrec.evaluate.purchases import BINS, CONSTANT
from sparkrec.evaluate.report.gather import Night
from sparkrec.models.heads import NEXT_ACTION, OWN_ACTION, PURCHASE

Table = dict[str, Any]
"""title, words, columns, and rows of cells."""
TITLES = {
    NEXT_ACTION: ("The kind of the next event", "From the past alone; beside what needs no model."),
    OWN_ACTION: (
        "The kind of an event that was read already",
        "No prediction: what such figures look like where the answer is among the inputs.",
    ),
}
PARTS = ("precision", "recall", "f1")


def tables_of_heads(night: Night) -> list[Table]:
    """Return a table per head of the night's model, and one of how well its chances hold."""
    found = [_of_actions(night, head) for head in TITLES] + [_of_purchases(night), _of_bins(night)]
    return [table for table in found if table["rows"]]


def _figures(night: Night, protocol: str) -> dict[tuple[str, str, str], dict[str, Any]]:
    return {
        (row["model_version"], row["slice"], row["metric"]): row
        for row in night.metrics
        if row["protocol"] == protocol and not row["against"]
    }


def _of_actions(night: Night, head: str) -> Table:
    found = _figures(night, head)
    slices = sorted({part for who, part, _ in found if who == night.version and part != "all"})
    rows = []
    for who in (str(night.version), MAJORITY, REPEAT_LAST):
        if (who, "all", "accuracy") in found:
            by_kind = [[found.get((who, part, name)) for name in PARTS] for part in slices]
            told = [" / ".join(f"{row['value']:.2f}" for row in kind if row) or "–" for kind in by_kind]
            rows.append([who.replace("_", " "), f"{found[who, 'all', 'accuracy']['value']:.4f}", *told])
    title, words = TITLES[head]
    columns = ["", "accuracy", *(f"{part.removeprefix('action ')}: precision / recall / F1" for part in slices)]
    return {"title": title, "words": words, "columns": columns, "rows": rows}


def _of_purchases(night: Night) -> Table:
    found = _figures(night, PURCHASE)
    names = ("brier", "log_loss", "calibration_error", "predicted", "bought")
    rows = [
        [who, *(f"{found[who, 'all', name]['value']:.4f}" for name in names)]
        for who in (str(night.version), CONSTANT)
        if (who, "all", "brier") in found
    ]
    words = "The chance that interest in an item ends in a purchase, beside the share in training said of everything."
    columns = ["", *(name.replace("_", " ") for name in names)]
    return {"title": "Purchases, given interest", "words": words, "columns": columns, "rows": rows}


def _of_bins(night: Night) -> Table:
    found = _figures(night, PURCHASE)
    rows = []
    for part in BINS:
        said, bought = (found.get((str(night.version), part, name)) for name in ("predicted", "bought"))
        if said and bought:
            shares = [f"{100 * row['value']:.1f} %" for row in (said, bought)]
            rows.append([part.removeprefix("probability "), *shares, f"{said['num_users']:,}"])
    columns = ["chance from … to", "mean chance", "bought", "users"]
    return {"title": "Do these chances hold", "words": "", "columns": columns, "rows": rows}

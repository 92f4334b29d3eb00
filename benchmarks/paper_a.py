"""The tables of paper A: the next action of a user by what it is, from the past alone; and, apart, the figure one gets
where the action itself is among what the model has read.

Its published figures are of a data set that is not public.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from data_sets import known
from lakes import ONE_MEMBER, SEED, DataSet, Entry, Lake, Scale
from page import Found, as_difference, named, remarks, short, table_of, taken_by, with_interval

from sparkrec.evaluate.actions import MAJORITY, REPEAT_LAST
from sparkrec.models.heads import NEXT_ACTION, OWN_ACTION

INPUTS = (
    'train.heads=["next_action","own_action"]',
    'train.side_inputs=["event_types","gap_buckets","session_starts","price_buckets"]',
    ONE_MEMBER,
    "train.neighbours=0",
    "train.popular_lately=false",
    "train.max_epochs=10",
)
"""The same budget for all, and the paper's inputs beside item and category: kind of event, time, session and price."""
MODELS = ("dfnn_lstm", "dfnn", "lstm")
ENTRIES = (*(Entry(name, (f"train.model={name}", *INPUTS)) for name in MODELS), Entry("one member", INPUTS))
BASELINES = {MAJORITY: "always the most frequent action", REPEAT_LAST: "the last action again"}
DATA = ("actions_taobao", "actions_rees46", "actions_sample")
ACTIONS = ("view", "cart", "purchase", "search", "favourite")
PUBLISHED_ACCURACY = {"dfnn": 0.8650, "lstm": 0.9453, "dfnn_lstm": 0.9898}
PUBLISHED_BY_ACTION = {
    "cart": (0.99, 0.99, 0.99), "purchase": (0.97, 0.99, 0.98), "search": (1.0, 1.0, 1.0), "view": (0.99, 0.98, 0.99),
}  # fmt: skip
"""Precision, recall and F1 of the hybrid."""
PARTS = ("precision", "recall", "f1")
COLUMNS = (
    "data", "model", "published accuracy", "accuracy (95 %)", "less that of the majority (95 %)",
    *(f"{action}: precision / recall / F1" for action in ACTIONS),
    "next item HR@10 / NDCG@10", "best epoch", "seconds", "settings",
)  # fmt: skip
OWN_COLUMNS = (
    "data", "model", "published accuracy", "accuracy", *(f"{action}: precision / recall / F1" for action in ACTIONS)
)  # fmt: skip


def run(scale: Scale) -> None:
    """Train and compare what is not yet."""
    for name in DATA:
        Lake(known()[name], SEED, scale).measure((ENTRIES[0], ENTRIES[1:]))


def tables(scale: Scale) -> dict[str, str]:
    """Return both tables, by the name of their place, of all that is done by now."""
    rows, own_rows, missing, codes = [published_row(COLUMNS)], [published_row(OWN_COLUMNS)], [], []
    for name in DATA:
        data = known()[name]
        lake = Lake(data, SEED, scale)
        trained = {entry.name: told for entry in ENTRIES if (told := lake.trained(entry))}
        names = {told["version"]: who for who, told in trained.items()}
        found = named(lake.figures(ENTRIES[0]), names)
        rows += rows_of(data, trained, found)
        own_rows += own_rows_of(data, trained, found)
        codes += [told["code"] for told in trained.values()]
        if away := [entry.name for entry in ENTRIES if entry.name not in trained]:
            missing.append(f"{name}: {', '.join(away)}")
    commands = ["", "```", *(f"{name}: {known()[name].command()}" for name in DATA), "```"]
    told = [table_of(COLUMNS, rows), "", *remarks(missing, codes), *commands]
    return {"paper A": "\n".join(told), "own action": table_of(OWN_COLUMNS, own_rows)}


def published_row(columns: Sequence[str]) -> list[str]:
    by_action = [
        " / ".join(f"{value:.2f}" for value in PUBLISHED_BY_ACTION[action]) if action in PUBLISHED_BY_ACTION else ""
        for action in ACTIONS
    ]
    before = columns.index(f"{ACTIONS[0]}: precision / recall / F1")
    cells = ["not public", "published dfnn_lstm", f"{PUBLISHED_ACCURACY['dfnn_lstm']:.4f}"]
    cells += [""] * (before - len(cells)) + by_action
    return cells + [""] * (len(columns) - len(cells))


def rows_of(data: DataSet, trained: Mapping[str, Mapping[str, Any]], found: Found) -> list[list[str]]:
    """Return the cells of a row per model that is compared, then of what needs none."""
    rows = []
    for name in (*(entry.name for entry in ENTRIES), *BASELINES):
        accuracy = found.get((NEXT_ACTION, "all", name, "", "accuracy"))
        if accuracy is None:
            continue
        paired = found.get((NEXT_ACTION, "all", name, MAJORITY, "accuracy"))
        items = [found.get((data.protocol, "all", name, "", metric)) for metric in ("hr", "ndcg")]
        entry = next((entry for entry in ENTRIES if entry.name == name), None)
        rows.append(
            [
                data.name.removeprefix("actions_"), BASELINES.get(name, name), _published(name),
                with_interval(accuracy), as_difference(paired) if paired else "",
                *by_action(found, NEXT_ACTION, name), " / ".join(short(row["value"]) for row in items if row),
                *(taken_by(entry, trained[name]) if entry else ["", "", ""]),
            ]
        )  # fmt: skip
    return rows


def own_rows_of(data: DataSet, trained: Mapping[str, Mapping[str, Any]], found: Found) -> list[list[str]]:
    """Return the cells of a row per model: how well it tells the kind of the event that it has read last."""
    return [
        [
            data.name.removeprefix("actions_"), name, _published(name),
            short(found[OWN_ACTION, "all", name, "", "accuracy"]["value"]), *by_action(found, OWN_ACTION, name),
        ]
        for name in trained
        if (OWN_ACTION, "all", name, "", "accuracy") in found
    ]  # fmt: skip


def by_action(found: Found, protocol: str, name: str) -> list[str]:
    """Return precision, recall and F1 of every action; nothing of those that neither come nor are predicted."""
    cells = []
    for action in ACTIONS:
        parts = [found.get((protocol, f"action {action}", name, "", part)) for part in PARTS]
        cells.append(" / ".join(f"{row['value']:.2f}" for row in parts if row))
    return cells


def _published(name: str) -> str:
    return f"{PUBLISHED_ACCURACY[name]:.4f}" if name in PUBLISHED_ACCURACY else ""

"""The table of paper C: a CNN hybrid for long- and short-term preference, its baselines and its ablations.

RetailRocket's buyers, the last purchase held out and ranked among 999 random items that the visitor never touched.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from data_sets import BUYERS_PROTOCOL, known
from lakes import ONE_MEMBER, SEED, SLICES, DataSet, Entry, Lake, Scale
from page import Found, as_difference, named, remarks, short, table_of, taken_by, turned_round, with_interval

from sparkrec.config.train_settings import PAIRS

FIRST = "cnn_hybrid"
"""The paper's own model, which the others are compared with."""
PAPERS = ("mf", "gru4rec", "caser", "rnn_profile", "ite", "long_only", "cnn_only", FIRST)
BUDGET = "train.max_epochs=30"
OF_THE_PAPER = (
    BUDGET, ONE_MEMBER,
    "train.neighbours=0", "train.width=50", "train.dropout=0.2", "train.loss=binary", "train.later_targets=0",
    "train.attributes=false",
)  # fmt: skip
"""The same budget for all; the paper's width, dropout, loss and negatives; no second opinion, which is not theirs."""
TWO_STAGES = ('train.heads=["purchase"]',)
"""Interest, then a purchase given interest: what the paper's models that score pairs have."""
ENTRIES = (
    *(Entry(name, (f"train.model={name}", *OF_THE_PAPER, *(TWO_STAGES if name in PAIRS else ()))) for name in PAPERS),
    Entry("item_knn", ("train.model=item_knn",)),
    Entry("one member", (BUDGET, ONE_MEMBER)),
    Entry("default", (BUDGET,)),
)
PUBLISHED = {
    "mf": (0.112, 0.060), "gru4rec": (0.130, 0.074), "caser": (0.137, 0.081), "ite": (0.148, 0.089),
    "cnn_hybrid": (0.159, 0.098),
}  # fmt: skip
"""HR@10 and NDCG@10 on the paper's own cut of RetailRocket."""
FULL = "leave_one_out_purchase_full"
COLUMNS = (
    "model", "published HR@10 / NDCG@10", "HR@10", "NDCG@10 (95 %)", "repeat HR@10 / NDCG@10", "novel HR@10 / NDCG@10",
    "interest shift HR@10 / NDCG@10", "among all items HR@10 / NDCG@10", f"NDCG@10 less that of {FIRST} (95 %)",
    "best epoch", "seconds", "settings",
)  # fmt: skip


@dataclass(frozen=True)
class Claim:
    """One model is better than another, by a share of the other's figure at least."""

    better: str
    worse: str
    metrics: tuple[str, ...] = ("hr", "ndcg")
    slice: str = "all"
    by_share: float = 0.0

    def __str__(self) -> str:
        told = f"{self.better} > {self.worse}"
        told += f" by {self.by_share:.0%}" if self.by_share else ""
        return told if self.slice == "all" else f"{told}, users of {self.slice}"


CLAIMS = (
    Claim("cnn_hybrid", "ite"),
    Claim("ite", "caser"),
    Claim("caser", "gru4rec"),
    Claim("gru4rec", "mf"),
    Claim("cnn_hybrid", "cnn_only"),
    Claim("cnn_hybrid", "long_only"),
    Claim("cnn_hybrid", "mf", ("ndcg",), "interest shift", 0.15),
)


def data() -> DataSet:
    return known()["retailrocket"]


def run(scale: Scale) -> None:
    """Train and compare what is not yet: the first model with all, and the pairs of the claims that leaves out."""
    comparisons = {FIRST: [entry.name for entry in ENTRIES if entry.name != FIRST], **between_others()}
    Lake(data(), SEED, scale).measure(
        *((_entry(one), [_entry(name) for name in others]) for one, others in comparisons.items())
    )


def between_others() -> dict[str, list[str]]:
    """Return what is compared with what for the claims that the first model has no part in.

    Models that score pairs come second where they can: what comes first has lists made, too, which takes them long.
    """
    others: dict[str, list[str]] = {}
    for claim in CLAIMS:
        if claim.better != FIRST:
            one, other = (claim.worse, claim.better) if claim.better in PAIRS else (claim.better, claim.worse)
            others.setdefault(one, []).append(other)
    return others


def tables(scale: Scale) -> dict[str, str]:
    """Return the table and the verdicts, by the name of their place, of all that is done by now."""
    lake = Lake(data(), SEED, scale)
    trained = {entry.name: told for entry in ENTRIES if (told := lake.trained(entry))}
    names = {told["version"]: name for name, told in trained.items()}
    figures = named([row for name in trained for row in lake.figures(_entry(name))], names)
    missing = [entry.name for entry in ENTRIES if entry.name not in trained]
    told = [
        table_of(COLUMNS, rows_of(trained, figures)), "", users_of(figures),
        *remarks(missing, [one["code"] for one in trained.values()]), "", "```", data().command(), "```",
    ]  # fmt: skip
    return {"paper C": "\n".join(told), "claims of paper C": table_of(VERDICT_COLUMNS, verdicts(CLAIMS, figures))}


def _entry(name: str) -> Entry:
    return next(entry for entry in ENTRIES if entry.name == name)


def rows_of(trained: Mapping[str, Mapping[str, Any]], figures: Found) -> list[list[str]]:
    """Return the cells of a row per entry, also of those that are not run yet, and of most-popular.

    In   trained: by name, see `Lake.trained`.
    """
    rows = []
    for entry in ENTRIES:
        published = PUBLISHED.get(entry.name)
        cells = [entry.name, f"{_three(published[0])} / {_three(published[1])}" if published else ""]
        if entry.name in trained:
            cells += [*_measured(figures, entry.name), *taken_by(entry, trained[entry.name])]
        else:
            cells += ["not run yet"]
        rows.append(cells + [""] * (len(COLUMNS) - len(cells)))
    if (BUYERS_PROTOCOL, "all", "popular", "", "ndcg") in figures:
        rows.append(["most popular", "", *_measured(figures, "popular"), "", "", ""])
    return rows


def _measured(figures: Found, name: str) -> list[str]:
    whole = figures.get((BUYERS_PROTOCOL, "all", name, "", "ndcg"))
    if whole is None:
        return ["not compared yet", *[""] * 6]
    paired = difference(figures, name, FIRST, "all", "ndcg")
    hr = figures[BUYERS_PROTOCOL, "all", name, "", "hr"]
    both = [_both(figures, BUYERS_PROTOCOL, part, name) for part in SLICES[1:]]
    beside = as_difference(paired) if paired else ""
    return [short(hr["value"]), with_interval(whole), *both, _both(figures, FULL, "all", name), beside]


def _both(figures: Found, protocol: str, part: str, name: str) -> str:
    found = [figures.get((protocol, part, name, "", metric)) for metric in ("hr", "ndcg")]
    return " / ".join(short(row["value"]) for row in found if row)


def difference(figures: Found, ours: str, theirs: str, part: str, metric: str) -> dict[str, Any] | None:
    """Return the paired difference of two models, whichever of them was compared with the other."""
    if row := figures.get((BUYERS_PROTOCOL, part, ours, theirs, metric)):
        return row
    other = figures.get((BUYERS_PROTOCOL, part, theirs, ours, metric))
    return turned_round(other) if other else None


def users_of(figures: Found) -> str:
    """Return how many users each figure is of."""
    sizes = {row["slice"]: row["num_users"] for row in figures.values() if row["protocol"] == BUYERS_PROTOCOL}
    told = ", ".join(f"{part} {sizes[part]:,}" for part in SLICES if part in sizes)
    return f"Users: {told or 'none yet'}."


VERDICT_COLUMNS = ("claimed", "metric", "ours", "ours less the other (95 %)", "verdict")


def verdicts(claims: Sequence[Claim], figures: Found) -> list[list[str]]:
    """Return the cells of a row per claim and metric."""
    rows = []
    for claim in claims:
        for metric in claim.metrics:
            paired = difference(figures, claim.better, claim.worse, claim.slice, metric)
            values = [
                figures.get((BUYERS_PROTOCOL, claim.slice, name, "", metric)) for name in (claim.better, claim.worse)
            ]
            cells = [str(claim), f"{metric.upper()}@10"]
            if paired is None or values[0] is None or values[1] is None:
                rows.append([*cells, "", "", "not measured"])
                continue
            ours = " against ".join(short(row["value"]) for row in values if row)
            rows.append([*cells, ours, as_difference(paired), verdict(claim, values[1]["value"], paired)])
    return rows


def verdict(claim: Claim, of_worse: float, paired: Mapping[str, Any]) -> str:
    """Return whether a claim holds: the paired interval excludes zero, and the gain is as large as claimed.

    In   of_worse: the figure of the model that is claimed to be worse. paired: the difference of the two.
    """
    low, high = paired["low"], paired["high"]
    if low is None or low <= 0 <= high:
        return "does not hold: the interval includes zero"
    if high < 0:
        return "does not hold: it is the other way round"
    share = paired["value"] / of_worse if of_worse else float("inf")
    told = f" ({share:+.0%})" if claim.by_share else ""
    return f"holds{told}" if share >= claim.by_share else f"does not hold: better, but by {share:.0%}"


def _three(value: float) -> str:
    return f"{value:.3f}".removeprefix("0")

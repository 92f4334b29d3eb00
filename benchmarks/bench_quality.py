"""The models and what lifts them, held against each other on the same users: fills in benchmarks/QUALITY.md.

python benchmarks/bench_quality.py [beauty beauty_attributes ml100k taobao rees46] [--trial USERS]

A run that was cut off goes on where it was (see lakes.py); the table is made of all that is done by now, in this run or
before. A trial (few users, one epoch) shows whether the script works: its table goes to benchmarks/work alone.
"""

import sys
from collections import Counter
from collections.abc import Sequence
from itertools import product
from typing import Any

from data_sets import known
from filling import fill_page
from lakes import ONE_MEMBER, SEED, DataSet, Entry, Lake, Rows, Scale
from page import as_difference, remarks, short, table_of, taken_by, turned_round, with_interval

from sparkrec.config.train_settings import TrainSettings
from sparkrec.models.registry import LEARNT

PAGE = "QUALITY.md"
HEADLINE = Entry("default", (), (7, 8, 9))
ONE = Entry("one member", (ONE_MEMBER,), (7, 8, 9))
"""The default as a single model, which single models are held against."""
SIMPLE = tuple(Entry(name, (f"train.model={name}",)) for name in ("item_knn", "mf"))
LEARNT_ONES = tuple(
    Entry(name, (f"train.model={name}", ONE_MEMBER)) for name in LEARNT if name != TrainSettings().model
)
CHANGES = (
    Entry("one member without second opinion", (ONE_MEMBER, "train.neighbours=0")),
    Entry("one member from the next item alone", (ONE_MEMBER, "train.later_targets=0")),
    Entry("one member with inner products", (ONE_MEMBER, "train.temperature=null")),
    Entry("one member without averaged weights", (ONE_MEMBER, "train.average=0")),
    Entry("one member of width 64", (ONE_MEMBER, "train.width=64")),
    Entry("one member of one block", (ONE_MEMBER, "train.num_blocks=1")),
    Entry("one member with dropout 0.2", (ONE_MEMBER, "train.dropout=0.2")),
    Entry("one member with sampled softmax of 512 negatives", (ONE_MEMBER, "train.loss=sampled_softmax")),
)
SETS: dict[str, tuple[Entry, ...]] = {
    "ml100k": (HEADLINE, ONE, *SIMPLE),
    "taobao": (HEADLINE, ONE, *SIMPLE),
    "rees46": (HEADLINE, ONE, *SIMPLE),
    "beauty": (HEADLINE, ONE, *SIMPLE, *LEARNT_ONES, *CHANGES),
    "beauty_attributes": (HEADLINE, ONE),
}
"""By data set what is compared, see `comparisons`. Every evaluation measures most-popular in any case."""
WANTED = {"beauty": (0.1008, 0.0611), "beauty_attributes": (0.1060, 0.0640)}
"""HR@10 and NDCG@10 that the default must be above: BSARec's as published, from ids alone, and what is asked for
where attributes may be read."""
POPULAR = {"popular": "most popular", "popular_7_days": "most popular of 7 days"}
OF_SEEDS = ("data", "model", "seeds", "HR@10: mean (lowest to highest)", "NDCG@10: mean (lowest to highest)", "above")
COLUMNS = (
    "data", "model", "seed", "users", "HR@10", "NDCG@10 (95 %)", "repeat NDCG@10", "novel NDCG@10",
    "beside", "NDCG@10 less that of the one beside (95 %)", "best epoch",
    "seconds", "settings",
)  # fmt: skip


def run(data: DataSet, entries: Sequence[Entry], scale: Scale) -> None:
    """Train and compare what is not yet."""
    for seed in sorted({seed for entry in entries for seed in scale.seeds_of(entry)}):
        here = [entry for entry in entries if seed in scale.seeds_of(entry)]
        Lake(data, seed, scale).measure(*comparisons(here))


def comparisons(entries: Sequence[Entry]) -> list[tuple[Entry, list[Entry]]]:
    """Return what is compared with what: the default with what has no members, single models with the single default,
    and these two."""
    single = [entry for entry in entries if ONE_MEMBER in entry.settings]
    others = [entry for entry in entries if entry not in (HEADLINE, *single)]
    return [(HEADLINE, [ONE, *others]), *([(ONE, rest)] if (rest := [one for one in single if one != ONE]) else [])]


def whole_table(scale: Scale) -> str:
    """Return the table of all that is done by now, what is missing, and how each data set came about."""
    data_sets = known()
    rows, missing, codes = [], [], Counter[str]()
    for name, entries in SETS.items():
        for seed in sorted({seed for entry in entries for seed in entry.seeds}):
            lake = Lake(data_sets[name], seed, scale)
            here = [entry for entry in entries if seed in entry.seeds]
            trained = {entry.name: told for entry in here if (told := lake.trained(entry))}
            figures = [row for first in (HEADLINE, ONE) for row in lake.figures(first)]
            figures = [row for row in figures if row["protocol"] == data_sets[name].protocol]
            rows += rows_of(name, seed, here, trained, figures)
            if away := [entry.name for entry in here if entry.name not in trained]:
                missing.append(f"{name}, seed {seed}: {', '.join(away)}")
            codes.update(told["code"] for told in trained.values())
    commands = [f"{name}: {data_sets[name].command()}" for name in SETS]
    return "\n".join([table_of(COLUMNS, rows), "", *remarks(missing, codes), "", "```", *commands, "```"])


def of_seeds(scale: Scale) -> str:
    """Return the table of the default model and of its single one, seeds taken together."""
    data_sets = known()
    rows = []
    for name, entry in product(SETS, (HEADLINE, ONE)):
        measured = [both for seed in entry.seeds if (both := figures_of(Lake(data_sets[name], seed, scale), entry))]
        if measured:
            wanted = " / ".join(short(value) for value in WANTED.get(name, ()))
            rows.append([name, entry.name, str(len(measured)), *map(mean_of, zip(*measured, strict=True)), wanted])
    return table_of(OF_SEEDS, rows)


def figures_of(lake: Lake, entry: Entry) -> tuple[float, float] | None:
    """Return HR@10 and NDCG@10 on the lake's test users, as training tells them; None where it was not trained yet."""
    told = lake.trained(entry)
    return (told["hr10"], told["ndcg10"]) if told else None


def mean_of(values: Sequence[float]) -> str:
    """Return the mean, the lowest and the highest."""
    return f"{short(sum(values) / len(values))} ({short(min(values))} to {short(max(values))})"


def rows_of(
    name: str, seed: int, entries: Sequence[Entry], trained: dict[str, dict[str, Any]], figures: Rows
) -> list[list[str]]:
    """Return the cells of all rows of a lake: trained models in the order of the entries, then the most popular items.

    In   trained: by entry, see `Lake.trained`. figures: rows of `metrics` of one protocol, none before the comparison.
    """
    by_version = {told["version"]: entry for entry in entries if (told := trained.get(entry.name))}
    firsts = {trained[one.name]["version"]: one.name for one in (HEADLINE, ONE) if one.name in trained}
    found = {(row["slice"], row["model_version"], row["against"], row["metric"]): row for row in figures}
    rows = []
    for version, entry in by_version.items():
        told = trained[entry.name]
        measured = _measured(found, version, firsts) or _told_by_training(told)
        rows.append([name, entry.name, str(seed), *measured, *taken_by(entry, told)])
    popular = [(version, word) for version, word in POPULAR.items() if ("all", version, "", "ndcg") in found]
    if seed == SEED:
        rows += [[name, word, str(seed), *_measured(found, version, firsts), "", "", ""] for version, word in popular]
    return rows


def _measured(
    found: dict[tuple[str, str, str, str], dict[str, Any]], version: str, firsts: dict[str, str]
) -> list[str]:
    """Return users, HR, NDCG of all, of repeat and of novel targets, what it was compared with, and the
    difference; nothing where it was not compared. In: firsts: names by version of what others are compared with."""
    hr, ndcg = (found.get(("all", version, "", metric)) for metric in ("hr", "ndcg"))
    if hr is None or ndcg is None:
        return []
    paired = next((row for first in firsts if (row := found.get(("all", first, version, "ndcg")))), None)
    beside = [firsts[paired["model_version"]], as_difference(turned_round(paired))] if paired else ["", ""]
    parts = [found.get((part, version, "", "ndcg")) for part in ("repeat", "novel")]
    apart = [short(row["value"]) if row else "" for row in parts]
    return [f"{ndcg['num_users']:,}", short(hr["value"]), with_interval(ndcg), *apart, *beside]


def _told_by_training(told: dict[str, Any]) -> list[str]:
    if told["ndcg10"] is None:
        return ["0", "", "", "", "", "", ""]
    return [f"{told['users']:,}", short(told["hr10"]), short(told["ndcg10"]), "", "", "", "not compared yet"]


def tables(scale: Scale) -> dict[str, str]:
    """Return both tables by the name of their place."""
    return {"seeds": of_seeds(scale), "table": whole_table(scale)}


def main(words: Sequence[str]) -> None:
    fill_page(
        "bench-quality",
        PAGE,
        __doc__,
        SETS,
        lambda name, scale: run(known()[name], SETS[name], scale),
        tables,
        words,
    )


if __name__ == "__main__":
    main(sys.argv[1:])

"""The models and what lifts them, held against each other on the same users: fills in benchmarks/QUALITY.md.

python benchmarks/bench_quality.py [beauty beauty_attributes ml100k taobao rees46] [--trial USERS]

A run that was cut off goes on where it was (see lakes.py); the table is made of all that is done by now, in this run or
before. A trial (few users, one epoch) shows whether the script works: its table goes to benchmarks/work alone.
"""

import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

from data_sets import known
from filling import fill_page
from lakes import SEED, DataSet, Entry, Lake, Rows, Scale
from page import as_difference, remarks, short, table_of, taken_by, turned_round, with_interval

from sparkrec.config.train_settings import TrainSettings
from sparkrec.models.registry import ARCHITECTURES

PAGE = "QUALITY.md"
HEADLINE = Entry("default", (), (7, 8, 9))
OTHERS = tuple(name for name in ARCHITECTURES if name not in (TrainSettings().model, "popular"))
"""Every evaluation measures most-popular in any case."""
MODELS = tuple(Entry(name, (f"train.model={name}",)) for name in OTHERS)
SIMPLE = tuple(entry for entry in MODELS if entry.name in ("item_knn", "mf"))
CHANGES = (
    Entry("default, no second opinion", ("train.neighbours=0",)),
    Entry("default, from the next item alone", ("train.later_targets=0",)),
    Entry("default, inner products", ("train.temperature=null",)),
    Entry("default, weights not averaged", ("train.average=0",)),
    Entry("default, width 64", ("train.width=64",)),
    Entry("default, one block", ("train.num_blocks=1",)),
    Entry("default, dropout 0.2", ("train.dropout=0.2",)),
    Entry("default, sampled softmax, 512 negatives", ("train.loss=sampled_softmax",)),
)
SETS: dict[str, tuple[Entry, ...]] = {
    "ml100k": (HEADLINE, *SIMPLE),
    "taobao": (HEADLINE, *SIMPLE),
    "rees46": (HEADLINE, *SIMPLE),
    "beauty": (HEADLINE, *MODELS, *CHANGES),
    "beauty_attributes": (HEADLINE,),
}
"""By data set what is compared; the first entry with all others of its seeds."""
WANTED = {"beauty": (0.1008, 0.0611), "beauty_attributes": (0.1060, 0.0640)}
"""HR@10 and NDCG@10 that the default must be above: BSARec's as published, from ids alone, and what is asked for
where attributes may be read."""
POPULAR = {"popular": "most popular", "popular_7_days": "most popular of 7 days"}
OF_SEEDS = ("data", "seeds", "HR@10: mean (lowest to highest)", "NDCG@10: mean (lowest to highest)", "above")
COLUMNS = (
    "data", "model", "seed", "users", "HR@10", "NDCG@10 (95 %)", "repeat NDCG@10", "novel NDCG@10",
    "NDCG@10 less that of the default (95 %)", "best epoch",
    "seconds", "settings",
)  # fmt: skip


def run(data: DataSet, entries: Sequence[Entry], scale: Scale) -> None:
    """Train and compare what is not yet."""
    for seed in sorted({seed for entry in entries for seed in scale.seeds_of(entry)}):
        first, *others = (entry for entry in entries if seed in scale.seeds_of(entry))
        Lake(data, seed, scale).measure((first, others))


def whole_table(scale: Scale) -> str:
    """Return the table of all that is done by now, what is missing, and how each data set came about."""
    data_sets = known()
    rows, missing, codes = [], [], Counter[str]()
    for name, entries in SETS.items():
        for seed in sorted({seed for entry in entries for seed in entry.seeds}):
            lake = Lake(data_sets[name], seed, scale)
            here = [entry for entry in entries if seed in entry.seeds]
            trained = {entry.name: told for entry in here if (told := lake.trained(entry))}
            figures = [row for row in lake.figures(here[0]) if row["protocol"] == data_sets[name].protocol]
            rows += rows_of(name, seed, here, trained, figures)
            if away := [entry.name for entry in here if entry.name not in trained]:
                missing.append(f"{name}, seed {seed}: {', '.join(away)}")
            codes.update(told["code"] for told in trained.values())
    commands = [f"{name}: {data_sets[name].command()}" for name in SETS]
    return "\n".join([table_of(COLUMNS, rows), "", *remarks(missing, codes), "", "```", *commands, "```"])


def of_seeds(scale: Scale) -> str:
    """Return the table of the default model, its seeds taken together."""
    data_sets = known()
    rows = []
    for name, (first, *_) in SETS.items():
        measured = [both for seed in first.seeds if (both := figures_of(Lake(data_sets[name], seed, scale), first))]
        if measured:
            wanted = " / ".join(short(value) for value in WANTED.get(name, ()))
            rows.append([name, str(len(measured)), *map(mean_of, zip(*measured, strict=True)), wanted])
    return table_of(OF_SEEDS, rows)


def figures_of(lake: Lake, entry: Entry) -> tuple[float, float] | None:
    """Return HR@10 and NDCG@10 on the lake's test users; None where they are not measured yet."""
    version = (lake.trained(entry) or {}).get("version")
    whole = (version, "all", "", lake.data.protocol)
    found = {
        row["metric"]: row["value"]
        for row in lake.figures(entry)
        if (row["model_version"], row["slice"], row["against"], row["protocol"]) == whole
    }
    return (found["hr"], found["ndcg"]) if found else None


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
    first = trained.get(entries[0].name, {}).get("version")
    found = {(row["slice"], row["model_version"], row["against"], row["metric"]): row for row in figures}
    rows = []
    for version, entry in by_version.items():
        told = trained[entry.name]
        measured = _measured(found, version, first) or _told_by_training(told)
        rows.append([name, entry.name, str(seed), *measured, *taken_by(entry, told)])
    popular = [(version, word) for version, word in POPULAR.items() if ("all", version, "", "ndcg") in found]
    if seed == SEED:
        rows += [[name, word, str(seed), *_measured(found, version, first), "", "", ""] for version, word in popular]
    return rows


def _measured(found: dict[tuple[str, str, str, str], dict[str, Any]], version: str, first: str | None) -> list[str]:
    """Return users, HR, NDCG of all, of repeat and of novel targets, and the difference to the first; nothing where the
    version was not compared."""
    hr, ndcg = (found.get(("all", version, "", metric)) for metric in ("hr", "ndcg"))
    if hr is None or ndcg is None:
        return []
    paired = found.get(("all", first or "", version, "ndcg"))
    beside = as_difference(turned_round(paired)) if paired else ""
    parts = [found.get((part, version, "", "ndcg")) for part in ("repeat", "novel")]
    apart = [short(row["value"]) if row else "" for row in parts]
    return [f"{ndcg['num_users']:,}", short(hr["value"]), with_interval(ndcg), *apart, beside]


def _told_by_training(told: dict[str, Any]) -> list[str]:
    if told["ndcg10"] is None:
        return ["0", "", "", "", "", ""]
    return [f"{told['users']:,}", short(told["hr10"]), short(told["ndcg10"]), "", "", "not compared yet"]


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

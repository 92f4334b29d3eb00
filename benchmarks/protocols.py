"""What sasrec and most-popular are worth by every protocol, on the sample and the public excerpts beside the project.

python benchmarks/protocols.py [sample rees46 taobao beauty]
"""

import sys
import time
from collections.abc import Sequence
from datetime import date

import polars as pl
from data_sets import HELD_OUT, clicks_of
from lakes import OF_LISTS, SEED, K, Lake, Scale, end_with_jobs
from page import line_of, short, table_of, with_interval

PROTOCOLS = {
    "sample": list(HELD_OUT), "rees46": list(HELD_OUT)[:2], "taobao": list(HELD_OUT), "beauty": list(HELD_OUT)[:1],
}  # fmt: skip
"""By data set what is held out of it, one after the other."""
COLUMNS = (
    "data", "protocol", "users", "HR@10", "NDCG@10 (95 %)", "most-popular", "of 7 days",
    "repeat", "most-popular", "novel", "most-popular",
)  # fmt: skip
MODEL, POPULAR, LATELY = "model", "popular", "popular_7_days"


def rows_of(name: str, scale: Scale) -> list[str]:
    """Return a line of the table for every protocol, told as soon as it is known."""
    clicks = clicks_of(name)
    lake = Lake(clicks, SEED, scale)
    lake.prepare()
    told = []
    for held_out in PROTOCOLS[name]:
        began = time.monotonic()
        # What is measured here need not be fit to be published.
        for job, *words in (("window",), ("train",), ("recommend", "--force"), ("evaluate",)):
            lake.run(job, *words, settings=HELD_OUT[held_out])
        night = {"run_date": date.fromisoformat(clicks.day), "k": K}
        metrics = pl.read_delta(str(lake.folder / "lake" / "metrics")).filter(**night)
        for protocol in metrics["protocol"].unique().sort():
            if protocol not in OF_LISTS:
                told.append(line_of([name, protocol, *cells_of(metrics.filter(protocol=protocol))]))
                print(told[-1], flush=True)
        print(f"{name}, {held_out}: {time.monotonic() - began:.0f} s", flush=True)
    return told


def cells_of(metrics: pl.DataFrame) -> list[str]:
    """Return users, HR and NDCG of the model, and NDCG of all contestants for all, repeat and novel targets."""
    name = pl.when(pl.col("model_version").is_in([POPULAR, LATELY])).then("model_version").otherwise(pl.lit(MODEL))
    rows = metrics.filter(against="").with_columns(who=name)
    found = {(row["slice"], row["who"], row["metric"]): row for row in rows.to_dicts()}
    whole = found["all", MODEL, "ndcg"]
    cells = [f"{whole['num_users']:,}", short(found["all", MODEL, "hr"]["value"]), with_interval(whole)]
    for of_slice, who in (
        ("all", POPULAR),
        ("all", LATELY),
        *((s, w) for s in ("repeat", "novel") for w in (MODEL, POPULAR)),
    ):
        row = found.get((of_slice, who, "ndcg"))
        cells.append(short(row["value"]) if row else "")
    return cells


def main(names: Sequence[str]) -> None:
    end_with_jobs()
    scale = Scale(work=Scale().work.with_name("protocols"))
    print(table_of(COLUMNS, []))
    lines = [line for name in names or PROTOCOLS for line in rows_of(name, scale)]
    print(f"protocols: rows={len(lines)}")


if __name__ == "__main__":
    main(sys.argv[1:])

"""The buyers of RetailRocket as clicks: views, carts and purchases in order, the place in the sequence as the second.

A row of the files is a beginning of a visitor's sequence and the purchase (`item_id`) that follows it; many visitors
have several rows, many rows stand there several times. An earlier row's purchase has a type of its own (3).
"""

import gzip
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import polars as pl
from sequences import FIRST_SECOND

Step = tuple[str, str]
"""An item, and what was done to it."""
EVENTS = {"2": "view", "1": "cart", "0": "purchase", "3": "purchase"}
MAPPING = """
name: retailrocket buyers
format: parquet
columns: {user_id: user, item_id: item, event_type: event, event_ts: second}
event_types: {view: view, cart: cart, purchase: purchase}
time: {unit: seconds, zone: UTC}
"""


def write_buyers(files: Sequence[Path], folder: Path, num_users: int | None = None) -> None:
    """Write `clicks.parquet` (user, item, event, second), its mapping `clicks.yaml`, and `catalogue.parquet`, where an
    item's category is its company (see `companies`). In: num_users: of the first so many visitors alone."""
    folder.mkdir(parents=True, exist_ok=True)
    sequences = maximal(row for file in files for row in read_rows(file))[:num_users]
    (folder / "clicks.yaml").write_text(MAPPING)
    steps = [
        (f"buyer {number}", item, event, FIRST_SECOND + place)
        for number, sequence in enumerate(sequences, 1)
        for place, (item, event) in enumerate(sequence)
    ]
    pl.DataFrame(steps, schema=["user", "item", "event", "second"], orient="row").write_parquet(
        folder / "clicks.parquet"
    )
    # What is to be found does not tell what belongs together.
    groups = companies([item for item, _ in sequence[:-1]] for sequence in sequences)
    catalogue = pl.DataFrame({"item_id": list(groups), "category": list(groups.values())})
    catalogue.write_parquet(folder / "catalogue.parquet")


def read_rows(file: Path) -> Iterator[tuple[Step, ...]]:
    """Yield the steps of every row, the purchase that follows them at the end."""
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        next(lines)
        for line in lines:
            _, items, kinds, bought = line.rstrip("\n").split("\t")
            events = [EVENTS[kind] for kind in kinds.split()]
            yield (*zip(items.split(), events, strict=True), (bought, "purchase"))


def maximal(rows: Iterable[tuple[Step, ...]]) -> list[tuple[Step, ...]]:
    """Return the different rows that are not the beginning of another one, sorted."""
    ordered = sorted(set(rows))
    # Whatever begins with a row comes right after it.
    nexts = [*ordered[1:], ()]
    return [row for row, following in zip(ordered, nexts, strict=True) if following[: len(row)] != row]


def companies(sequences: Iterable[Sequence[str]]) -> dict[str, str]:
    """Return by item the name of its company: items that hang together by each one's most frequent neighbour.

    The files know no categories. An item's neighbours are other items right before or after it; ties go to the smaller
    id, and a company is named after its smallest one. Items without a neighbour have no company.
    """
    steps = [(user, item) for user, sequence in enumerate(sequences) for item in sequence]
    rows = pl.DataFrame(steps, schema={"user": pl.Int64, "item": pl.String}, orient="row")
    beside = rows.with_columns(other=pl.col("item").shift(-1).over("user")).filter(pl.col("item") != pl.col("other"))
    both_ways = pl.concat([beside.select("item", "other"), beside.select(item="other", other="item")])
    counted = both_ways.group_by("item", "other").len().sort(["item", "len", "other"], descending=[False, True, False])
    group: dict[str, str] = {}
    for item, other in counted.group_by("item", maintain_order=True).first().select("item", "other").iter_rows():
        smaller, larger = sorted([_first_of(group, item), _first_of(group, other)])
        group[larger] = smaller
    return {item: _first_of(group, item) for item in sorted(counted["item"].unique())}


def _first_of(group: dict[str, str], item: str) -> str:
    while group.get(item, item) != item:
        item = group[item]
    return item

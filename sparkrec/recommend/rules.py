"""What the `rules` table says of tonight: which items which users are not offered, and how many of a category.

S segments, the first is '' for everybody else   I items on offer
"""

from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt
import polars as pl

from sparkrec.errors import RefusedError

EVERYBODY = ""
NO_CAP = 2**31 - 1
REFUSALS = ("not available", "rule unavailable", "rule deny", "not among rule allow")
"""Why an item is not offered, in the order in which they are looked at; the code is the place, from 1."""
_WORDS = ("unavailable", "deny", "allow", "cap")


@dataclass(frozen=True)
class Effects:
    """What rules do to every item for every segment."""

    segments: tuple[str, ...]
    refusal_SI: npt.NDArray[np.uint8]
    """0 where the item may be offered, else the place in REFUSALS, from 1."""
    cap_SI: npt.NDArray[np.int32]
    """Most items of this item's category in one list; NO_CAP for no limit."""
    items_by_rule: dict[str, int]
    """How many items every rule speaks of, by the rule in words."""


def check_rules(rules: pl.DataFrame, where: str) -> None:
    """Refuse a table with a rule that cannot be understood; the first of them is shown."""
    names = pl.col("item_id").is_not_null(), pl.col("category").is_not_null()
    is_cap = pl.col("rule") == "cap"
    faults = {
        f"rule: wanted {', '.join(_WORDS)}": ~pl.col("rule").is_in(_WORDS) | pl.col("rule").is_null(),
        "item_id or category: one is needed": ~is_cap & ~names[0] & ~names[1],
        "max_per_list: wanted 1 or more": is_cap & (pl.col("max_per_list").fill_null(0) < 1),
        "item_id: a cap is for categories": is_cap & names[0],
        "valid_from: after valid_to": pl.col("valid_from") > pl.col("valid_to"),
    }
    for fault, is_wrong in faults.items():
        wrong = rules.filter(is_wrong)
        if len(wrong):
            told = {name: value for name, value in wrong.row(0, named=True).items() if value is not None}
            raise RefusedError(f"{where}: {len(wrong):,} rule(s) refused, {fault}; found {told}")


def of_the_night(rules: pl.DataFrame, run_date: date) -> pl.DataFrame:
    """Return the rules that hold on a date, both ends included."""
    begins, ends = pl.col("valid_from").fill_null(date.min), pl.col("valid_to").fill_null(date.max)
    return rules.filter((begins <= run_date) & (ends >= run_date))


def effects_of(rules: pl.DataFrame, items: pl.DataFrame) -> Effects:
    """Return what the rules of a night do.

    In   rules: columns of RULES. items: item_id, category, available. A row is one item.

    An item that several rules refuse is told by the first of REFUSALS; of several caps the smallest counts. Where one
    `allow` holds for a user, only what some `allow` of theirs names is offered.
    """
    segments = (EVERYBODY, *sorted(set(rules["segment"].drop_nulls().to_list()) - {EVERYBODY}))
    placed = items.with_row_index("place")
    numbered = rules.with_row_index("rule_no").with_columns(pl.col("segment").fill_null(EVERYBODY))
    by_item = numbered.filter(pl.col("item_id").is_not_null()).join(placed, on="item_id", suffix="_of_item")
    by_item = by_item.filter(pl.col("category").is_null() | (pl.col("category") == pl.col("category_of_item")))
    by_category = numbered.filter(pl.col("item_id").is_null() & pl.col("category").is_not_null())
    of_category = by_category.join(placed, on="category", suffix="_of_item")
    of_all = numbered.filter((pl.col("rule") == "cap") & pl.col("category").is_null()).join(
        placed.filter(pl.col("category").is_not_null()), how="cross", suffix="_of_item"
    )
    columns = ["rule_no", "rule", "segment", "max_per_list", "place"]
    named = pl.concat([part.select(columns) for part in (by_item, of_category, of_all)])

    refusal_SI = np.zeros((len(segments), len(items)), dtype=np.uint8)
    cap_SI = np.full((len(segments), len(items)), NO_CAP, dtype=np.int32)
    for row, segment in enumerate(segments):
        theirs = named.filter(pl.col("segment").is_in([EVERYBODY, segment]))
        allows = numbered.filter((pl.col("rule") == "allow") & pl.col("segment").is_in([EVERYBODY, segment]))
        refused = [
            ~items["available"].fill_null(False).to_numpy(),
            _named_by(theirs, "unavailable", len(items)),
            _named_by(theirs, "deny", len(items)),
            ~_named_by(theirs, "allow", len(items)) & bool(len(allows)),
        ]
        refusal_SI[row] = np.select(refused, range(1, len(refused) + 1), 0)
        caps = theirs.filter(pl.col("rule") == "cap")
        np.minimum.at(cap_SI[row], caps["place"].to_numpy(), caps["max_per_list"].cast(pl.Int32).to_numpy())
    return Effects(segments, refusal_SI, cap_SI, _items_by_rule(numbered, named))


def _items_by_rule(numbered: pl.DataFrame, named: pl.DataFrame) -> dict[str, int]:
    found = numbered.join(named.group_by("rule_no").len(), on="rule_no", how="left", maintain_order="left")
    told: dict[str, int] = {}
    for row in found.iter_rows(named=True):
        what = row["item_id"] or row["category"] or "each category"
        words = f"{row['rule']} {what}" + (f" for {row['segment']}" if row["segment"] else "")
        told[words] = told.get(words, 0) + (row["len"] or 0)
    return told


def _named_by(named: pl.DataFrame, word: str, num_items: int) -> npt.NDArray[np.bool_]:
    mask = np.zeros(num_items, dtype=bool)
    mask[named.filter(pl.col("rule") == word)["place"].to_numpy()] = True
    return mask

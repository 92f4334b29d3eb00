"""The optional list of what is offered: items nobody clicked yet, and those that cannot be had any more."""

from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from sparkrec.errors import RefusedError

COLUMNS: dict[str, Any] = {
    "item_id": pl.String,
    "category": pl.String,
    "brand": pl.String,
    "price": pl.Float64,
    "available": pl.Boolean,
    "attributes": pl.List(pl.String),
}
BETWEEN_ATTRIBUTES = "|"


def find_catalogue(path: str | None, run_date: date) -> str | None:
    """Return the catalogue's file of a night; refuse one that is missing or does not name items."""
    if path is None:
        return None
    place = path.replace("{date}", run_date.isoformat())
    if not Path(place).is_file():
        raise RefusedError(f"prepare.catalogue {place}: no such file; mend the setting, or deliver the file")
    try:
        names = _scan(place).collect_schema().names()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise RefusedError(f"prepare.catalogue {place}: cannot be read ({error}); wanted csv or parquet") from error
    if "item_id" not in names:
        raise RefusedError(
            f"prepare.catalogue {place}: wanted item_id and, if known, {', '.join(list(COLUMNS)[1:])};"
            f" found {', '.join(names)}"
        )
    return place


def read_catalogue(place: str | None) -> pl.DataFrame:
    """Return a row per item: COLUMNS; those that the file lacks are null. An item that is listed twice counts once.

    Attributes are a list, or words with BETWEEN_ATTRIBUTES between them.
    """
    if place is None:
        return pl.DataFrame(schema=COLUMNS)
    listed = _scan(place)
    schema = listed.collect_schema()
    names = schema.names()
    as_words = {name: pl.col(name) for name in COLUMNS if name in names}
    if isinstance(schema.get("attributes"), pl.List | pl.Array):
        as_words["attributes"] = pl.col("attributes").cast(pl.List(pl.String)).list.join(BETWEEN_ATTRIBUTES)
    text = [column.cast(pl.String).str.strip_chars() for column in as_words.values()]
    typed = (
        listed.select(text)
        .filter(pl.col("item_id").str.len_chars() > 0)
        .with_columns(*(pl.lit(None, dtype=pl.String).alias(name) for name in COLUMNS if name not in names))
    )
    is_offered = pl.col("available").str.to_lowercase().replace_strict(_TRUTH, default=None, return_dtype=pl.Boolean)
    name = pl.element().str.strip_chars()
    attributes = (
        pl.col("attributes").str.split(BETWEEN_ATTRIBUTES).list.eval(name.filter(name != "")).list.unique().list.sort()
    )
    price = pl.col("price").cast(pl.Float64, strict=False)
    one_each = (
        typed.select("item_id", "category", "brand", price, is_offered, "attributes")
        .group_by("item_id")
        .agg(pl.all().drop_nulls().max())
        .with_columns(attributes)
    )
    return one_each.collect()


_TRUTH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def _scan(place: str) -> pl.LazyFrame:
    if place.endswith(".parquet"):
        return pl.scan_parquet(place)
    return pl.scan_csv(place, infer_schema=False)

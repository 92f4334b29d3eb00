"""The optional list of what is offered: items nobody clicked yet, and those that cannot be had any more."""

from datetime import date
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from sparkrec.errors import RefusedError
from sparkrec.prepare.items import CATALOGUE


def check_catalogue(path: str | None, run_date: date) -> None:
    """Refuse a catalogue that is not there, before Spark starts."""
    if path and "://" not in path and not Path(_of_date(path, run_date)).exists():
        raise RefusedError(f"prepare.catalogue {_of_date(path, run_date)}: no such file or folder; mend the setting")


def read_catalogue(spark: SparkSession, path: str | None, run_date: date) -> DataFrame | None:
    """Return a row per item: item_id, category, brand, price, available; columns the file lacks are null."""
    if not path:
        return None
    place = _of_date(path, run_date)
    is_csv = any(name in place for name in (".csv", ".tsv"))
    listed = spark.read.option("header", True).csv(place) if is_csv else spark.read.parquet(place)
    if "item_id" not in listed.columns:
        raise RefusedError(
            f"prepare.catalogue {place}: wanted item_id and, if known, category, brand, price, available;"
            f" found {', '.join(listed.columns)}"
        )
    wanted = [pair.split(" ") for pair in CATALOGUE.split(", ")]
    typed = listed.select(
        *(
            (F.col(name).cast("string").try_cast(kind) if name in listed.columns else F.lit(None).cast(kind)).alias(
                name
            )
            for name, kind in wanted
        )
    )
    # An item listed twice is offered if one of its lines says so.
    return (
        typed.where(F.trim("item_id") != "")
        .groupBy("item_id")
        .agg(*(F.max(name).alias(name) for name, _ in wanted[1:]))
    )


def _of_date(path: str, run_date: date) -> str:
    return path.replace("{date}", run_date.isoformat())

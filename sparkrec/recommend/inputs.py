"""The two tables that users may write: `audience` and `rules`."""

from datetime import date

import polars as pl
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from sparkrec.contract import accept
from sparkrec.errors import RefusedError
from sparkrec.lake import Lake
from sparkrec.recommend.rules import check_rules, of_the_night
from sparkrec.tables import AUDIENCE, RULES


def read_audience(lake: Lake) -> DataFrame | None:
    """Return the users who must get a list, None where no such table is: then everybody in `histories` gets one."""
    if not lake.has(AUDIENCE):
        return None
    audience = accept(lake.read(AUDIENCE), AUDIENCE, lake.path(AUDIENCE))
    named = audience.where("user_id IS NOT NULL")
    if named.isEmpty():
        raise RefusedError(f"{lake.path(AUDIENCE)}: names no user; fill it, or delete the table to serve everybody")
    torn = named.groupBy("user_id").agg(F.count_distinct("segment").alias("num")).where("num > 1").first()
    if torn:
        raise RefusedError(f"{lake.path(AUDIENCE)}: user {torn['user_id']} is of {torn['num']} segments; name one")
    return named


def read_rules(lake: Lake, run_date: date) -> pl.DataFrame:
    """Return the rules that hold on a date; none where no such table is."""
    rules = accept(lake.read(RULES), RULES, lake.path(RULES)) if lake.has(RULES) else lake.read_or_empty(RULES)
    told = pl.DataFrame(pl.from_arrow(rules.toArrow()))
    check_rules(told, lake.path(RULES))
    return of_the_night(told, run_date)

"""From sums over users to rows of `metrics`: means with 95 % intervals over users, and paired differences."""

from collections.abc import Sequence
from datetime import date
from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from sparkrec.contract import conform
from sparkrec.tables import METRICS

KEYS = ("split", "protocol", "slice", "model_version", "against", "metric", "k")
FIGURES = (
    "split string, protocol string, slice string, model_version string, against string, metric string, k int,"
    " value double, low double, high double, num_users long"
)
"""A row is one figure: a mean over cases, its 95 % interval over users where it has one, and the users measured."""
ROUNDING = 1e-12
"""Squares that differ by this share are the same."""
NORMAL_95 = 1.959963984540054
"""Quantile of the normal distribution that leaves 2.5 % beyond it."""


def summed(sums: DataFrame) -> DataFrame:
    """Return FIGURES.

    The value is the mean over cases, as protocols have it. A user's cases are not independent, so the interval is that
    of a ratio of sums over users (Cochran, Sampling Techniques, 1977, section 6.3); with one case per user it is the
    usual one. A single user has no interval, nor have users who all gain the same: that tells nothing of the spread.

    In   sums: rows of SUMS.
    """
    whole = sums.groupBy(*KEYS).agg(
        *(F.sum(name).alias(name) for name in ("users", "cases", "squared_cases")),
        *(_sum(name).alias(name) for name in ("gain", "squared_gain", "gain_times_cases")),
    )
    with_value = whole.withColumn("value", F.col("gain") / F.col("cases"))
    squares = (
        F.col("squared_gain")
        - 2 * F.col("value") * F.col("gain_times_cases")
        + F.col("value") * F.col("value") * F.col("squared_cases")
    )
    variance = F.greatest(squares, F.lit(0.0)) * F.col("users") / (F.col("users") - 1)
    margin = NORMAL_95 * F.sqrt(variance) / F.col("cases")
    has_interval = (F.col("users") > 1) & (squares > ROUNDING * F.col("squared_gain"))
    return with_value.select(
        *KEYS,
        "value",
        F.when(has_interval, F.col("value") - margin).alias("low"),
        F.when(has_interval, F.col("value") + margin).alias("high"),
        F.col("users").alias("num_users"),
    )


def metrics_of(figures: Sequence[DataFrame], run_date: date) -> DataFrame:
    """Return rows of METRICS. In: frames of FIGURES, of what is to be reported."""
    together = reduce(DataFrame.unionByName, figures)
    return conform(together.withColumn("run_date", F.lit(run_date)), METRICS)


def _sum(name: str) -> Column:
    """Return a sum that is the same whichever task ends first; there is a number per task."""
    return F.aggregate(F.array_sort(F.collect_list(name)), F.lit(0.0), lambda so_far, value: so_far + value)

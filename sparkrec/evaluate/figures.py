"""From ranks to the rows of `metrics`: means over users with 95 % intervals, and paired differences."""

from collections.abc import Sequence
from datetime import date

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from sparkrec.contract import conform
from sparkrec.tables import METRICS

PROTOCOLS = {"last_items": "leave_one_out_full", "date": "by_date_full"}
"""How targets were held out (window.held_out) and ranked: among all items."""
POPULAR = "popular"


def figures_of(
    ranks: DataFrame, run_date: date, model_version: str, top_k: Sequence[int], protocol: str = PROTOCOLS["last_items"]
) -> DataFrame:
    """Return hit rate and NDCG at every k for the model, for most-popular, and their paired difference.

    In   ranks: user_id, is_repeat, model_rank, popular_rank. A row is one user's target.
    Out  rows of METRICS for the slices all, repeat and novel. Intervals are normal approximations over users.
    """
    measured = []
    for k in top_k:
        for metric, gain in (("hr", _hit), ("ndcg", _ndcg)):
            ours, theirs = gain(F.col("model_rank"), k), gain(F.col("popular_rank"), k)
            measured += [
                _figure(model_version, metric, k, "", ours),
                _figure(POPULAR, metric, k, "", theirs),
                _figure(model_version, metric, k, POPULAR, ours - theirs),
            ]
    slices = F.array(F.lit("all"), F.when(F.col("is_repeat"), "repeat").otherwise("novel"))
    one_figure_each = ranks.select(F.explode(slices).alias("slice"), F.explode(F.array(*measured)).alias("figure"))
    keys = [F.col(f"figure.{name}").alias(name) for name in ("model_version", "metric", "k", "against")]
    summed = one_figure_each.groupBy("slice", *keys).agg(
        F.avg("figure.gain").alias("value"),
        F.coalesce(F.stddev("figure.gain"), F.lit(0.0)).alias("spread"),
        F.count("*").alias("num_users"),
    )
    margin = 1.96 * F.col("spread") / F.sqrt("num_users")
    return conform(
        summed.select(
            "*",
            F.lit(run_date).alias("run_date"),
            F.lit(protocol).alias("protocol"),
            (F.col("value") - margin).alias("low"),
            (F.col("value") + margin).alias("high"),
        ),
        METRICS,
    )


def _figure(model_version: str, metric: str, k: int, against: str, gain: Column) -> Column:
    return F.struct(
        F.lit(model_version).alias("model_version"),
        F.lit(metric).alias("metric"),
        F.lit(k).alias("k"),
        F.lit(against).alias("against"),
        gain.alias("gain"),
    )


def _hit(rank: Column, k: int) -> Column:
    return (rank <= k).cast("double")


def _ndcg(rank: Column, k: int) -> Column:
    return F.when(rank <= k, 1 / F.log2(rank + 1)).otherwise(0.0)

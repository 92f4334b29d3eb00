"""Look at a staged night before anybody else can."""

from collections.abc import Mapping
from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from sparkrec.errors import SparkrecError


@dataclass(frozen=True)
class StagedNight:
    """What was found in the staged rows."""

    users: int
    faulty_users: int
    rows: int
    rows_by_source: Mapping[str, int]


def look_at(staged: DataFrame, top_n: int) -> StagedNight:
    """Count users, rows, sources, and users whose list is not N different items with finite scores, ranks 1 to N."""
    per_user = staged.groupBy("user_id").agg(
        F.count("*").alias("rows"),
        F.countDistinct("rank").alias("ranks"),
        F.max("rank").alias("last_rank"),
        F.countDistinct("item_id").alias("items"),
        F.count_if(F.isnan("score") | (F.abs("score") == float("inf")) | F.col("score").isNull()).alias("odd_scores"),
    )
    is_right = (
        (F.col("rows") == top_n)
        & (F.col("ranks") == top_n)
        & (F.col("last_rank") == top_n)
        & (F.col("items") == top_n)
        & (F.col("odd_scores") == 0)
    )
    seen = per_user.agg(
        F.count("*").alias("users"),
        F.count_if(~is_right).alias("faulty"),
        F.coalesce(F.sum("rows"), F.lit(0)).alias("rows"),
    ).first()
    by_source = staged.groupBy("source").count().collect()  # a row per source
    counts = {row["source"]: int(row["count"]) for row in by_source}
    return StagedNight(seen["users"], seen["faulty"], seen["rows"], counts) if seen else StagedNight(0, 0, 0, {})


def check_night(night: StagedNight, users_wanted: int, top_n: int, where: str) -> None:
    """Refuse to publish a night in which somebody lacks a proper list."""
    if night.users == users_wanted and not night.faulty_users and night.users:
        return
    raise SparkrecError(
        f"{where}: {night.users:,} of {users_wanted:,} users have a list, {night.faulty_users:,} lists are not"
        f" {top_n} different items with finite scores; nothing was published, earlier nights stand."
        f" Is the catalogue smaller than recommend.top_n={top_n} plus what users bought?"
    )

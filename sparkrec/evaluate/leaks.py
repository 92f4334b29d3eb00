"""Figures are only told of models that cannot have seen what they must find."""

from collections.abc import Mapping
from pathlib import Path

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from sparkrec.errors import SparkrecError
from sparkrec.models.store import read_card


def check_models(models: Mapping[str, Path], held_out: str) -> None:
    """Refuse a model that was trained on windows which held out something else."""
    for version, folder in models.items():
        there = read_card(folder).held_out
        if there != held_out:
            raise SparkrecError(
                f"model {version}: its training held out '{there}', these windows hold out '{held_out}': it may have"
                " seen what it must find; train it again, or set window.held_out as it was"
            )


def check_windows(windows: DataFrame, where: str) -> None:
    """Refuse windows of a date where a user's training windows reach what is held out of the same user."""
    length = F.size("target_idxs")
    # The event to be found first, counted from the user's first one kept; the last event of a training window likewise.
    first_target = F.array_position(F.transform("target_idxs", lambda target: (target > 0).cast("int")), 1)
    place = F.col("user_num_events") - length + first_target
    is_training = F.col("split") == "train"
    by_user = windows.groupBy("user_id").agg(
        F.max(F.when(is_training, F.col("user_num_events"))).alias("last_learnt"),
        F.min(F.when(~is_training, place)).alias("first_held_out"),
    )
    leaking = by_user.where(F.col("last_learnt") >= F.col("first_held_out"))
    found = leaking.agg(F.count("*").alias("users"), F.min("user_id").alias("one")).first()
    if found and found["users"]:
        raise SparkrecError(
            f"{where}: training windows of {found['users']:,} users (such as {found['one']}) reach what is held out of"
            " them; figures would be too good: run 'make window' and 'make train' again"
        )

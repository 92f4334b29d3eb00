"""Figures are only told of models that cannot have seen what they must find."""

from collections.abc import Mapping
from pathlib import Path

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from sparkrec.errors import RefusedError
from sparkrec.models.store import read_card


def check_models(models: Mapping[str, Path], held_out: str) -> None:
    """Refuse a model that was trained on windows which held out something else."""
    for version, folder in models.items():
        there = read_card(folder).held_out
        if there != held_out:
            raise RefusedError(
                f"model {version}: its training held out '{there}', these windows hold out '{held_out}': it may have"
                " seen what it must find; train it again, or set window.held_out as it was"
            )


def check_windows(windows: DataFrame, where: str) -> None:
    """Refuse windows of a date where a user's training windows reach what is held out of the same user."""
    length = F.size("target_idxs")
    # Places are counted from the user's first event kept. The first to be found comes right after the input where it is
    # no step of it; the last event of a training window does too.
    step = F.array_position(F.transform("target_idxs", lambda target: (target > 0).cast("int")), 1)
    place = F.col("user_num_events") - length + F.when(step > 0, step).otherwise(length)
    learnt, held_out = windows.where("split = 'train'"), windows.where("split != 'train'")
    none = F.lit(None).cast("bigint")
    places = learnt.select("user_id", F.col("user_num_events").cast("bigint").alias("learnt"), none.alias("held_out"))
    places = places.unionByName(held_out.select("user_id", none.alias("learnt"), place.alias("held_out")))
    by_user = places.groupBy("user_id").agg(F.max("learnt").alias("learnt"), F.min("held_out").alias("held_out"))
    leaking = by_user.where(F.col("learnt") >= F.col("held_out"))
    found = leaking.agg(F.count("*").alias("users"), F.min("user_id").alias("one")).first()
    if found and found["users"]:
        raise RefusedError(
            f"{where}: training windows of {found['users']:,} users (such as {found['one']}) reach what is held out of"
            " them; figures would be too good: run 'make window' and 'make train' again"
        )

"""What the input of a night looks like as a whole, and how far that is from the nights before. Recommend's publish
check and the report take it from here.

A class is a share of events, sessions or pasts; those of one group sum to 1.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import date

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from sparkrec.sequences import flatten
from sparkrec.tables import EVENT_CODES

LENGTHS = (1, 2, 4, 8, 16, 32, 64, 128)
"""Lower ends of the classes of histories by length."""
SMOOTHING = 1e-4
"""A class that is empty on one of two nights counts as this share; else one event of a new kind would be infinite."""


DAYS = 3
GROUPS = {
    "kind_": ("of kinds of events in pasts", 1),
    "length_": ("of lengths of pasts", 1),
    "day_kind_": ("of the day's kinds of events", DAYS),
    "day_session_": ("of the day's lengths of sessions", DAYS),
}
"""Groups of classes by how their names begin: in words, and how many nights before they are compared with at least."""


def shape_of(people: pa.Table) -> dict[str, int]:
    """Return how many events are of every kind, and how many pasts of every class of length: {'kind_view': 12, …}."""
    kinds, starts, ends = flatten(people.column("event_types").combine_chunks())
    per_kind = np.bincount(kinds, minlength=len(EVENT_CODES) + 1)
    classes = np.searchsorted(LENGTHS, ends - starts, side="right")
    per_length = np.bincount(classes, minlength=len(LENGTHS) + 1)
    return {
        **{f"kind_{kind}": int(per_kind[code]) for kind, code in EVENT_CODES.items()},
        **{f"length_{least}": int(num) for least, num in zip((0, *LENGTHS), per_length, strict=True)},
    }


def shares(shapes: Iterable[Mapping[str, int]]) -> dict[str, float]:
    """Return the sum of the groups' shapes as shares: those of kinds sum to 1, those of lengths likewise."""
    total: dict[str, int] = {}
    for shape in shapes:
        for name, num in shape.items():
            total[name] = total.get(name, 0) + num
    of_all = {word: max(1, sum(num for name, num in total.items() if name.startswith(word))) for word in GROUPS}
    return {name: num / of_all[name[: name.rindex("_") + 1]] for name, num in total.items()}


def shape_of_day(events: DataFrame, histories: DataFrame, items: DataFrame, run_date: date) -> dict[str, float]:
    """Return what the date's events are like: shares of kinds and of lengths of sessions, and of new users and items.

    In   events: of all days and runs. histories: user_id, first_event_ts. items: item_id, first_seen.
    """
    # What later runs brought in of the day, nobody knew then.
    of_day = events.where((F.col("event_date") == F.lit(run_date)) & (F.col("run_date") <= F.lit(run_date)))
    kinds = of_day.groupBy("event_type").count().collect()  # a row per kind
    per_session = of_day.groupBy("session_id").agg(F.count("*").alias("num"))
    least = F.greatest(*(F.when(F.col("num") >= length, length) for length in LENGTHS))
    sessions = per_session.groupBy(least.alias("least")).count().collect()  # a row per class
    users = of_day.groupBy("user_id").agg(F.min("event_ts").alias("first_ts"))
    with_past = users.join(histories.select("user_id", "first_event_ts"), "user_id", how="inner")  # one row per user_id
    users_told = with_past.agg(F.count("*"), F.count_if(F.col("first_event_ts") >= F.col("first_ts"))).first()
    touched = of_day.select("item_id").distinct().join(items.select("item_id", "first_seen"), "item_id", how="inner")
    items_told = touched.agg(F.count("*"), F.count_if(F.col("first_seen") == F.lit(run_date))).first()
    counts = {f"day_kind_{row['event_type']}": row["count"] for row in kinds}
    counts |= {f"day_session_{row['least']}": row["count"] for row in sessions}
    found = shares([counts])
    for name, told in (("new_users", users_told), ("new_items", items_told)):
        if told and told[0]:
            found[name] = told[1] / told[0]
    return found


def figures_by_night(runs: DataFrame, last_date: date, num_nights: int) -> list[tuple[date, Mapping[str, float]]]:
    """Return the figures of recommend's newest run of every date until `last_date`, newest first.

    In   runs: rows of RUNS that count.
    """
    of_job = (F.col("job") == "recommend") & (F.col("run_date") <= F.lit(last_date))
    newest = runs.where(of_job).groupBy("run_date").agg(F.max_by("figures", "ended_at").alias("figures"))
    nights = newest.orderBy(F.desc("run_date")).limit(num_nights).collect()  # a row per night
    return [(night["run_date"], night["figures"] or {}) for night in nights]


def drift(now: Mapping[str, float], before: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the population stability index of every group against the mean of the nights before, by the group's name.

    The index is the sum of (share - share before) x ln(share / share before) over the classes (Siddiqi, Credit Risk
    Scorecards, 2006); below 0.1 is usually called stable, above 0.25 a shift. What a day is like is compared where
    there are DAYS nights before, for no two days are alike.
    """
    found = {}
    for word, (group, least) in GROUPS.items():
        nights = [night for night in before if any(name.startswith(word) for name in night)]
        names = {name for night in (now, *nights) for name in night if name.startswith(word)}
        if len(nights) >= least and any(name in now for name in names):
            pairs = [
                (now.get(name, 0.0), sum(night.get(name, 0.0) for night in nights) / len(nights)) for name in names
            ]
            floored = [(max(share, SMOOTHING), max(earlier, SMOOTHING)) for share, earlier in pairs]
            found[f"drift {group}"] = sum(
                (share - earlier) * math.log(share / earlier) for share, earlier in sorted(floored)
            )
    return found

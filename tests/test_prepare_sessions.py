"""Sessions come from content: silence ends them, nobody else changes them."""

import random
from datetime import UTC, datetime, timedelta

from pyspark.sql import DataFrame, SparkSession

from sparkrec.prepare.sessions import sessionize

START = datetime(2024, 3, 1, tzinfo=UTC)
SCHEMA = "user_id string, item_id string, event_type string, event_ts timestamp, session_id string"


def events(spark: SparkSession, *rows: tuple[str, float], given: str | None = None) -> DataFrame:
    """Rows of (user, minute); items are named e0, e1, … in the order given."""
    full = [(user, f"e{n}", "view", START + timedelta(minutes=minute), given) for n, (user, minute) in enumerate(rows)]
    return spark.createDataFrame(full, SCHEMA)


def sessions_of(frame: DataFrame) -> dict[str, str]:
    return {row["item_id"]: row["session_id"] for row in frame.collect()}


def test_silence_longer_than_the_gap_starts_a_session(spark: SparkSession) -> None:
    got = sessions_of(sessionize(events(spark, ("ann", 0), ("ann", 30), ("ann", 60.01)), gap_minutes=30))
    assert got["e0"] == got["e1"] != got["e2"]
    assert got["e0"] == "ann@1709251200"


def test_ids_do_not_depend_on_other_users(spark: SparkSession) -> None:
    alone = sessions_of(sessionize(events(spark, ("ann", 0), ("ann", 90)), gap_minutes=30))
    crowd = sessions_of(sessionize(events(spark, ("ann", 0), ("ann", 90), ("zed", 5)), gap_minutes=30))
    assert alone.items() <= crowd.items()


def test_a_session_that_began_before_the_frame_goes_on(spark: SparkSession) -> None:
    got = sessions_of(sessionize(events(spark, ("ann", 0), ("ann", 90), given="ann@7"), gap_minutes=30))
    assert got == {"e0": "ann@7", "e1": f"ann@{1709251200 + 90 * 60}"}


def test_spark_agrees_with_the_plain_rule(spark: SparkSession) -> None:
    rng = random.Random(7)
    rows = [(f"u{rng.randrange(200)}", rng.randrange(600)) for _ in range(4000)]
    assert sessions_of(sessionize(events(spark, *rows), 30)) == by_hand(rows, 30)


def by_hand(rows: list[tuple[str, int]], gap_minutes: int) -> dict[str, str]:
    found = {}
    for user in {user for user, _ in rows}:
        mine = sorted((minute, f"e{n}") for n, (who, minute) in enumerate(rows) if who == user)
        start = previous = mine[0][0]
        for minute, event in mine:
            if minute - previous > gap_minutes:
                start = minute
            found[event] = f"{user}@{1709251200 + start * 60}"
            previous = minute
    return found

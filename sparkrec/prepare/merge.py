"""Bring a run's rows together with the events already in the lake: each event once, whoever delivered it."""

from datetime import date

from pyspark.sql import DataFrame
from pyspark.sql import Window as W
from pyspark.sql import functions as F

KEPT = "kept"
"""Verdict of an event that an earlier or later run brought in and that stays."""
KNOWN = "known"
"""Verdict of a row whose event is in the lake already: neither new nor wrong, as when one file serves every night."""

KEY = ("user_id", "event_ts", "item_id", "event_type")
CONTENT = ("price", "category", "brand", "query")


def merge(standing: DataFrame, kept: DataFrame, oldest: date | None) -> DataFrame:
    """Decide about every row that stands.

    In   standing: judged rows without a verdict. kept: events of other runs, whose keys are unique.
         oldest: first day that may still come in, None on a first run.
    Out  the rows of both, with verdict: null for a new event, KEPT, KNOWN, `duplicate` or `too late`. Of two rows with
         the same key the one whose content sorts first is the event, so the order of arrival decides nothing.
    """
    columns = [*KEY, *CONTENT, "event_date", "session_id", "run_date", "raw", "source_file", "is_kept"]
    nothing = F.lit(None).cast("string")
    ours = standing.withColumns(
        {"session_id": nothing, "run_date": F.lit(None).cast("date"), "is_kept": F.lit(False)}
    ).select(columns)
    theirs = kept.withColumns({"raw": nothing, "source_file": nothing, "is_kept": F.lit(True)}).select(columns)

    by_key = W.partitionBy(*KEY).orderBy(F.desc("is_kept"), *CONTENT, "raw", "source_file")
    position = F.row_number().over(by_key)
    is_in_lake = F.first("is_kept").over(by_key.rowsBetween(W.unboundedPreceding, W.currentRow))
    verdict = (
        F.when(F.col("is_kept"), KEPT)
        .when(F.col("is_in_lake") & (F.col("position") == 2), KNOWN)
        .when(F.col("position") > 1, "duplicate")
    )
    if oldest:
        verdict = verdict.when(F.col("event_date") < F.lit(oldest), "too late")
    return (
        # One shuffle by user serves here and in the sessions that follow.
        ours.unionByName(theirs)
        .repartition("user_id")
        .withColumns({"position": position, "is_in_lake": is_in_lake})
        .withColumn("verdict", verdict)
        .drop("position", "is_in_lake", "is_kept")
    )

"""The raw rows of a night: read, judged, and handed to the splits through one shuffle."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import reduce
from pathlib import Path
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException, PythonException
from pyspark.sql import Column, DataFrame, Observation, SparkSession
from pyspark.sql import functions as F

from sparkrec.errors import RefusedError
from sparkrec.prepare.clean import LATER, judge
from sparkrec.prepare.inputs import PACKED_BYTES, Input
from sparkrec.prepare.plan import OWN, NightPlan
from sparkrec.prepare.read import read_clicks
from sparkrec.prepare.split import JUDGED, take_in_split
from sparkrec.spark_errors import cause_of
from sparkrec.tasks import REPORT, reports, sql_settings

ARROW_ROWS = "65536"
SCAN_BYTES = "32m"
"""Raw bytes that a task reads: small, for cores that end together."""
DISK_FULL = "the disk of the lake or of Spark's scratch folder is full, free some or move it (--lake, spark.local.dir)"


def open_clicks(spark: SparkSession, place: Input) -> tuple[list[DataFrame], int]:
    """Return the raw rows of every piece of the input, and about how many they are."""
    with refusing(place.path):
        clicks = [read_clicks(spark, piece) for piece in place.pieces]
        about_rows = place.about_rows
        return clicks, sum(map(_guess_rows, clicks)) if about_rows is None else about_rows


def run_splits(
    plan: NightPlan, place: Input, clicks: Sequence[DataFrame], own_rows: DataFrame | None, asked_at: datetime
) -> tuple[list[dict[str, Any]], int, int]:
    """Run the scan and the splits; return their reports, the raw rows read, and how many of those are of later days."""
    with refusing(place.path):
        _keep_sources(plan, clicks)
        pieces = zip(clicks, place.pieces, strict=True)
        judged = [judge(rows, piece.source, plan.run_date, asked_at) for rows, piece in pieces]
        return _run(plan, reduce(DataFrame.unionByName, judged), own_rows)


@contextmanager
def refusing(where: str) -> Iterator[None]:
    """Turn what Spark says of an input that it cannot read into a refusal."""
    try:
        yield
    except (PySparkException, Py4JJavaError) as error:
        if "No space left" in str(error):
            raise RefusedError(f"{DISK_FULL}: {cause_of(error)}; no table was changed") from error
        if isinstance(error, PythonException):
            raise  # our own tasks, not the input: the whole trace is wanted
        raise RefusedError(f"{where}: {cause_of(error)}; no table was changed") from error


def _guess_rows(clicks: DataFrame) -> int:
    """Guess the rows of files that only Spark can see, from their bytes."""
    return int(clicks._jdf.queryExecution().optimizedPlan().stats().sizeInBytes()) // PACKED_BYTES


def _keep_sources(plan: NightPlan, pieces: Sequence[DataFrame]) -> None:
    """Write the input files' paths by their hash: the hash is what travels with 20 million rows."""
    # Spark writes the same path with one slash here and with three there.
    paths = [path.replace("file:///", "file:/") for clicks in pieces for path in clicks.inputFiles()]
    named = pieces[0].sparkSession.range(1).select(F.explode(F.lit(paths)).alias("source_file"))
    keys = named.select(F.xxhash64("source_file").alias("key"), "source_file").collect()
    Path(plan.sources).write_text(json.dumps({str(row["key"]): row["source_file"] for row in keys}))


def _run(plan: NightPlan, judged: DataFrame, own_rows: DataFrame | None) -> tuple[list[dict[str, Any]], int, int]:
    seen = Observation("rows")
    is_later = F.col("verdict") == LATER
    counted = judged.observe(seen, F.count(F.lit(1)).alias("rows_in"), F.count_if(is_later).alias("later"))
    to_take = counted.where(F.col("verdict").isNull() | ~is_later)
    rows = to_take.withColumn("source", F.xxhash64("source_file")).select(*JUDGED)
    if own_rows is not None:
        rows = rows.unionByName(own_rows.select(_own_columns()))
    split = F.pmod("user_key", F.lit(plan.num_splits)).cast("int")
    found = rows.repartitionById(plan.num_splits, split).mapInArrow(take_in_split(plan), REPORT)
    with sql_settings(
        judged.sparkSession,
        spark__sql__execution__arrow__maxRecordsPerBatch=ARROW_ROWS,
        spark__sql__files__maxPartitionBytes=SCAN_BYTES,
    ):
        told = reports(found)
    return told, int(seen.get["rows_in"]), int(seen.get["later"])


def _own_columns() -> list[Column]:
    known = {
        "user_id": F.col("user_id"),
        "event_us": F.unix_micros("event_ts"),
        "verdict": F.lit(OWN),
        "user_key": F.xxhash64("user_id"),
    }
    return [known.get(name, F.lit(None)).cast(kind).alias(name) for name, kind in JUDGED.items()]

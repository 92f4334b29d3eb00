"""The Spark session of a job."""

import os
import sys
from pathlib import Path

from pyspark import SparkConf, SparkContext
from pyspark.sql import SparkSession

from sparkrec.config.settings import SparkSettings

ALWAYS = {
    "spark.sql.session.timeZone": "UTC",
    # A pruned csv reader does not notice that a line is cut short.
    "spark.sql.csv.parser.columnPruning.enabled": "false",
    "spark.sql.execution.arrow.maxRecordsPerBatch": "4096",
    # With any other limit Spark measures the whole batch again after every row: a quarter of the hand-over to Python.
    "spark.sql.execution.arrow.maxBytesPerBatch": str(2**31 - 1),
    # Times in nanoseconds, which pandas and Arrow write, are handed over as numbers instead of refused.
    "spark.sql.legacy.parquet.nanosAsLong": "true",
    # One kind of timestamp in all files of a table, whoever wrote them.
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    # A task is one core; Polars would start a thread for every core in each of them.
    "spark.executorEnv.POLARS_MAX_THREADS": "1",
}


def start_session(settings: SparkSettings) -> SparkSession:
    """Return the job's session; under spark-submit the master and memory are those it was given."""
    # Workers would otherwise take whatever python3 is first on the PATH.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    SparkContext._ensure_initialized()
    properties = {**ALWAYS, **settings.properties}
    if is_local(SparkConf().get("spark.master", "local[*]")):
        # Hosts whose name resolves to loopback otherwise bind to an address that nobody answers on.
        properties = {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1", **properties}
    # The bar is for people; a log file would fill with its carriage returns.
    properties.setdefault("spark.ui.showConsoleProgress", str(on_terminal()).lower())
    builder = SparkSession.builder.appName(settings.app_name)
    return builder.config(map=dict(properties)).getOrCreate()


def on_terminal() -> bool:
    """Whether a person watches. Under spark-submit Python's own streams are pipes; Java's are those of the shell."""
    if sys.stderr.isatty():
        return True
    try:
        return str(Path(f"/proc/{os.getppid()}/fd/2").readlink()).startswith(("/dev/pts/", "/dev/tty"))
    except OSError:
        return False


def is_local(master: str | None) -> bool:
    """Whether driver and executors are one process."""
    return (master or "").startswith("local")

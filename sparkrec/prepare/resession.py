"""Cut sessions of given events anew, in Spark: what they were before later runs delivered late events."""

from collections.abc import Callable, Iterator

import polars as pl
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from sparkrec.config.settings import PrepareSettings
from sparkrec.prepare.plan import kinds
from sparkrec.prepare.sessions import sessionize
from sparkrec.prepare.split import in_user_order

NOTHING_CARRIED = {"user_id": pl.String, "carried_us": pl.Int64, "carried_session": pl.String}


def resession(events: DataFrame, num_events: int, settings: PrepareSettings) -> DataFrame:
    """Return the same events with `session_id` as these events alone give it. A row is one event.

    In   num_events: how many there are, about.
    """
    splits = 1 + num_events // settings.split_rows
    keyed = events.withColumn("user_key", F.xxhash64("user_id"))
    together = keyed.repartitionById(splits, F.pmod("user_key", F.lit(splits)).cast("int"))
    return together.mapInArrow(_cut(settings), keyed.schema).select(events.columns)


def _cut(settings: PrepareSettings) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def cut(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        taken = list(batches)
        if not taken:
            return
        schema = taken[0].schema
        rows = pl.DataFrame(pl.from_arrow(pa.Table.from_batches(taken))).with_columns(
            kinds(pl.col("event_type")).alias("kind"),
            pl.col("event_ts").cast(pl.Datetime("us")).cast(pl.Int64).alias("event_us"),
        )
        nothing = pl.DataFrame(schema=NOTHING_CARRIED)
        cut = sessionize(in_user_order(rows), nothing, settings.gap_minutes, settings.max_session_minutes)
        yield from cut.select(schema.names).to_arrow().cast(schema).to_batches()

    return cut

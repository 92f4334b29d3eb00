"""Cut users' events into sessions."""

from pyspark.sql import DataFrame
from pyspark.sql import Window as W
from pyspark.sql import functions as F


def sessionize(events: DataFrame, gap_minutes: int) -> DataFrame:
    """Fill in `session_id`: a user's events, split wherever they fall silent for longer than the gap.

    In   events: user_id, item_id, event_type, event_ts, session_id. A row is one event. A session_id that is given
         for a user's first event says that this event continues a session which began before the frame does.
    Out  the same rows, session_id = "<user_id>@<first second of the session>".

    The id comes from the session itself, never from a counter, so a late event or another user renumbers nobody.
    """
    in_order = W.partitionBy("user_id").orderBy("event_ts", "item_id", "event_type")
    up_to_here = in_order.rowsBetween(W.unboundedPreceding, W.currentRow)

    microsecond = F.unix_micros("event_ts")
    silence = microsecond - F.lag(microsecond).over(in_order)
    is_first_of_user = silence.isNull()
    own_id = F.concat_ws("@", F.col("user_id"), F.unix_seconds("event_ts").cast("string"))
    opens = F.when(is_first_of_user, F.coalesce(F.col("session_id"), own_id)).when(
        silence > gap_minutes * 60_000_000, own_id
    )
    return (
        events.withColumn("opened", opens)
        .withColumn("session_id", F.last("opened", ignorenulls=True).over(up_to_here))
        .drop("opened")
    )

"""Who gets a list tonight, and what each list follows from."""

from collections.abc import Mapping

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from sparkrec.recommend.left_out import PURCHASE
from sparkrec.tables import EVENT_CODES, HISTORIES

PAST = ["item_idxs", "event_types", "event_tss", "session_nos", "prices", "purchased"]
PEOPLE = ["user_id", "user_hash", *PAST, "num_events", "segment", "made_from", "carried"]
"""A row is one user: the past (empty lists and no num_events for users never seen), the segment that rules speak of,
`made_from` and the list to carry over, null where one must be made."""
UNKNOWN_PRICE = -1.0
CARRIED = (
    "array<struct<rank: int, item_id: string, score: double, because_item_id: string, purchase_probability: double>>"
)


def people_of(
    histories: DataFrame,
    audience: DataFrame | None,
    last_lists: DataFrame | None,
    night: str,
    cuts: Mapping[str, int | None],
    is_rebuilt: bool,
) -> DataFrame:
    """Return PEOPLE: the audience, or everybody in `histories` where none is named.

    In   audience: columns of AUDIENCE. last_lists: rows of an earlier night that may be carried over. night: hash of
         all that decides lists but for the user's own past. cuts: see `left_out.cutoffs`. is_rebuilt: whether the
         histories were built for this night.

    Rows come in the same order each time, so that a run which goes on where another was killed finds the same groups.
    """
    pasts = histories.select("user_id", *PAST, "num_events")
    if audience is None:
        people = pasts.withColumn("segment", F.lit(None).cast("string"))
    else:
        # A user named twice is one user.
        named = audience.groupBy("user_id").agg(F.min("segment").alias("segment"))
        people = named.join(pasts, "user_id", how="left")  # one row per user_id on both sides
    kinds = {name: HISTORIES.schema[name].dataType for name in PAST}
    full = people.select(
        "user_id",
        F.xxhash64("user_id").alias("user_hash"),
        *(F.coalesce(F.col(name), _nothing(name).cast(kind)).alias(name) for name, kind in kinds.items()),
        "num_events",
        "segment",
    )
    told = full.withColumn("made_from", made_from(night, cuts))
    if last_lists is None:
        carried = told.withColumn("carried", F.lit(None).cast(CARRIED))
    else:
        carried = told.join(_carried(last_lists), ["user_id", "made_from"], how="left")  # one row per user_id
    # Those that are only read have an order already; a shuffle leaves none.
    is_shuffled = is_rebuilt or audience is not None or last_lists is not None
    return (carried.sortWithinPartitions("user_id") if is_shuffled else carried).select(PEOPLE)


def _nothing(name: str) -> Column:
    """Return what stands for a list that is null: nobody's past is empty, unknown prices are one per event."""
    nothing = F.array()
    if name != "prices":
        return nothing
    return F.coalesce(F.transform("item_idxs", lambda _: F.lit(None).cast("float")), nothing)


def made_from(night: str, cuts: Mapping[str, int | None]) -> Column:
    """Return a hash of a list's past, segment and night, and of how much of the past still counts as left out."""
    counting = [_count_since(EVENT_CODES[kind], cut) for kind, cut in sorted(cuts.items()) if cut is not None]
    if cuts.get(PURCHASE) is not None:
        # Purchases without a time count as long as the kept events do not reach back to the cut, see `left_out`.
        is_cut_off = F.col("num_events") > F.size("event_tss")
        counting.append(is_cut_off & (F.try_element_at("event_tss", F.lit(1)) > F.lit(cuts[PURCHASE])))
    # A hash passes over nulls, in lists too.
    prices = F.transform("prices", lambda price: F.coalesce(price, F.lit(UNKNOWN_PRICE)))
    past = [prices if name == "prices" else F.col(name) for name in PAST]
    no_segment = F.coalesce("segment", F.lit("\0"))
    return F.xxhash64(F.lit(night), F.col("user_id"), *past, F.col("num_events"), no_segment, *counting)


def _count_since(code: int, since: int) -> Column:
    def counts(event: Column) -> Column:
        return (event["event_types"] == code) & (event["event_tss"] >= since)

    return F.size(F.filter(F.arrays_zip("event_types", "event_tss"), counts))


def _carried(last_lists: DataFrame) -> DataFrame:
    """Return user_id, made_from, carried: whole lists by the model alone, for only those have a `made_from`."""
    chance = F.col("purchase_probability") if "purchase_probability" in last_lists.columns else F.lit(None)
    entry = F.struct("rank", "item_id", "score", "because_item_id", chance.cast("double").alias("purchase_probability"))
    whole = last_lists.where(F.col("made_from").isNotNull())
    return whole.groupBy("user_id", "made_from").agg(F.array_sort(F.collect_list(entry)).alias("carried"))


def audience_size(histories: DataFrame, audience: DataFrame | None) -> int:
    """Return how many users must get a list."""
    return histories.count() if audience is None else audience.select("user_id").distinct().count()

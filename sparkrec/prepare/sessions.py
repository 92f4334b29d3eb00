"""Cut users' events into sessions."""

import numpy as np
import numpy.typing as npt
import polars as pl

MICROS_PER_MINUTE = 60_000_000


def sessionize(events: pl.DataFrame, carried: pl.DataFrame, gap_minutes: int, max_minutes: int) -> pl.DataFrame:
    """Add `session_id` and `opens`: users' events, split where they fall silent or go on for too long.

    In   events: user_id, user_key, event_us, ..., sorted by USER_ORDER, each user's rows together.
         carried: user_id, carried_us, carried_session: the last event before these, and its session.
    Out  the same rows in the same order; session_id = "<user_id>@<first second of the session>", opens = first of it.

    A session ends with silence longer than the gap, or where an event lies `max_minutes` or more after its first one.
    The id comes from the session itself, never from a counter, so a late event or another user renumbers nobody.
    """
    if not len(events):
        return events.with_columns(pl.lit("").alias("session_id"), pl.lit(False).alias("opens"))
    with_carried = events.select("user_id", "user_key", "event_us").join(
        carried.select("user_id", "carried_us", "carried_session"), on="user_id", how="left", maintain_order="left"
    )  # one row per user_id in carried
    is_first = with_carried.select(
        (pl.col("user_key") != pl.col("user_key").shift()).fill_null(True).alias("is_first")
    ).to_series()
    event_us = with_carried["event_us"].to_numpy()
    first = is_first.to_numpy()
    before = np.where(first, with_carried["carried_us"].fill_null(-(2**62)).to_numpy(), np.roll(event_us, 1))
    opens = event_us - before > gap_minutes * MICROS_PER_MINUTE
    # What continues from before these rows has the start that its session's name tells.
    start = np.where(opens, event_us // 1_000_000, 0)
    continues = first & ~opens
    if continues.any():
        told = with_carried["carried_session"].str.split("@").list.last().cast(pl.Int64, strict=False).fill_null(0)
        start = np.where(continues, told.to_numpy(), start)
    opens = _cut_long(event_us, opens, first, start, max_minutes * MICROS_PER_MINUTE)
    start = np.where(opens, event_us // 1_000_000, start)
    heads = np.flatnonzero(opens | first)
    names = with_carried[heads].select(session_id=pl.col("user_id") + "@" + pl.Series(start[heads]).cast(pl.String))[
        "session_id"
    ]
    session = names.gather(np.cumsum(opens | first) - 1)
    return events.with_columns(session.alias("session_id"), pl.Series("opens", opens))


def _cut_long(
    event_us: npt.NDArray[np.int64],
    opens: npt.NDArray[np.bool_],
    first: npt.NDArray[np.bool_],
    start: npt.NDArray[np.int64],
    longest_us: int,
) -> npt.NDArray[np.bool_]:
    """Open a session again wherever one has lasted `longest_us`; few do, so a plain loop over those is enough."""
    heads = np.flatnonzero(opens | first)
    ends = np.append(heads[1:], len(event_us))
    # Starts are taken to the second, which is all that a carried one tells: the same ids whatever came in when.
    started_us = start[heads] * 1_000_000
    cut = opens.copy()
    for place in np.flatnonzero(event_us[ends - 1] - started_us >= longest_us):
        began = int(started_us[place])
        for row in range(int(heads[place]), int(ends[place])):
            if event_us[row] - began >= longest_us:
                cut[row] = True
                began = int(event_us[row]) - int(event_us[row]) % 1_000_000
    return cut

"""Bots by the day, bursts by the minute, ids that too many share; and rows in their order."""

from datetime import date

import polars as pl

from sparkrec.prepare.busy import AFTERWARDS, OVER, refuse_busy, refuse_over_cap
from sparkrec.prepare.plan import ROWS
from sparkrec.prepare.split import in_user_order, is_repeated

NOBODY = pl.DataFrame(schema={"user_id": pl.String, "event_date": pl.Date, "refusal": pl.String})
SECOND = 1_000_000


def rows(*told: tuple[str, int, float]) -> pl.DataFrame:
    """Rows of (user, day of March, second of the day)."""
    return pl.DataFrame(
        {
            "user_id": [user for user, *_ in told],
            "event_date": [date(2024, 3, day) for _, day, _ in told],
            "event_us": [(day * 86_400 + int(second)) * SECOND for _, day, second in told],
        }
    )


def refusals(frame: pl.DataFrame) -> dict[tuple[str, int], set[str | None]]:
    found: dict[tuple[str, int], set[str | None]] = {}
    for user, day, refusal in frame.select("user_id", "event_date", "refusal").iter_rows():
        found.setdefault((user, day.day), set()).add(refusal)
    return found


def test_a_user_busier_than_people_is_a_bot_on_that_day_only() -> None:
    told = [("bot", 2, 100 * n) for n in range(4)] + [("bot", 3, 100 * n) for n in range(3)] + [("ann", 2, 0)]
    marked = refuse_busy(rows(*told), NOBODY, max_day_events=3, max_minute_events=9)
    assert refusals(marked) == {("bot", 2): {"bot"}, ("bot", 3): {None}, ("ann", 2): {None}}


def test_a_burst_within_a_minute_costs_the_day() -> None:
    told = [("fast", 2, n) for n in range(4)] + [("fast", 2, 5000)] + [("slow", 2, 20 * n) for n in range(5)]
    marked = refuse_busy(rows(*told), NOBODY, max_day_events=99, max_minute_events=3)
    assert refusals(marked) == {("fast", 2): {"burst"}, ("slow", 2): {None}}


def test_a_day_that_was_a_bots_stays_one() -> None:
    before = pl.DataFrame({"user_id": ["bot"], "event_date": [date(2024, 3, 2)], "refusal": [AFTERWARDS]})
    marked = refuse_busy(rows(("bot", 2, 0), ("bot", 3, 0)), before, max_day_events=3, max_minute_events=3)
    assert refusals(marked) == {("bot", 2): {AFTERWARDS}, ("bot", 3): {None}}


def test_a_rule_that_is_broken_now_is_told_before_one_that_was_broken_then() -> None:
    before = pl.DataFrame({"user_id": ["fast"], "event_date": [date(2024, 3, 2)], "refusal": [AFTERWARDS]})
    told = rows(*(("fast", 2, n) for n in range(4)))
    assert refusals(refuse_busy(told, before, 99, 3)) == {("fast", 2): {"burst"}}
    assert refusals(refuse_busy(told, before, 3, 3)) == {("fast", 2): {"bot"}}
    own = before.with_columns(pl.lit("burst").alias("refusal"))
    assert refusals(refuse_busy(told[:1], own, 99, 3)) == {("fast", 2): {"burst"}}


def test_events_over_the_cap_are_the_last_in_time() -> None:
    told = rows(*(("all", 2, n) for n in range(5)), ("ann", 2, 0)).with_columns(
        pl.lit(None, dtype=pl.String).alias("refusal")
    )
    before = pl.DataFrame({"user_id": ["all"], "num_before": [3]})
    marked = refuse_over_cap(told, before, max_user_events=5)
    assert marked["refusal"].to_list() == [None, None, OVER, OVER, OVER, None]


def full(*told: tuple[str, int, int, str | None, int, float]) -> pl.DataFrame:
    """Rows of (user, key, microsecond, item, kind, price)."""
    names = ("user_id", "user_key", "event_us", "item_id", "kind", "price")
    frame = pl.DataFrame(told, schema={name: ROWS[name] for name in names}, orient="row")
    others = [pl.lit(None, dtype=kind).alias(name) for name, kind in ROWS.items() if name not in names]
    return frame.with_columns(others).select(list(ROWS))


def test_rows_of_one_moment_come_by_item_kind_and_content() -> None:
    told = full(
        ("a", 1, 5, "y", 0, 1.0),
        ("a", 1, 5, None, 4, None),
        ("a", 1, 5, "x", 5, 2.0),
        ("a", 1, 5, "x", 5, 1.0),
        ("a", 1, 5, "x", 0, 9.0),
        ("a", 1, 4, "z", 0, 1.0),
    )
    in_order = in_user_order(told)
    assert in_order.select("item_id", "kind", "price").rows() == [
        ("z", 0, 1.0), (None, 4, None), ("x", 0, 9.0), ("x", 5, 1.0), ("x", 5, 2.0), ("y", 0, 1.0)
    ]  # fmt: skip
    assert is_repeated(in_order).to_list() == [False, False, False, False, True, False]


def test_users_whose_hashes_collide_are_told_apart() -> None:
    told = full(("a", 7, 1, "x", 0, 1.0), ("b", 7, 2, "x", 0, 1.0), ("a", 7, 3, "x", 0, 1.0), ("b", 7, 1, "x", 0, 1.0))
    in_order = in_user_order(told)
    assert in_order["user_id"].to_list() == ["a", "a", "b", "b"]
    assert not is_repeated(in_order).any()
    assert in_order["user_key"].n_unique() == 2

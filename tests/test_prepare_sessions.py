"""Sessions come from content: silence ends them, length ends them, nobody else changes them."""

import random

import polars as pl

from sparkrec.prepare.sessions import sessionize

START = 1_709_251_200  # seconds since 1970 of 2024-03-01
NOBODY = {"user_id": pl.String, "carried_us": pl.Int64, "carried_session": pl.String}


def events(*rows: tuple[str, float]) -> pl.DataFrame:
    """Rows of (user, minute); items are named e0, e1, … in the order given."""
    frame = pl.DataFrame(
        {
            "user_id": [user for user, _ in rows],
            "event_us": [START * 1_000_000 + int(minute * 60_000_000) for _, minute in rows],
            "item_id": [f"e{n}" for n in range(len(rows))],
        },
        schema={"user_id": pl.String, "event_us": pl.Int64, "item_id": pl.String},
    )
    # Any number per user will do, in any order.
    return frame.with_columns((pl.col("user_id").rank("dense").cast(pl.Int64) * -7).alias("user_key")).sort(
        "user_key", "event_us"
    )


def carried(*rows: tuple[str, float, str]) -> pl.DataFrame:
    full = [(user, START * 1_000_000 + int(minute * 60_000_000), session) for user, minute, session in rows]
    return pl.DataFrame(full, schema=NOBODY, orient="row")


def sessions_of(
    rows: pl.DataFrame, before: pl.DataFrame | None = None, gap: int = 30, longest: int = 720
) -> dict[str, str]:
    cut = sessionize(rows, carried() if before is None else before, gap, longest)
    return dict(cut.select("item_id", "session_id").iter_rows())


def test_silence_longer_than_the_gap_starts_a_session() -> None:
    got = sessions_of(events(("ann", 0), ("ann", 30), ("ann", 60.01)))
    assert got["e0"] == got["e1"] != got["e2"]
    assert got["e0"] == f"ann@{START}"


def test_ids_do_not_depend_on_other_users() -> None:
    alone = sessions_of(events(("ann", 0), ("ann", 90)))
    crowd = sessions_of(events(("ann", 0), ("ann", 90), ("zed", 5), ("abe", 7)))
    assert alone.items() <= crowd.items()


def test_a_session_that_began_before_goes_on() -> None:
    rows = events(("ann", 0), ("ann", 90), ("bob", 0))
    got = sessions_of(rows, carried(("ann", -20, "ann@7"), ("bob", -31, "bob@7")), longest=10**9)
    assert got == {"e0": "ann@7", "e1": f"ann@{START + 90 * 60}", "e2": f"bob@{START}"}


def test_a_user_id_may_hold_the_sign_that_ids_are_made_with() -> None:
    got = sessions_of(events(("a@b.c", 0)), carried(("a@b.c", -20, f"a@b.c@{START - 1200}")))
    assert got == {"e0": f"a@b.c@{START - 1200}"}


def test_the_first_row_says_whether_it_opens_a_session() -> None:
    rows = events(("ann", 0), ("ann", 10))
    assert sessionize(rows, carried(), 30, 720)["opens"].to_list() == [True, False]
    assert sessionize(rows, carried(("ann", -5, "ann@1709250900")), 30, 720)["opens"].to_list() == [False, False]


def test_a_session_that_lasts_too_long_continues_as_a_new_one() -> None:
    got = sessions_of(events(*(("ann", 20.0 * n) for n in range(8))), longest=60)
    assert len(set(got.values())) == 3
    assert got["e0"] == got["e2"] != got["e3"] == got["e5"] != got["e6"]


def test_length_counts_from_a_start_that_was_carried() -> None:
    before = carried(("ann", -20, f"ann@{START - 50 * 60}"))
    got = sessions_of(events(("ann", 0), ("ann", 9), ("ann", 10)), before, longest=60)
    assert got["e0"] == got["e1"] == f"ann@{START - 50 * 60}"
    assert got["e2"] == f"ann@{START + 600}"


def test_it_agrees_with_the_plain_rule() -> None:
    rng = random.Random(7)
    rows = [(f"u{rng.randrange(200)}", float(rng.randrange(900))) for _ in range(6000)]
    assert sessions_of(events(*rows), longest=120) == by_hand(rows, 30, 120)


def by_hand(rows: list[tuple[str, float]], gap: int, longest: int) -> dict[str, str]:
    found = {}
    for user in {user for user, _ in rows}:
        mine = sorted((minute, n) for n, (who, minute) in enumerate(rows) if who == user)
        start = previous = mine[0][0]
        for minute, n in mine:
            if minute - previous > gap or minute - start >= longest:
                start = minute
            found[f"e{n}"] = f"{user}@{START + int(start * 60)}"
            previous = minute
    return found

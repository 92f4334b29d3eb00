"""Negatives follow the law they are said to follow, and are never what the user touched."""

from datetime import date

import numpy as np
import pytest

from sparkrec.window.cut import CutPlan, cut_windows
from sparkrec.window.laws import law_of
from sparkrec.window.negatives import Own, draw_negatives, laws_of
from tests.pasts import LENGTH, catalogue, histories

PLAN = CutPlan(date(2024, 3, 1), length=LENGTH, stride=LENGTH, num_negatives=2, seed=7)
COUNTS = np.array([0, 0, 100, 50, 25, 12, 6, 3, 1, 0])
CATEGORIES = np.array([-1, -1, 5, 5, 5, 9, 9, 9, -1, 4])
NOTHING = Own(10, np.array([9]), np.array([], dtype=np.int64))
"""Of user 0: an item outside every law, so that nothing is drawn again."""
FEW = 22.5
"""Chi-square with 6 degrees of freedom: 0.1 % of true draws exceed it. With fewer degrees it is stricter still."""


def draw(shares: dict[str, float], target: int, own: Own = NOTHING, power: float = 0.75, seed: int = 7) -> np.ndarray:
    laws = laws_of(COUNTS, CATEGORIES, 1, power, shares)
    targets = np.full((4000, 5), target)
    return draw_negatives(np.arange(4000), targets, np.zeros(4000, dtype=np.int64), own, laws, 3, seed)


def chi_square(drawn: np.ndarray, expected: dict[int, float]) -> float:
    observed = np.bincount(drawn.reshape(-1), minlength=10)
    assert set(np.flatnonzero(observed)) <= set(expected), "nothing outside the law"
    shares = np.array(list(expected.values()), dtype=float)
    wanted = shares / shares.sum() * drawn.size
    return float(((observed[list(expected)] - wanted) ** 2 / wanted).sum())


UNIFORM = dict.fromkeys(range(2, 9), 1.0)
POPULAR = {item: COUNTS[item] ** 0.75 for item in range(2, 9)}


@pytest.mark.parametrize(
    ("shares", "target", "law", "wrong"),
    [
        ({"uniform": 1}, 2, UNIFORM, POPULAR),
        ({"popularity": 1}, 2, POPULAR, UNIFORM),
        ({"category": 1}, 3, {2: 100**0.75, 3: 50**0.75, 4: 25**0.75}, {2: 1, 3: 1, 4: 1}),
        ({"category": 1}, 6, {5: 12**0.75, 6: 6**0.75, 7: 3**0.75}, {5: 1, 6: 1, 7: 1}),
        ({"category": 1}, 8, POPULAR, UNIFORM),
        (
            {"uniform": 1, "popularity": 3},
            2,
            {item: 0.25 / 7 + 0.75 * POPULAR[item] / sum(POPULAR.values()) for item in UNIFORM},
            {item: 0.75 / 7 + 0.25 * POPULAR[item] / sum(POPULAR.values()) for item in UNIFORM},
        ),
    ],
    ids=["uniform", "popularity", "category", "another category", "no category: popularity", "mixture"],
)
def test_negatives_follow_their_law(shares: dict, target: int, law: dict, wrong: dict) -> None:
    drawn = draw(shares, target)
    assert chi_square(drawn, law) < FEW
    assert chi_square(drawn, wrong) > 500, "the test can tell another law"


def test_viewed_negatives_are_viewed_by_the_user_never_bought_and_not_the_target() -> None:
    # User 0 touched 2 to 7, bought 4; 3 is the target.
    own = Own(10, np.array([2, 3, 4, 5, 6, 7]), np.array([2, 3, 5, 6]))
    drawn = draw({"viewed": 1}, 3, own)
    assert chi_square(drawn, {2: 1, 5: 1, 6: 1}) < FEW
    assert chi_square(drawn, {2: 2, 5: 1, 6: 1}) > 500
    only_the_target = Own(10, np.array([3]), np.array([3]))
    drawn = draw({"viewed": 1}, 3, only_the_target)
    assert chi_square(drawn, {item: share for item, share in POPULAR.items() if item != 3}) < FEW, "else by popularity"


def test_what_was_viewed_and_bought_is_read_from_histories_and_nothing_held_out() -> None:
    view, cart, purchase = 1, 2, 3
    batch = histories(
        [2, 3, 4, 5, 6, 3, 7, 8],
        kinds=[[view, view, view, cart, view, purchase, view, view]],
        purchased=[[3, 4]],
    )
    rows = cut_windows(batch, PLAN, catalogue(20, shares={"viewed": 1.0})).to_pylist()
    drawn = {item for row in rows for item in row["negative_idxs"]} - {0}
    # 3 was bought here, 4 before; 5 was not viewed; 7 and 8 are held out.
    assert drawn == {2, 6}


def test_a_category_of_own_items_falls_back_to_popularity() -> None:
    own = Own(10, np.array([5, 6, 7]), np.array([], dtype=np.int64))
    drawn = draw({"category": 1}, 6, own)
    assert chi_square(drawn, {item: POPULAR[item] for item in (2, 3, 4, 8)}) < FEW


@pytest.mark.parametrize("shares", [{"uniform": 1.0}, {"popularity": 1.0}, {"category": 1.0, "uniform": 1.0}])
def test_negatives_are_never_the_users_own(shares: dict[str, float]) -> None:
    rng = np.random.default_rng(5)
    pasts = [rng.integers(2, 20, 15).tolist() for _ in range(40)]
    bought = [[int(rng.integers(2, 20))] for _ in range(40)]
    items = catalogue(20, shares=shares, categories=[-1, -1, *[n % 3 for n in range(18)]])
    rows = cut_windows(histories(*pasts, purchased=bought), PLAN, items).to_pylist()
    for row in rows:
        user = int(row["user_id"][1:])
        assert not set(row["negative_idxs"]) & {*pasts[user], *bought[user]}
        has_target = np.repeat(np.array(row["target_idxs"]) > 0, 2)
        assert ((np.array(row["negative_idxs"]) > 0) == has_target).all()


def test_a_user_who_knows_every_item_gets_no_negative_and_one_other_is_always_found() -> None:
    everything = list(range(2, 20))
    batch = cut_windows(histories(everything, everything[:-1]), PLAN, catalogue(20))
    rows = {(row["user_id"], row["window_no"]): row for row in batch.to_pylist()}
    assert set(rows["u0", 2]["negative_idxs"]) == {0}
    assert set(rows["u1", 2]["negative_idxs"]) == {19}


def test_another_seed_draws_other_negatives() -> None:
    assert (draw({"uniform": 1}, 2) == draw({"uniform": 1}, 2)).all()
    assert not (draw({"uniform": 1}, 2) == draw({"uniform": 1}, 2, seed=8)).all()


def test_the_order_in_which_a_mixture_is_written_decides_nothing() -> None:
    one, other = draw({"uniform": 1, "category": 2}, 3), draw({"category": 2, "uniform": 1}, 3)
    assert (one == other).all()


def test_the_law_leaves_rare_items_out() -> None:
    law = law_of(np.array([9, 9, 1, 5, 2]), min_item_events=2, power=1.0)
    assert law.item_idxs.tolist() == [3, 4]
    chances = np.diff(law.cumulated, prepend=0) / law.cumulated[-1]
    assert chances.tolist() == pytest.approx([5 / 7, 2 / 7])

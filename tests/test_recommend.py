"""Lists are the exact best of what may be offered, full for everybody, and say why."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from sparkrec.models.registry import build_model
from sparkrec.models.sequence_model import SequenceModel
from sparkrec.models.shape import ModelShape
from sparkrec.recommend.fallback import Ladder, last_category
from sparkrec.recommend.reasons import most_missed, newest_different
from sparkrec.recommend.tile import tiles_of
from sparkrec.sequences import read_pasts, user_numbers
from sparkrec.tables import PAD
from tests.offers import (
    AND_ENSEMBLES,
    KNOWN,
    MODELS,
    TOP_N,
    brute_force,
    items_of,
    lists,
    offer_for,
    people,
    rules,
    scorer_for,
    small_model,
)
from tests.pasts import histories


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest) -> SequenceModel:
    made: SequenceModel = request.param()
    return made


def random_pasts(num: int, seed: int = 7) -> list[list[int]]:
    """Of all lengths, a known item in each."""
    rng = np.random.default_rng(seed)
    return [[3, *rng.integers(1, 40, int(rng.integers(0, 12))).tolist(), 4] for _ in range(num)]


@pytest.mark.parametrize("model", AND_ENSEMBLES, indirect=True)
def test_lists_equal_brute_force(model: SequenceModel) -> None:
    rng = np.random.default_rng(7)
    pasts = random_pasts(30)
    bought = [rng.choice(np.arange(2, 40), 6, replace=False).tolist() for _ in range(30)]
    offer = offer_for(model, unavailable=[7, 8])
    found = lists(people(*pasts, purchased=bought), model, offer)
    for user in range(30):
        rows = found[f"u{user}"]
        best = brute_force(pasts[user], model, [7, 8, *bought[user]])[:TOP_N]
        assert items_of(rows) == [item for item, _ in best]
        assert [row["score"] for row in rows] == pytest.approx([score for _, score in best], rel=1e-4, abs=1e-4)
        assert [row["rank"] for row in rows] == [1, 2, 3, 4, 5]
        assert {row["source"] for row in rows} == {"model"}
        assert {row["because_item_id"] for row in rows} == {None}
        assert {row["made_from"] for row in rows} == {user}


@pytest.mark.parametrize("model", AND_ENSEMBLES, indirect=True)
def test_the_first_pass_changes_no_bit(model: SequenceModel) -> None:
    who = people(*random_pasts(20))
    coarse, fine = (lists(who, model, offer_for(model), preselect=numbers) for numbers in ("bfloat16", "float32"))
    assert coarse == fine


def test_what_is_not_available_is_never_offered(model: SequenceModel) -> None:
    past = people([3, 4, 5])
    best = items_of(lists(past, model, offer_for(model))["u0"])
    without = items_of(lists(past, model, offer_for(model, unavailable=best[:2]))["u0"])
    assert without[:3] == best[2:]
    assert not set(without) & set(best[:2])


@pytest.mark.parametrize("model", AND_ENSEMBLES, indirect=True)
def test_neither_the_tile_nor_the_group_changes_a_bit(model: SequenceModel) -> None:
    pasts = random_pasts(23)
    offer = offer_for(model)
    whole = lists(people(*pasts), model, offer)
    for n in range(23):
        alone = lists(people(*pasts).slice(n, 1), model, offer)
        assert alone == {f"u{n}": whole[f"u{n}"]}


def test_a_full_tile_gives_the_same_bits_wherever_a_user_sits() -> None:
    torch.manual_seed(7)
    built = build_model("sasrec", ModelShape(500, 50, 64, 2, 2, 0.0)).eval()
    items_BL = torch.randint(2, 500, (64, 50))
    order = torch.randperm(64)
    with torch.inference_mode():
        state_BD, shuffled_BD = (
            built.last_state({"item_idxs": rows_BL, "event_types": torch.ones_like(rows_BL)})
            for rows_BL in (items_BL, items_BL[order])
        )
    assert torch.equal(state_BD[order], shuffled_BD)


def test_tiles_hold_everybody_once_and_a_length_follows_from_the_past_alone() -> None:
    events = np.array([0, 1, 8, 9, 16, 17, 30, 31, 50, 51, 200, 3])
    found = {}
    for users, length in tiles_of(events, np.zeros(12, dtype=int), 50, 2):
        assert len(users) <= 2
        found |= {int(events[user]): length for user in users}
    assert found == {1: 8, 3: 8, 8: 8, 9: 16, 16: 16, 17: 32, 30: 32, 31: 32, 50: 50, 51: 50, 200: 50}
    assert [length for _, length in tiles_of(np.array([1, 9]), np.array([1, 0]), 6, 4)] == [6]


def test_the_last_state_is_that_of_all_states() -> None:
    built = build_model("sasrec", small_model(length=12).shape).eval()
    items_BL = torch.randint(2, 35, (5, 12))
    items_BL[0, :9] = 0
    inputs = {"item_idxs": items_BL, "event_types": (items_BL > 0).long()}
    with torch.inference_mode():
        assert torch.allclose(built.last_state(inputs), built.states(inputs)[:, -1], atol=1e-5)


def test_equal_scores_stand_in_the_order_of_their_index() -> None:
    model = small_model()
    twins = build_model("sasrec", model.shape).eval()
    twins.load_state_dict(model.state_dict())
    with torch.no_grad():
        twins.item_matrix()[2:KNOWN] = 1.0
    found = lists(people([3, 4]), twins, offer_for(twins, unavailable=[7, 8]), top_n=31)["u0"]
    assert items_of(found) == [item for item in range(2, KNOWN) if item not in (7, 8)]


def test_users_the_model_cannot_place_get_popular_items_and_the_reason(model: SequenceModel) -> None:
    offer = offer_for(model, recent=[20, 5, 14])
    who = people([1, 39], [1], never_seen=1, purchased=[[38], [], []])
    found = lists(who, model, offer)
    # Item 39 is of category c0, as are all multiples of three; of those lately popular none is.
    assert items_of(found["u0"]) == [20, 5, 14, 39, 37]
    assert [row["source"] for row in found["u0"]] == [
        *["popular_7_days: no known item in the history"] * 3,
        *["popular_all_time: no known item in the history"] * 2,
    ]
    assert [row["score"] for row in found["u0"]] == [3.0, 2.0, 1.0, 39.0, 37.0]
    assert found["u1"][0]["source"] == "popular_7_days: no known item in the history"
    assert found["u2"][0]["source"] == "popular_7_days: never seen"
    assert all(row["made_from"] is None for rows in found.values() for row in rows)
    of_category = lists(people([1, 38, 1]), model, offer_for(model, recent=[3, 20, 6, 5]))["u0"]
    assert items_of(of_category) == [20, 5, 3, 6, 39]
    assert of_category[1]["source"] == "popular_in_category: no known item in the history"
    assert of_category[2]["source"] == "popular_7_days: no known item in the history"


def test_lists_that_fall_short_are_filled_up(model: SequenceModel) -> None:
    bought = [item for item in range(2, KNOWN) if item not in (10, 11)]
    rows = lists(people([3, 4], purchased=[bought]), model, offer_for(model, recent=[38]))["u0"]
    assert set(items_of(rows[:2])) == {10, 11}
    assert items_of(rows[2:]) == [38, 39, 37]
    assert [row["source"] for row in rows[2:]] == [
        "popular_7_days: too few items left",
        *["popular_all_time: too few items left"] * 2,
    ]
    assert [row["rank"] for row in rows] == [1, 2, 3, 4, 5]
    assert {row["made_from"] for row in rows} == {None}, "what popularity decides is not carried over"


def test_the_ladder_never_repeats_nor_offers_what_is_left_out_refused_or_over_a_cap(model: SequenceModel) -> None:
    of_kids = {"segment": "kids"}
    night_rules = rules(
        {"rule": "deny", "item_id": "i39"}, {"rule": "deny", "item_id": "i38", **of_kids},
        {"rule": "cap", "category": "c1", "max_per_list": 1, **of_kids},
    )  # fmt: skip
    offer = offer_for(model, night_rules=night_rules)
    ladder = Ladder(offer, 7)

    def items(*taken: int, out: tuple[int, ...] = (), segment: int = 0) -> list[int]:
        places = offer.places_of(np.array(taken, dtype=int)).tolist()
        left_out = offer.places_of(np.array(out, dtype=int)).tolist()
        return [int(offer.item_idxs_I[place]) for place, _, _ in ladder.fill_up(places, left_out, segment, -1, 5)]

    assert items() == [38, 37, 36, 35, 34]
    assert items(37, out=(36,)) == [38, 35, 34, 33]
    assert items(segment=1) == [37, 36, 35, 33, 32]
    assert items(34, segment=1) == [36, 35, 33, 32]


def test_the_last_category_is_that_of_the_newest_item_that_has_one() -> None:
    batch = histories([2, 3], [3, 1, 5], [1], [99, 4], [])
    category_V = np.array([-1, -1, 7, 8, 9, -1])
    assert last_category(read_pasts(batch), category_V).tolist() == [8, 8, -1, 9, -1]
    assert last_category(read_pasts(batch), np.full(6, -1)).tolist() == [-1] * 5


def test_a_model_that_gives_no_numbers_is_told(model: SequenceModel) -> None:
    broken = build_model("sasrec", model.shape).eval()
    broken.load_state_dict(model.state_dict())
    with torch.no_grad():
        broken.norm.weight[0] = torch.nan
    with pytest.raises(ValueError, match="not numbers"):
        lists(people([3, 4]), broken, offer_for(model))


class Backwards(type(small_model())):  # type: ignore[misc]
    """Scores pairs: the last of the best items by inner product first."""

    scores_pairs = True

    def pair_scores(self, state_BD: torch.Tensor, items_BM: torch.Tensor) -> torch.Tensor:
        return -torch.einsum("bd,bmd->bm", state_BD, self.item_matrix()[items_BM])


def test_a_model_that_scores_pairs_puts_its_best_items_in_order() -> None:
    model = small_model()
    backwards = Backwards(model.shape).eval()
    backwards.load_state_dict(model.state_dict())
    pasts = random_pasts(9)
    found = lists(people(*pasts), backwards, offer_for(model, unavailable=[9]), rerank_items=8)
    for user, past in enumerate(pasts):
        best = [item for item, _ in brute_force(past, model, [9])[:8]]
        assert items_of(found[f"u{user}"]) == best[::-1][:TOP_N]


@pytest.mark.parametrize("architecture", ["sasrec", "cnn_hybrid"])
def test_chances_of_purchases_are_those_of_the_head(architecture: str) -> None:
    shape = replace(small_model().shape, heads=("purchase",), num_users=50)
    torch.manual_seed(3)
    with_head = build_model(architecture, shape).eval()
    with_head.is_known_V[2:30] = True
    found = lists(people([3, 4], [1]), with_head, offer_for(with_head))
    inputs = {"item_idxs": torch.tensor([[3, 4]]), "event_types": torch.ones(1, 2, dtype=torch.long)}
    inputs["user_idx"] = torch.from_numpy(user_numbers(np.array([1000], dtype=np.uint64)))
    state_BD = with_head.last_state(inputs)
    for row in found["u0"]:
        item_BM = torch.tensor([[int(str(row["item_id"])[1:])]])
        chance = with_head.purchase_logits(state_BD, item_BM).sigmoid().item()
        assert row["purchase_probability"] == pytest.approx(chance)
        if architecture == "cnn_hybrid":
            both = with_head.pair_scores(state_BD, item_BM).item()
            assert row["score"] == pytest.approx(both, rel=1e-4), "interest and a purchase given interest"
    assert {row["purchase_probability"] for row in found["u1"]} == {None}, "a fallback tells none"
    without = lists(people([3, 4]), small_model(), offer_for(small_model()))["u0"]
    assert {row["purchase_probability"] for row in without} == {None}


class Indifferent(Backwards):
    def pair_scores(self, state_BD: torch.Tensor, items_BM: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(items_BM, dtype=torch.float32)


def test_equal_pair_scores_stand_in_the_order_of_items(model: SequenceModel) -> None:
    indifferent = Indifferent(model.shape).eval()
    indifferent.load_state_dict(model.state_dict())
    found = lists(people([3, 4]), indifferent, offer_for(model), rerank_items=8)["u0"]
    assert items_of(found) == sorted(item for item, _ in brute_force([3, 4], model)[:8])[:TOP_N]


def test_the_reason_is_the_past_item_most_alike(model: SequenceModel) -> None:
    alike = build_model("sasrec", model.shape).eval()
    alike.load_state_dict(model.state_dict())
    with torch.no_grad():
        alike.item_matrix()[10] = 3 * alike.item_matrix()[20]
        alike.item_matrix()[11] = 2 * alike.item_matrix()[21]
    offer = offer_for(alike, unavailable=[20], night_rules=rules(
        {"rule": "allow", "item_id": "i10"}, {"rule": "allow", "item_id": "i11"}, {"rule": "allow", "item_id": "i12"},
    ))  # fmt: skip
    rows = lists(people([20, 21, 10, 30]), alike, offer, reasons="similar", top_n=3)["u0"]
    because = {row["item_id"]: row["because_item_id"] for row in rows}
    assert because["i10"] == "i20", "not itself, and also what is not on offer any more"
    assert because["i11"] == "i21"
    forgotten = lists(people([20, 21, 10, 30]), alike, offer, reasons="similar", reason_items=2, top_n=3)["u0"]
    assert {row["because_item_id"] for row in forgotten} <= {"i10", "i30"}


def test_the_reason_by_removal_is_the_item_without_which_the_score_falls_most(model: SequenceModel) -> None:
    rng = np.random.default_rng(7)
    pasts = [[3, 9, 15, 9, 22], *(rng.choice(np.arange(2, KNOWN), 6, replace=False).tolist() for _ in range(8))]
    found = lists(people(*pasts), model, offer_for(model), reasons="removal")

    def score(past: list[int], item: int, without: int) -> float:
        kept = [kept for kept in past if kept != without]
        kept_BL = torch.tensor([[0] * (6 - len(kept)) + kept])
        inputs = {"item_idxs": kept_BL, "event_types": (kept_BL > 0).long()}
        with torch.inference_mode():
            whole, opinions = model.opinions(torch.tensor([past])), model.opinions(kept_BL)
            added = float(opinions.measured_by(whole).of(torch.tensor([[item]]))) if opinions and whole else 0.0
            return float(model.states(inputs)[0, -1] @ model.item_matrix()[item]) + added

    for user, past in enumerate(pasts):
        for row in found[f"u{user}"]:
            (item,) = items_of([row])
            falls = {other: score(past, item, other) for other in set(past) if other != item}
            least = min(falls, key=lambda other: falls[other])
            does_fall = falls[least] < score(past, item, PAD) - 1e-6
            assert row["because_item_id"] == (f"i{least}" if does_fall else None)


def test_visits_of_an_item_itself_do_not_hide_what_it_leads_to() -> None:
    again, once, listed = 2, 3, 4
    knn = build_model("item_knn", ModelShape(8, 4, 4, 1, 1, 0.0, num_neighbours=2)).eval()
    assert knn.neighbours is not None
    knn.neighbours.next_VK[again] = torch.tensor([again, listed], dtype=torch.int32)
    knn.neighbours.weight_VK[again] = torch.tensor([5.0, 1.0])
    knn.neighbours.next_VK[once, 0], knn.neighbours.weight_VK[once, 0] = listed, 0.5
    past_BL = torch.tensor([[0, 0, once, again]])
    with torch.inference_mode():
        reason = most_missed(knn, {"item_idxs": past_BL}, past_BL.flip(1), torch.tensor([[listed]]))
    assert reason.item() == again


def test_reasons_are_sought_among_the_newest_different_items() -> None:
    found = newest_different(np.array([[0, 5, 6, 5, 1, 7], [0, 0, 0, 0, 0, 1]]), 3)
    assert found.tolist() == [[7, 5, 6], [0, 0, 0]]


def test_no_reason_is_given_for_a_fallback(model: SequenceModel) -> None:
    bought = [item for item in range(2, KNOWN) if item != 10]
    rows = lists(people([3, 4], purchased=[bought]), model, offer_for(model), reasons="similar")["u0"]
    assert Counter(row["because_item_id"] is None for row in rows) == {False: 1, True: 4}


def test_no_chance_of_a_purchase_is_told_of_a_fallback() -> None:
    with_head = build_model("sasrec", replace(small_model().shape, heads=("purchase",))).eval()
    with_head.is_known_V[2:KNOWN] = True
    bought = [item for item in range(2, KNOWN) if item != 10]
    rows = lists(people([3, 4], purchased=[bought]), with_head, offer_for(with_head))["u0"]
    assert Counter(row["purchase_probability"] is None for row in rows) == {False: 1, True: 4}


def test_the_work_is_counted(model: SequenceModel) -> None:
    scorer = scorer_for(model, offer_for(model))
    scorer.score(people(*random_pasts(9)))
    assert set(scorer.cpu_s) == {"read", "encode", "score", "fill up"}
    assert min(scorer.cpu_s.values()) > 0

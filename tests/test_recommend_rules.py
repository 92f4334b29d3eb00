"""What users are not offered: by rules, by what they did, by caps; and variety in a list."""

from collections.abc import Mapping
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
import torch

from sparkrec.errors import RefusedError
from sparkrec.models.registry import build_model
from sparkrec.models.sequence_model import SequenceModel
from sparkrec.recommend.left_out import cutoffs, left_out
from sparkrec.recommend.pick import NONE, Candidates, pick
from sparkrec.recommend.rules import NO_CAP, check_rules, effects_of, of_the_night
from sparkrec.recommend.tile import Tile
from tests.offers import (
    KNOWN,
    MODELS,
    TOP_N,
    brute_force,
    catalogue,
    items_of,
    lists,
    offer_for,
    people,
    rules,
    scorer_for,
)
from tests.running import day


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest) -> SequenceModel:
    made: SequenceModel = request.param()
    return made


def refused(night_rules: pl.DataFrame, unavailable: tuple[int, ...] = ()) -> dict[str, dict[int, int]]:
    """Return the reason's number by item index, by segment."""
    effects = effects_of(night_rules, catalogue(unavailable, vocabulary=8))
    return {
        segment: {2 + place: int(code) for place, code in enumerate(row) if code}
        for segment, row in zip(effects.segments, effects.refusal_SI, strict=True)
    }


def test_a_rule_holds_for_its_items_its_category_and_its_segment() -> None:
    assert refused(rules()) == {"": {}}
    assert refused(rules(), unavailable=(3,)) == {"": {3: 1}}
    assert refused(rules({"rule": "unavailable", "item_id": "i4"})) == {"": {4: 2}}
    assert refused(rules({"rule": "deny", "category": "c0"})) == {"": {3: 3, 6: 3}}
    assert refused(rules({"rule": "deny", "category": "c0", "item_id": "i6"})) == {"": {6: 3}}
    assert refused(rules({"rule": "deny", "category": "c1", "item_id": "i6"})) == {"": {}}
    of_kids = refused(rules({"rule": "deny", "item_id": "i5", "segment": "kids"}, {"rule": "deny", "item_id": "i2"}))
    assert of_kids == {"": {2: 3}, "kids": {2: 3, 5: 3}}


def test_where_something_is_allowed_nothing_else_is() -> None:
    found = refused(rules({"rule": "allow", "category": "c0", "segment": "kids"}))
    assert found == {"": {}, "kids": {2: 4, 4: 4, 5: 4, 7: 4}}
    both = rules({"rule": "allow", "category": "c0"}, {"rule": "allow", "item_id": "i4", "segment": "kids"})
    assert refused(both) == {"": {2: 4, 4: 4, 5: 4, 7: 4}, "kids": {2: 4, 5: 4, 7: 4}}
    unknown = refused(rules({"rule": "allow", "item_id": "nowhere"}))
    assert set(unknown[""]) == {2, 3, 4, 5, 6, 7}, "an allow list of nothing allows nothing"


def test_the_first_reason_is_told() -> None:
    night_rules = rules({"rule": "deny", "item_id": "i3"}, {"rule": "unavailable", "category": "c0"})
    assert refused(night_rules, unavailable=(6,)) == {"": {3: 2, 6: 1}}


def test_the_smallest_cap_counts_and_one_without_a_category_is_for_each() -> None:
    night_rules = rules(
        {"rule": "cap", "max_per_list": 3},
        {"rule": "cap", "category": "c1", "max_per_list": 2},
        {"rule": "cap", "category": "c1", "max_per_list": 1, "segment": "kids"},
        {"rule": "cap", "category": "c9", "max_per_list": 1},
    )
    effects = effects_of(night_rules, catalogue(vocabulary=6))
    assert effects.segments == ("", "kids")
    assert effects.cap_SI.tolist() == [[3, 3, 2, 3], [3, 3, 1, 3]]
    assert list(effects.items_by_rule.values()).count(0) == 1
    assert (effects_of(rules(), catalogue()).cap_SI == NO_CAP).all()


def test_rules_hold_from_their_first_to_their_last_night() -> None:
    told = rules(
        {"rule": "deny", "item_id": "always"},
        {"rule": "deny", "item_id": "early", "valid_to": day("2024-03-01")},
        {"rule": "deny", "item_id": "late", "valid_from": day("2024-03-02")},
        {"rule": "deny", "item_id": "one", "valid_from": day("2024-03-02"), "valid_to": day("2024-03-02")},
    )
    nights = {n: of_the_night(told, date(2024, 3, n))["item_id"].to_list() for n in (1, 2, 3)}
    assert nights == {1: ["always", "early"], 2: ["always", "late", "one"], 3: ["always", "late"]}


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"rule": "forbid", "item_id": "i2"}, "wanted unavailable, deny, allow, cap; found {'rule': 'forbid'"),
        ({"item_id": "i2"}, "rule: wanted"),
        ({"rule": "deny"}, "one is needed"),
        ({"rule": "cap", "category": "c1"}, "max_per_list: wanted 1 or more"),
        ({"rule": "cap", "category": "c1", "max_per_list": 0}, "max_per_list: wanted 1 or more"),
        ({"rule": "cap", "item_id": "i2", "max_per_list": 1}, "a cap is for categories"),
        (
            {"rule": "deny", "item_id": "i2", "valid_from": day("2024-03-02"), "valid_to": day("2024-03-01")},
            "after valid_to",
        ),
    ],
)
def test_a_rule_that_cannot_be_understood_is_refused_and_shown(wrong: Mapping[str, object], told: str) -> None:
    check_rules(rules({"rule": "deny", "item_id": "i2"}, {"rule": "cap", "max_per_list": 1}), "rules")
    with pytest.raises(RefusedError, match=r"1 rule\(s\) refused") as error:
        check_rules(rules({"rule": "deny", "item_id": "i2"}, wrong), "rules")
    assert told in str(error.value)


def test_segments_are_offered_what_their_rules_leave(model: SequenceModel) -> None:
    night_rules = rules(
        {"rule": "deny", "category": "c1", "segment": "kids"},
        *({"rule": "allow", "item_id": f"i{n}", "segment": "few"} for n in (5, 9)),
        {"rule": "deny", "item_id": "i12"},
    )
    pasts = [[3, 4, n] for n in range(5, 17)]
    segments = ["kids", "few", None, "unheard of"] * 3
    found = lists(people(*pasts, segments=segments), model, offer_for(model, night_rules=night_rules))
    for user, (past, segment) in enumerate(zip(pasts, segments, strict=True)):
        out = [12, *(range(4, 40, 3) if segment == "kids" else ())]
        if segment == "few":
            out = [n for n in range(40) if n not in (5, 9)]
        best = [item for item, _ in brute_force(past, model, out)][:TOP_N]
        assert items_of(found[f"u{user}"]) == best, (user, segment)


def test_lists_under_caps_equal_a_plain_walk_down_the_ranking(model: SequenceModel) -> None:
    night_rules = rules({"rule": "cap", "category": "c1", "max_per_list": 1}, {"rule": "cap", "max_per_list": 3})
    pasts = [[3, 4, n, n + 1] for n in range(5, 25)]
    scorer = scorer_for(model, offer_for(model, night_rules=night_rules))
    who = people(*pasts)
    places = scorer.score(who).place_UN
    passed_over = 0
    for user, past in enumerate(pasts):
        wanted: list[int] = []
        for item, _ in brute_force(past, model):
            if sum(other % 3 == item % 3 for other in wanted) < (1 if item % 3 == 1 else 3):
                wanted.append(item)
                if len(wanted) == TOP_N:
                    break
            else:
                passed_over += 1
        assert scorer.offer.item_idxs_I[places[user]].tolist() == wanted
    assert scorer.ranking.passed_over == passed_over > 0


def test_caps_look_further_down_until_the_list_is_full(model: SequenceModel) -> None:
    night_rules = rules({"rule": "cap", "category": "c0", "max_per_list": 1})
    tight = rules({"rule": "cap", "category": "c0", "max_per_list": 1}, {"rule": "cap", "max_per_list": 2})
    past = [3, 4, 5]
    found = lists(people(past), model, offer_for(model, night_rules=night_rules), top_n=23)["u0"]
    best = [item for item, _ in brute_force(past, model)]
    of_c0 = [item for item in best if item % 3 == 0]
    assert items_of(found) == [item for item in best if item not in of_c0[1:]][:23]
    assert {row["source"] for row in found} == {"model"}
    short = lists(people(past), model, offer_for(model, night_rules=tight), top_n=5)["u0"]
    assert {row["source"] for row in short} == {"model"}
    assert sorted(item % 3 for item in items_of(short)) == [0, 1, 1, 2, 2]
    assert len(lists(people(past), model, offer_for(model, night_rules=tight), top_n=6)["u0"]) == 5


def test_caps_look_beyond_the_first_candidates(model: SequenceModel) -> None:
    past = [3, 4, 5]
    odd = build_model("sasrec", model.shape).eval()
    odd.load_state_dict(model.state_dict())
    best = [item for item, _ in brute_force(past, model)]
    worst = torch.nn.functional.normalize(model.item_matrix()[best[-1]].detach(), dim=0)
    with torch.no_grad():
        for item in range(8, KNOWN, 3):
            odd.item_matrix()[item] = (1 + item) * 100 * worst
    night_rules = rules(*({"rule": "cap", "category": f"c{n}", "max_per_list": 1} for n in (0, 1)))
    ranking = [item for item, _ in brute_force(past, odd)]
    assert all(item % 3 != 2 or item in (2, 5) for item in ranking[:20]), (
        "the case is none if the first twenty have enough"
    )
    firsts = [next(item for item in ranking if item % 3 == n) for n in (0, 1)]
    wanted = [item for item in ranking if item % 3 == 2 or item in firsts][:TOP_N]
    found = lists(people(past), odd, offer_for(odd, night_rules=night_rules))["u0"]
    assert items_of(found) == wanted
    assert {row["source"] for row in found} == {"model"}


def test_who_must_look_further_down_keeps_their_own_segment(model: SequenceModel) -> None:
    """Caps leave only the second user's list short at first, and what is offered to the two differs."""
    night_rules = rules(
        {"rule": "cap", "category": "c0", "max_per_list": 1, "segment": "kids"},
        {"rule": "cap", "category": "c1", "max_per_list": 1, "segment": "kids"},
        *({"rule": "deny", "item_id": f"i{n}", "segment": "kids"} for n in range(2, 20)),
    )
    past = [3, 4, 5]
    who = people(past, past, segments=[None, "kids"])
    scorer = scorer_for(model, offer_for(model, night_rules=night_rules), top_n=5)
    # A list of five is sought among twenty first: more than kids are offered, so only denied items could fill it.
    found = lists(who, model, scorer.offer, top_n=5)
    assert items_of(found["u0"]) == [item for item, _ in brute_force(past, model)][:5]
    wanted: list[int] = []
    for item, _ in brute_force(past, model, list(range(20))):
        if item % 3 == 2 or not any(other % 3 == item % 3 for other in wanted):
            wanted.append(item)
    assert items_of(found["u1"]) == wanted[:5]
    tile = Tile(torch.zeros(3, 4), torch.tensor([0, 1, 2]), torch.tensor([7, 8, 9]), torch.tensor([0, 1, 2]))
    kept = tile.only(torch.tensor([False, True, True]))
    assert (kept.out_user.tolist(), kept.out_place.tolist(), kept.segment_B.tolist()) == ([0, 1], [8, 9], [1, 2])


def test_what_was_bought_seen_or_put_into_a_cart_is_left_out_as_settings_say() -> None:
    who = people([2, 3, 1, 4, 5], [2], kinds=[[1, 2, 4, 3, 1], [5]], purchased=[[4, 9], []])

    def pairs(**kinds: int | None) -> list[tuple[int, int]]:
        user, item = left_out(who, cutoffs(kinds, day("1970-01-01")))
        return list(zip(user.tolist(), item.tolist(), strict=True))

    assert pairs(purchase=None) == [(0, 4), (0, 9)]
    assert pairs(view=None) == [(0, 2), (0, 5)]
    assert pairs(cart=None, favourite=None) == [(0, 3), (1, 2)]
    assert pairs(view=None, cart=None, purchase=None, favourite=None) == [
        (0, 2), (0, 3), (0, 4), (0, 5), (0, 9), (1, 2)
    ]  # fmt: skip
    assert pairs() == []
    nothing = left_out(people([1, 2], kinds=[[1, 1]]), cutoffs({"view": None}, day("1970-01-01")))
    assert nothing[1].tolist() == [2], "what has no item index is no item"


def test_an_item_may_be_offered_again_when_its_days_are_over() -> None:
    minute, hours = 1, 60
    who = people([2, 3], kinds=[[1, 1]], minutes=[[23 * hours, 24 * hours + minute]])

    def items(days: int, night: int) -> list[int]:
        return left_out(who, cutoffs({"view": days}, date(1970, 1, night)))[1].tolist()

    assert items(1, night=1) == [2, 3]
    assert items(1, night=2) == [3], "the two of one night are those of its date"
    assert items(2, night=2) == [2, 3]
    assert items(1, night=3) == []
    at_midnight = people([2], kinds=[[1]], minutes=[[24 * hours]])
    assert left_out(at_midnight, cutoffs({"view": 1}, date(1970, 1, 2)))[1].tolist() == [2]
    cut = cutoffs({"view": 1}, date(1970, 1, 2))["view"]
    assert cut == timedelta(days=1).total_seconds() * 1_000_000


def test_purchases_that_are_remembered_without_a_time_count_where_events_do_not_reach_back() -> None:
    day_us = 24 * 60
    cuts = cutoffs({"purchase": 2}, date(1970, 1, 10))
    long_ago, now = 1 * day_us, 10 * day_us - 1

    def bought(minutes: list[int], num_events: int) -> list[int]:
        kinds = [[3] + [1] * (len(minutes) - 1)]
        pasts = [list(range(2, 2 + len(minutes)))]
        who = people(*pasts, kinds=kinds, minutes=[minutes], purchased=[[2, 9]], num_events=[num_events])
        return left_out(who, cuts)[1].tolist()

    assert bought([long_ago, now], num_events=2) == []
    assert bought([now - 2, now], num_events=2) == [2], "9 was bought before, and all events are kept"
    assert bought([now - 2, now], num_events=900) == [2, 9], "9 may have been bought yesterday"
    assert bought([long_ago, now], num_events=900) == []


def test_seen_items_stay_out_of_lists(model: SequenceModel) -> None:
    past = [3, 4, 5, 30, 31]
    found = lists(people(past, purchased=[[8]]), model, offer_for(model), leave_out={"view": None})["u0"]
    assert items_of(found) == [item for item, _ in brute_force(past, model, past)][:TOP_N]


def varied(
    score: list[float], category: list[int], diversity: float, vectors: list[list[float]] | None = None, cap: int = 9
) -> list[int]:
    best = Candidates(
        torch.tensor([score]),
        torch.tensor([category]),
        torch.full((1, len(score)), cap, dtype=torch.int32),
        torch.tensor([vectors]) if vectors else None,
    )
    return pick(best, 3, diversity)[0].tolist()


def test_variety_weighs_score_against_likeness_to_what_is_in_the_list() -> None:
    assert varied([9.0, 8.9, 8.0, 1.0], [1, 1, 2, 3], 0.0) == [0, 1, 2]
    assert varied([9.0, 8.9, 8.0, 1.0], [1, 1, 2, 3], 0.4) == [0, 2, 1]
    assert varied([9.0, 8.9, 8.0, 1.0], [1, 1, 2, 3], 0.8) == [0, 2, 3]
    by_angle = [[1.0, 0.0], [5.0, 0.1], [0.0, 2.0], [1.0, 1.0]]
    assert varied([9.0, 8.9, 8.0, 7.0], [-1] * 4, 0.5, by_angle) == [0, 2, 1]
    assert varied([9.0, 8.9, 8.0, 7.0], [-1] * 4, 0.8, by_angle) == [0, 2, 3]
    assert varied([9.0, 8.9, 8.0, 7.0], [-1] * 4, 0.0, by_angle) == [0, 1, 2]


def test_caps_hold_in_varied_lists_and_nothing_is_invented() -> None:
    assert varied([9.0, 8.0, 7.0, 6.0], [1, 1, 1, 2], 0.0, cap=1) == [0, 3, NONE]
    assert varied([9.0, 8.0, 7.0, 6.0], [-1, -1, -1, -1], 0.0, cap=1) == [0, 1, 2], "no category, no cap"
    assert varied([9.0, -np.inf, 7.0, -np.inf], [1, 2, 3, 4], 0.5) == [0, 2, NONE]


def test_a_varied_list_is_a_plain_greedy_choice_from_the_best(model: SequenceModel) -> None:
    past, weight = [3, 4, 5], 0.6
    found = lists(people(past), model, offer_for(model), diversity=weight, diversity_items=12)["u0"]
    best = brute_force(past, model)[:12]
    unit = torch.nn.functional.normalize(model.item_matrix().detach(), dim=1)
    low, high = best[-1][1], best[0][1]
    wanted: list[int] = []
    while len(wanted) < TOP_N:
        left = [(item, (score - low) / (high - low)) for item, score in best if item not in wanted]
        worth = {
            item: (1 - weight) * relevance
            - weight * max((float(unit[item] @ unit[other]) for other in wanted), default=-1.0)
            for item, relevance in left
        }
        wanted.append(max(worth, key=lambda item: worth[item]))
    assert items_of(found) == wanted != [item for item, _ in best[:TOP_N]]
    assert set(wanted) <= set(range(2, KNOWN))

"""Which model may score a night, and which nights may be published."""

from collections.abc import Mapping
from datetime import date

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import Row, SparkSession

from sparkrec.config.settings import RecommendSettings
from sparkrec.errors import SparkrecError
from sparkrec.evaluate.drift import drift, shape_of, shape_of_day, shares
from sparkrec.models.sequence_model import SequenceModel
from sparkrec.recommend.check import (
    doubts_of,
    faults_of,
    faults_of_offer,
    figures_of_groups,
    figures_of_night,
    figures_of_rules,
    judge,
    sentence_of,
)
from sparkrec.recommend.choose import check_vocabulary, choose_model, with_champion
from sparkrec.recommend.last_night import LastNight
from sparkrec.recommend.lists import scored_rows
from sparkrec.recommend.look import FAULTS, look_at_group
from sparkrec.recommend.night import refusals_of
from sparkrec.recommend.rules import effects_of
from sparkrec.tables import MODELS
from tests.offers import TOP_N, catalogue, offer_for, people, rules, scorer_for, small_model

SETTINGS = RecommendSettings(top_n=TOP_N)


@pytest.fixture(scope="module")
def model() -> SequenceModel:
    return small_model()


class Told:
    """What `look_at_group` is told of the plan."""

    settings = RecommendSettings(top_n=TOP_N)
    cuts: Mapping[str, int | None] = {"purchase": None}


def changed(rows: pa.Table, column: str, row: int, value: object) -> pa.Table:
    values = rows.column(column).to_pylist()
    values[row] = value
    place = rows.schema.get_field_index(column)
    return rows.set_column(place, rows.schema.field(column), pa.array(values, rows.schema.field(column).type))


def test_every_fault_of_a_written_group_is_seen(model: SequenceModel) -> None:
    who = people([3, 4], [5, 6], [7, 8], purchased=[[20], [], []], segments=[None, "kids", None])
    night_rules = rules({"rule": "deny", "item_id": "i21", "segment": "kids"})
    offer = offer_for(model, unavailable=[22], night_rules=night_rules)
    good = scored_rows(who, scorer_for(model, offer).score(who), offer, "v")

    def faults(written: pa.Table) -> dict[str, int]:
        found = look_at_group(written, who, offer, Told())  # type: ignore[arg-type]
        return {name: found[name] for name in FAULTS if found[name]}

    assert faults(good) == {}
    assert faults(good.slice(1)) == {"incomplete": 1}
    assert faults(good.slice(TOP_N)) == {"incomplete": 1}
    assert faults(pa.concat_tables([good, good.slice(0, 1)])) == {"incomplete": 1}
    assert faults(changed(good, "rank", 4, 6)) == {"incomplete": 1}
    assert faults(changed(good, "rank", 4, 4)) == {"incomplete": 1}
    assert faults(changed(good, "item_id", 1, good.column("item_id")[0].as_py())) == {"incomplete": 1}
    assert faults(changed(good, "user_id", 0, "nobody")) == {"incomplete": 1}
    for odd in (float("nan"), float("inf"), -float("inf")):
        assert faults(changed(good, "score", 7, odd)) == {"odd_scores": 1}
    assert faults(changed(good, "item_id", 0, "i22")) == {"not_on_offer": 1}
    assert faults(changed(good, "item_id", 0, "unheard of")) == {"not_on_offer": 1}
    assert faults(changed(good, "item_id", TOP_N, "i21")) == {"not_on_offer": 1}
    kept = [item for item in ("i21", "i23") if item not in good.column("item_id").to_pylist()[2 * TOP_N :]]
    assert faults(changed(good, "item_id", 2 * TOP_N, kept[0])) == {}, "the rule is for kids"
    assert faults(changed(good, "item_id", 0, "i20")) == {"left_out": 1}
    better = good.column("score")[2].as_py() + 1
    assert faults(changed(good, "score", 3, better)) == {"out_of_order": 1}
    assert faults(changed(good, "source", 3, "popular_7_days: never seen")) == {}
    capped = offer_for(model, night_rules=rules({"rule": "cap", "max_per_list": 2}))
    same = [f"i{n}" for n in (9, 12, 15)]
    of_c0 = good.slice(0, TOP_N).set_column(2, "item_id", pa.array([*same, "i10", "i11"]))
    assert look_at_group(of_c0, who.slice(0, 1), capped, Told())["over_cap"] == 3  # type: ignore[arg-type]
    assert look_at_group(of_c0, who.slice(0, 1), offer_for(model), Told())["over_cap"] == 0  # type: ignore[arg-type]


def report(**more: object) -> dict[str, object]:
    told = {
        "users": 10, "rows": 50, "carried": 0, "reused": 0, "incomplete": 0, "odd_scores": 0, "not_on_offer": 0,
        "left_out": 0, "over_cap": 0, "out_of_order": 0, "by_source": {"model": 50},
        "users_by_segment": [10], "left_out_pairs": 7,
        "passed_over": 0, "one_by_one": 0,
        "cpu": {"score": 0.5}, "input": {"kind_view": 3, "kind_cart": 1, "length_1": 10},
    }  # fmt: skip
    return {**told, **more}


def test_figures_of_groups_are_sums_and_shares(model: SequenceModel) -> None:
    night_rules = rules({"rule": "deny", "category": "c0", "segment": "kids"}, {"rule": "unavailable", "item_id": "i3"})
    effects = effects_of(night_rules, catalogue(unavailable=[4, 5]))
    offer = offer_for(model, unavailable=[4, 5], night_rules=night_rules)
    told = [
        report(users_by_segment=[10, 0], carried=4, passed_over=3),
        report(users_by_segment=[6, 4], by_source={"model": 45, "popular_7_days: never seen": 5}, reused=10),
    ]
    found = figures_of_groups(told, refusals_of(effects), offer)
    wanted = {
        "users": 20, "rows": 100, "carried": 4, "reused": 10, "scored": 6, "source model": 95,
        "source popular_7_days: never seen": 5,
        "fallback_share": pytest.approx(0.05), "removed left out": 14, "removed rule cap": 3, "cpu_s score": 1.0,
        "removed not available": 2 * 20, "removed rule unavailable": 20, "removed rule deny": 4 * 12, "kind_view": 0.75,
        "kind_cart": 0.25, "length_1": 1.0,
    }  # fmt: skip
    assert {name: found[name] for name in wanted} == wanted


def test_every_rule_tells_how_many_items_it_speaks_of() -> None:
    night_rules = rules(
        {"rule": "deny", "category": "c0"},
        {"rule": "allow", "item_id": "i3", "segment": "kids"},
        {"rule": "cap", "max_per_list": 1},
        {"rule": "deny", "item_id": "nowhere"},
    )
    found = figures_of_rules(effects_of(night_rules, catalogue(vocabulary=8)).items_by_rule)
    assert found == {
        "rule deny c0": 2, "rule allow i3 for kids": 1, "rule cap each category": 6, "rule deny nowhere": 0,
        "idle_rules": 1,
    }  # fmt: skip


def staged(spark: SparkSession, *lists: tuple[str, str]) -> object:
    rows = [
        (user, rank, item, float(10 - rank), "model" if user != "new" else "popular_all_time: never seen")
        for user, items in lists
        for rank, item in enumerate(items, 1)
    ]
    return spark.createDataFrame(rows, "user_id string, rank int, item_id string, score double, source string")


def test_figures_of_a_night_compare_it_with_the_last_one(spark: SparkSession, model: SequenceModel) -> None:
    offer = offer_for(model)
    tonight = staged(spark, ("ann", "ab"), ("bob", "cd"), ("new", "ab"))
    before = staged(spark, ("ann", "ba"), ("bob", "de"), ("gone", "xy"))
    last = LastNight(
        date(2024, 3, 1), before, 6, [{"kind_view": 0.4, "kind_cart": 0.6}, {"kind_view": 0.6, "kind_cart": 0.4}]
    )
    settings = RecommendSettings(top_n=2, max_drift=0.3)
    found = figures_of_night(tonight, last, {"users": 3.0, "kind_view": 0.9, "kind_cart": 0.1}, offer, settings)  # type: ignore[arg-type]
    assert found["coverage"] == 4 / 38
    assert found["concentration"] == pytest.approx(4 / 6)
    assert found["user_share"] == 0.5
    assert (found["overlap"], found["overlap_users"]) == (0.75, 2)
    by_hand = 0.4 * np.log(0.9 / 0.5) - 0.4 * np.log(0.1 / 0.5)
    assert found["drift of kinds of events in pasts"] == pytest.approx(by_hand)
    assert [found[f"score_p{share}"] for share in (5, 25, 50, 75, 95)] == [8, 8, 8, 9, 9]
    assert (found["limit max_drift"], found["limit min_overlap"]) == (0.3, settings.min_overlap)
    first = figures_of_night(tonight, None, {"users": 3.0}, offer, settings)  # type: ignore[arg-type]
    named = {name for name in first if not name.startswith(("score_p", "limit "))}
    assert named == {"coverage", "concentration", "offered"}


def test_the_input_is_told_by_kinds_of_events_and_lengths_of_pasts() -> None:
    who = people([2], [2, 1], [2, 3, 4], [2, 3, 4, 5], never_seen=1)
    shape = shape_of(who)
    assert {name: num for name, num in shape.items() if num} == {
        "kind_view": 9, "kind_search": 1, "length_0": 1, "length_1": 1, "length_2": 2, "length_4": 1
    }  # fmt: skip
    told = shares([shape, shape])
    assert told["kind_view"] == 0.9
    assert told["length_2"] == 0.4
    same = {"drift of kinds of events in pasts": 0, "drift of lengths of pasts": 0}
    assert drift(told, [told]) == same
    assert drift(told, []) == drift(told, [{}]) == {}
    other = drift({**told, "kind_view": 0.0, "kind_cart": 1.0}, [told, told])
    assert other["drift of kinds of events in pasts"] > 5
    assert other["drift of lengths of pasts"] == 0


def test_a_day_is_told_by_its_events_sessions_and_who_is_new(spark: SparkSession) -> None:
    day, before, later = date(2024, 3, 2), date(2024, 3, 1), date(2024, 3, 3)
    events = spark.createDataFrame(
        [
            ("ann", 10, "i1", "view", "s1", day, day), ("ann", 11, "i2", "view", "s1", day, day),
            ("ann", 12, None, "search", "s1", day, day), ("bob", 13, "i1", "cart", "s2", day, day),
            ("ann", 1, "i9", "view", "s0", before, before), ("bob", 14, "i2", "purchase", "s2", day, later),
        ],
        "user_id string, event_ts long, item_id string, event_type string, session_id string, event_date date,"
        " run_date date",
    )  # fmt: skip
    histories = spark.createDataFrame([("ann", 1), ("bob", 13)], "user_id string, first_event_ts long")
    items = spark.createDataFrame([("i1", before), ("i2", day), ("i9", before)], "item_id string, first_seen date")
    found = shape_of_day(events, histories, items, day)
    assert found == {
        "day_kind_view": 0.5, "day_kind_search": 0.25, "day_kind_cart": 0.25, "day_session_1": 0.5,
        "day_session_2": 0.5, "new_users": 0.5, "new_items": 0.5,
    }  # fmt: skip
    assert drift(found, [found] * 2) == {}, "no two days are alike"
    changed = {**found, "day_session_1": 1.0, "day_session_2": 0.0}
    told = drift(found, [changed] * 3)
    assert told["drift of the day's kinds of events"] == 0
    assert told["drift of the day's lengths of sessions"] > 1
    assert shape_of_day(events.limit(0), histories, items, day) == {}


FINE = {
    "users": 100.0, "incomplete": 0.0, "odd_scores": 0.0, "not_on_offer": 0.0, "left_out": 0.0, "over_cap": 0.0,
    "out_of_order": 0.0, "user_share": 1.0,
    "fallback_share": 0.1, "overlap": 0.5, "coverage": 0.5, "drift of lengths of pasts": 0.1, "concentration": 0.1,
    "new_users": 0.3, "new_items": 0.2, "offered": 1000.0,
}  # fmt: skip


def test_only_whole_nights_are_without_a_fault() -> None:
    assert faults_of(FINE, 100, 5) == []
    assert faults_of(FINE, 101, 5) == ["100 of 101 users have a list"]
    assert faults_of({**FINE, "users": 0.0}, 0, 5) == ["0 of 0 users have a list"]
    for name in FAULTS:
        (fault,) = faults_of({**FINE, name: 2.0}, 100, 5)
        assert fault.startswith("2 ")


@pytest.mark.parametrize(
    ("figure", "value", "setting"),
    [
        ("user_share", 0.1, "min_user_share"),
        ("fallback_share", 0.6, "max_fallback_share"),
        ("overlap", 0.1, "min_overlap"),
        ("coverage", 0.1, "min_coverage"),
        ("drift of lengths of pasts", 1.5, "max_drift"),
        ("new_users", 0.6, "max_new_users"),
        ("new_items", 0.6, "max_new_items"),
        ("concentration", 0.95, "max_concentration"),
    ],
)
def test_every_limit_raises_a_doubt_that_names_it(figure: str, value: float, setting: str) -> None:
    strict = RecommendSettings(min_overlap=0.2, min_coverage=0.2, max_new_users=0.5, max_new_items=0.5)
    assert doubts_of(FINE, strict) == []
    (doubt,) = doubts_of({**FINE, figure: value}, strict)
    assert f"{value:.3f}" in doubt
    assert f"recommend.{setting} {getattr(strict, setting)}" in doubt
    without = {name: told for name, told in FINE.items() if name != figure}
    assert doubts_of(without, strict) == []


def test_concentration_is_judged_only_where_there_is_room() -> None:
    same = {**FINE, "concentration": 1.0}
    assert doubts_of({**same, "offered": 99.0}, SETTINGS) == []
    assert doubts_of({**same, "users": 19.0}, SETTINGS) == []
    assert len(doubts_of({**same, "offered": 100.0}, SETTINGS)) == 1


def test_doubts_can_be_overruled_and_faults_cannot() -> None:
    assert judge([], [], "here", force=False) == ""
    with pytest.raises(SparkrecError, match=r"here: not published, earlier nights stand: odd; .* --force"):
        judge([], ["odd"], "here", force=False)
    assert judge([], ["odd"], "here", force=True) == "published by --force although odd; "
    for force in (False, True):
        with pytest.raises(SparkrecError, match=r"stand: broken; odd$"):
            judge(["broken"], ["odd"], "here", force=force)


def test_an_empty_stock_is_a_fault_before_anything_is_scored(model: SequenceModel) -> None:
    everything = list(range(2, 40))
    effects = effects_of(rules(), catalogue(unavailable=everything[2:]))
    (fault,) = faults_of_offer(offer_for(model, unavailable=everything[2:]), refusals_of(effects), TOP_N)
    assert fault == "2 items are on offer (not available 36), recommend.top_n is 5"
    assert faults_of_offer(offer_for(model, unavailable=everything[5:]), {}, TOP_N) == []


def test_a_published_night_is_told_in_a_sentence() -> None:
    found = {
        **FINE, "rows": 500.0, "source model": 480.0, "source popular_7_days: never seen": 20.0, "carried": 30.0,
        "reused": 0.0, "removed rule deny": 7.0, "removed rule cap": 0.0, "idle_rules": 1.0,
    }  # fmt: skip
    assert sentence_of(found, "v", 5) == (
        "100 users x 5 items by v (480 model, 20 popular_7_days: never seen); 30 users carried over; not offered, pairs"
        " of user and item: rule deny 7; 1 rules speak of no item there is; 50.0 % of the items on offer are in a list;"
        " 50 % of a list was in the last one"
    )


def a_model(version: str, day: int, status: str, **metrics: float) -> Row:
    return Row(
        model_version=version,
        run_date=date(2024, 3, day),
        status=status,
        vocabulary_lineage="x",
        vocabulary_size=9,
        metrics=metrics,
    )


def chosen(models: list[Row], published: str | None, day: date, settings: RecommendSettings = SETTINGS) -> str:
    model, doubts, remark = choose_model(models, published, day, settings)
    assert doubts == []
    assert ("did not pass" in remark) == any(row["model_version"] == "bad" for row in models)
    return str(model["model_version"])


def test_the_candidate_of_the_date_comes_first_then_what_published_it_then_the_newest_champion() -> None:
    models = [a_model("old", 1, "champion"), a_model("gone", 2, "retired"), a_model("new", 3, "candidate")]
    third = date(2024, 3, 3)
    assert chosen(models, "gone", third) == "new"
    assert chosen(models[:2], "gone", date(2024, 3, 2)) == "gone"
    assert chosen(models[:2], None, third) == "old"
    with pytest.raises(SparkrecError, match="no champion up to 2024-02-01"):
        choose_model(models, None, date(2024, 2, 1), SETTINGS)


WORSE = {"validation_ndcg10": 0.44, "validation_champion_ndcg10": 0.5}


def test_a_candidate_much_worse_than_the_champion_on_the_same_users_raises_a_doubt() -> None:
    third = date(2024, 3, 3)
    models = [a_model("old", 1, "champion"), a_model("bad", 3, "candidate", **WORSE)]
    model, (doubt,), _ = choose_model(models, None, third, SETTINGS)
    assert model["model_version"] == "bad"
    assert doubt == (
        "candidate bad did not pass: validation NDCG@10 0.4400, champion 0.5000 on the same users"
        " (recommend.max_ndcg_drop 0.1)"
    )
    for passing in (
        {**WORSE, "validation_ndcg10": 0.45},
        {"validation_ndcg10": 0.0},
        {**WORSE, "validation_champion_ndcg10": float("nan")},
    ):
        assert chosen([models[0], a_model("new", 3, "candidate", **passing)], None, third) == "new"


def test_a_setting_lets_the_champion_step_in_for_a_candidate_that_fails() -> None:
    third, lenient = date(2024, 3, 3), SETTINGS.model_copy(update={"failed_candidate": "champion"})
    models = [a_model("old", 1, "champion"), a_model("bad", 3, "candidate", **WORSE)]
    assert chosen(models, None, third, lenient) == "old"
    with pytest.raises(SparkrecError, match="candidate bad did not pass"):
        choose_model(models[1:], None, third, lenient)


def test_a_candidate_much_worse_than_most_popular_raises_a_doubt_where_enough_users_tell() -> None:
    told = {"validation_ndcg10": 0.01, "validation_popular_ndcg10": 0.03, "validation_users": 100.0}
    third = date(2024, 3, 3)
    _, (doubt,), _ = choose_model([a_model("bad", 3, "candidate", **told)], None, third, SETTINGS)
    assert "most-popular 0.0300 (recommend.min_popular_ratio 0.5)" in doubt
    for passing in ({**told, "validation_users": 99.0}, {**told, "validation_ndcg10": 0.015}):
        assert chosen([a_model("new", 3, "candidate", **passing)], None, third) == "new"


def test_a_model_of_another_vocabulary_is_refused() -> None:
    model = a_model("m", 1, "candidate")
    check_vocabulary(model, "x", 9)
    for lineage, size in (("y", 9), ("x", 8)):
        with pytest.raises(SparkrecError, match="trained on vocabulary"):
            check_vocabulary(model, lineage, size)


def test_publishing_makes_one_champion_and_an_old_night_does_not_dethrone_it(spark: SparkSession) -> None:
    def statuses(published: str, day: int, *models: tuple[str, int, str]) -> dict[str, str]:
        rows = [(v, date(2024, 3, d), "sasrec", "", "", 1, "", {}, {}, s, None) for v, d, s in models]
        frame = with_champion(spark.createDataFrame(rows, MODELS.schema), published, date(2024, 3, day))
        return {row["model_version"]: row["status"] for row in frame.collect()}

    assert statuses("b", 2, ("a", 1, "champion"), ("b", 2, "candidate")) == {"a": "retired", "b": "champion"}
    assert statuses("a", 1, ("a", 1, "candidate"), ("b", 2, "champion")) == {"a": "retired", "b": "champion"}

"""What lists are like and what they were worth, against hand arithmetic and a plain version."""

from datetime import UTC, datetime, timedelta
from itertools import combinations
from math import log2

import numpy as np
import pytest
from pyspark.sql import SparkSession

from sparkrec.evaluate.figures import summed
from sparkrec.evaluate.gains import METRICS, NO_RANK, gains_of
from sparkrec.evaluate.lists import by_user, with_deeds
from sparkrec.evaluate.properties import PROPERTIES, gini, over_all_lists, sums_of_properties, traits_of
from sparkrec.evaluate.slices import NAMES, popularity_classes
from sparkrec.evaluate.worth import SERENDIPITY, sums_of_worth

COUNTS = np.array([0, 0, 40, 30, 10, 10, 5, 5, 0, 0])
CATEGORIES = np.array([-1, -1, 900, 900, 77, 77, 77, 900, -1, -1])
LISTS = {"ann": [2, 3, 4, 5], "bob": [7, 4, 8, 9], "eve": [2, 5]}
DEEDS = {"ann": [(4, "view"), (4, "purchase"), (6, "view")], "bob": [(7, "view"), (4, "remove")], "zoe": [(2, "view")]}
TOP_K = [1, 3, 4]
DEED = "user_id string, item_idx int, event_type string, event_ts timestamp"
START = datetime(2024, 3, 2, 8, tzinfo=UTC)
PASTS = {"ann": ([5, 6, 1, 4, 4, 6], [-9, -8, -5, 0, 1, 2]), "eve": ([2], [-1])}
"""Items, and microseconds from START; bob is not known to histories."""


def frames(spark: SparkSession, partitions: int = 3) -> tuple:
    lists = [(user, rank, item) for user, items in LISTS.items() for rank, item in enumerate(items, 1)]
    deeds = [
        (user, item, kind, START + timedelta(minutes=n))
        for user, done in DEEDS.items()
        for n, (item, kind) in enumerate([*done, done[0]])
    ]
    pasts = [(user, past, [_micros(START) + shift for shift in shifts]) for user, (past, shifts) in PASTS.items()]
    return (
        spark.createDataFrame(lists, "user_id string, rank int, item_idx int").repartition(partitions),
        spark.createDataFrame(deeds, DEED).repartition(partitions),
        spark.createDataFrame(pasts, "user_id string, item_idxs array<int>, event_tss array<bigint>"),
    )


def test_properties_equal_hand_arithmetic(spark: SparkSession) -> None:
    lists, *_ = frames(spark)
    rows = summed(sums_of_properties(by_user(lists), traits_of(COUNTS, CATEGORIES), "m", TOP_K, "published")).collect()
    found = {(row["metric"], row["k"]): row for row in rows}
    assert len(rows) == len(PROPERTIES) * len(TOP_K) - 1, "a single place is neither diverse nor not"
    bits = {item: -log2(max(1, count) / 100) for item, count in enumerate(COUNTS.tolist())}
    for k in TOP_K:
        novelty = [np.mean([bits[item] for item in items[:k]]) for items in LISTS.values()]
        assert found["novelty", k]["value"] == pytest.approx(np.mean(novelty))
        assert found["novelty", k]["low"] < found["novelty", k]["value"] < found["novelty", k]["high"]
        # Items 2 and 3: half of the events lies before the second of them ends.
        popular = [np.mean([item in (2, 3) for item in items[:k]]) for items in LISTS.values()]
        assert found["popularity_share", k]["value"] == pytest.approx(np.mean(popular))
        if k == 1:
            continue
        diversity = []
        for items in LISTS.values():
            pairs = list(combinations(items[:k], 2))
            alike = [CATEGORIES[a] == CATEGORIES[b] != -1 for a, b in pairs]
            diversity.append(1 - np.mean(alike) if pairs else 0)
        assert found["diversity", k]["value"] == pytest.approx(np.mean(diversity))
        assert found["diversity", k]["num_users"] == 3


def test_coverage_and_gini_equal_hand_arithmetic(spark: SparkSession) -> None:
    lists, *_ = frames(spark)
    found = over_all_lists(lists, 8, TOP_K)
    assert found["coverage", 1] == 2 / 8
    assert found["coverage", 4] == 7 / 8
    shown = [0] * 6 + [1, 2]
    plain = sum(abs(a - b) for a in shown for b in shown) / (2 * 8 * sum(shown))
    assert found["gini", 1] == pytest.approx(plain)
    assert gini(np.zeros(0)) == gini(np.zeros(3)) == 0
    assert gini(np.ones(5)) == pytest.approx(0)
    assert gini(np.array([0.0] * 9 + [7.0])) == pytest.approx(0.9)


def _micros(moment: datetime) -> int:
    return int(moment.timestamp()) * 1_000_000


def plain_worth(user: str, wanted: set[int], k: int) -> dict[str, float]:
    ranks = [LISTS[user].index(item) + 1 if item in LISTS[user] else NO_RANK for item in sorted(wanted)]
    (gains,) = gains_of(np.zeros(len(ranks), dtype=int), np.array(ranks), 1, [k])
    most_popular = set(np.argsort(-COUNTS, kind="stable")[:k].tolist())
    surprising = [item for item in wanted if item in LISTS[user][:k] and item not in most_popular]
    return dict(zip(METRICS, gains.tolist(), strict=True)) | {SERENDIPITY: len(surprising) / k}


@pytest.mark.parametrize("partitions", [1, 4])
def test_worth_equals_the_plain_rule(spark: SparkSession, partitions: int) -> None:
    lists, deeds, pasts = frames(spark, partitions)
    users = with_deeds(by_user(lists), deeds, pasts)
    classes = popularity_classes(COUNTS)
    rows = summed(sums_of_worth(users, COUNTS, classes, "m", TOP_K, "realised")).collect()
    found = {(row["slice"], row["metric"], row["k"]): row for row in rows}
    wanted: dict[str, dict[str, set[int]]] = {}
    for user, done in DEEDS.items():
        if user in LISTS:
            for item, kind in done:
                if kind == "remove":
                    continue
                was_touched = (user, item) == ("ann", 6)
                for name in ("all", f"event {kind}", NAMES[classes[item]], "repeat" if was_touched else "novel"):
                    wanted.setdefault(name, {}).setdefault(user, set()).add(item)
    assert (
        {row["slice"] for row in rows}
        == set(wanted)
        == {"all", "repeat", "novel", "event view", "event purchase", "items tail", "items middle"}
    )
    for name, of_users in wanted.items():
        for k in TOP_K:
            plain = [plain_worth(user, items, k) for user, items in of_users.items()]
            for metric in (*METRICS, SERENDIPITY):
                row = found[name, metric, k]
                assert row["value"] == pytest.approx(np.mean([told[metric] for told in plain])), (name, metric, k)
                assert row["num_users"] == len(of_users)
    assert found["all", "hr", 3]["value"] == 1
    assert found["all", SERENDIPITY, 3]["value"] > 0

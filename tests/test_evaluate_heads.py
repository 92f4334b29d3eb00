"""What heads are worth: kinds of next events and purchases given interest, against a slow plain version."""

from collections import Counter
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
import torch
from pyspark.sql import SparkSession

from sparkrec.config.settings import WindowSettings
from sparkrec.evaluate.cases import case_states, cases_of
from sparkrec.evaluate.heads import figures_of_heads
from sparkrec.evaluate.purchases import BINS, EDGES
from sparkrec.evaluate.report.heads import tables_of_heads
from sparkrec.models.registry import build_model
from sparkrec.models.shape import ModelShape
from sparkrec.models.store import Card, load_model, save_model
from sparkrec.tables import EVENT_CODES, WINDOWS
from sparkrec.window.cut import CutPlan, cut_windows
from sparkrec.window.rows import HeldOut
from tests.contests import of_split
from tests.pasts import LENGTH, catalogue, histories

SIZE, MINUTE = 30, 60_000_000
BY_STEPS = HeldOut("sessions", None, 10 * MINUTE, 20 * MINUTE)
WORDS = {code: kind for kind, code in EVENT_CODES.items()}


def windows(how: HeldOut) -> pa.RecordBatch:
    rng = np.random.default_rng(3)
    sizes = rng.integers(4, 14, 80)
    pasts = [np.where(rng.random(size) < 0.4, 1, rng.integers(2, SIZE, size)).tolist() for size in sizes]
    kinds = [[4 if item == 1 else int(rng.choice([1, 1, 1, 2, 3])) for item in past] for past in pasts]
    minutes = [np.sort(rng.integers(0, 30, size)).tolist() for size in sizes]
    plan = CutPlan(date(2024, 3, 1), LENGTH, LENGTH, 1, 7, how)
    return cut_windows(histories(*pasts, kinds=kinds, minutes=minutes), plan, catalogue(SIZE))


def model(folder: Path, architecture: str, *heads: str) -> str:
    torch.manual_seed(5)
    shape = ModelShape(SIZE - 3, LENGTH, 16, 1, 2, 0.0, num_users=50, heads=heads)
    built = build_model(architecture, shape)
    for parameter in built.parameters():  # wide apart, so that every kind is said sometimes
        torch.nn.init.normal_(parameter)
    built.is_known_V[2:20] = True
    save_model(folder, built, Card("v", architecture, shape, "line"))
    return str(folder)


def figures(spark: SparkSession, how: HeldOut, models: dict[str, str], **settings: Any) -> pl.DataFrame:
    rows = spark.createDataFrame(windows(how).to_pylist(), WINDOWS.schema).repartition(3)
    (found,) = figures_of_heads(rows, models, WindowSettings(**settings))
    return pl.DataFrame(found.toArrow())


@pytest.mark.parametrize("how", [HeldOut(), BY_STEPS])
@pytest.mark.parametrize("head", ["next_action", "own_action"])
def test_kinds_of_events_are_counted_as_by_hand(spark: SparkSession, tmp_path: Path, how: HeldOut, head: str) -> None:
    folder, other = model(tmp_path / "m", "sasrec", head), model(tmp_path / "other", "gru4rec", head)
    found = figures(spark, how, {"m": folder, "other": other}, held_out="sessions" if how is BY_STEPS else "last_items")
    test, train = of_split(windows(how), "test"), of_split(windows(how), "train")
    (majority, _), *_ = Counter(n for row in train["target_types"].to_pylist() for n in row if n).most_common()
    said: dict[str, list[tuple[int, int]]] = {"m": [], "majority": [], "repeat_last": []}
    scored = load_model(folder)
    for row in test.to_pylist():
        inputs = {name: torch.tensor([row[name]]) for name in ("item_idxs", "event_types")}
        inputs["item_idxs"][inputs["item_idxs"] >= 20] = 1
        with torch.inference_mode():
            logits_LE = scored.action_logits(scored.states(inputs)[0], head)
        for position, kind in enumerate(row["target_types"]):
            if kind:
                last = row["event_types"][position]
                true = last if head == "own_action" else kind
                said["m"].append((int(logits_LE[position, 1:].argmax()) + 1, true))
                said["majority"].append((majority, true))
                said["repeat_last"].append((last, true))
    for name, pairs in said.items():
        mine = found.filter(model_version=name, against="")
        right = sum(one == other for one, other in pairs)
        assert mine.filter(metric="accuracy")["value"].item() == pytest.approx(right / len(pairs))
        for code, kind in WORDS.items():
            hits = sum(one == other == code for one, other in pairs)
            predicted, true = (sum(pair[place] == code for pair in pairs) for place in (0, 1))
            told = dict(mine.filter(slice=f"action {kind}").select("metric", "value").rows())
            wanted = {"precision": hits / max(predicted, 1), "recall": hits / max(true, 1)}
            wanted["f1"] = 2 * hits / max(predicted + true, 1)
            assert told == (pytest.approx(wanted) if predicted or true else {}), kind
    paired = found.filter(model_version="m", against="majority", metric="accuracy")["value"].item()
    assert paired == pytest.approx(
        np.mean([a == t for a, t in said["m"]]) - np.mean([a == t for a, t in said["majority"]])
    )
    told = dict(found.filter(metric="accuracy", against="").select("model_version", "value").rows())
    rows = found.filter(pl.col("against") != "").select("model_version", "against", "value").rows()
    pairs = {(one, two): value for one, two, value in rows}
    assert pairs.keys() == {("m", "other"), ("m", "majority"), ("m", "repeat_last"), ("other", "majority")}
    assert all(value == pytest.approx(told[one] - told[two]) for (one, two), value in pairs.items())
    if head == "own_action":
        assert found.filter(model_version="repeat_last", metric="accuracy", against="")["value"].item() == 1
    if how is BY_STEPS:
        assert any(true == EVENT_CODES["search"] for _, true in said["m"]), "searches are next events, too"


@pytest.mark.parametrize("architecture", ["sasrec", "cnn_hybrid"])
def test_chances_of_purchases_are_held_against_what_happened_as_by_hand(
    spark: SparkSession, tmp_path: Path, architecture: str
) -> None:
    folder = model(tmp_path / "m", architecture, "purchase")
    found = figures(spark, HeldOut(), {"m": folder})
    test, train = of_split(windows(HeldOut()), "test"), of_split(windows(HeldOut()), "train")
    kinds = [n for row in train["target_types"].to_pylist() for n in row if n not in (0, EVENT_CODES["search"])]
    share = kinds.count(3) / len(kinds)
    scored, cases = load_model(folder), cases_of(test, by_steps=False)
    with torch.inference_mode():
        state_CD = case_states(scored, test, cases)
        item_P = torch.where(cases.sought.item_P < 20, cases.sought.item_P, 1)
        chances = torch.sigmoid(scored.purchase_logits(state_CD, item_P[:, None])).flatten().tolist()
    bought = [kind == 3 for kind in cases.type_P]
    for name, said in (("m", chances), ("constant", [share] * len(bought))):
        pairs = list(zip(said, bought, strict=True))
        mine = found.filter(model_version=name)
        told = dict(mine.filter(slice="all").select("metric", "value").rows())
        in_bins = {
            word: [(p, y) for p, y in pairs if low <= p < high or (high == 1 and p == 1)]
            for word, low, high in zip(BINS, EDGES, EDGES[1:], strict=False)
        }
        off = sum(abs(sum(p - y for p, y in of_bin)) for of_bin in in_bins.values()) / len(pairs)
        held = [(min(max(p, 1e-7), 1 - 1e-7), y) for p, y in pairs]
        assert told == pytest.approx(
            {
                "brier": np.mean([(p - y) ** 2 for p, y in pairs]),
                "log_loss": -np.mean([np.log(p if y else 1 - p) for p, y in held]),
                "predicted": np.mean(said),
                "bought": np.mean(bought),
                "calibration_error": off,
            },
            rel=1e-4,
        )
        for word, of_bin in in_bins.items():
            there = dict(mine.filter(slice=word).select("metric", "value").rows())
            wanted = dict(zip(("predicted", "bought"), np.mean(of_bin, axis=0), strict=True)) if of_bin else {}
            assert there == pytest.approx(wanted, rel=1e-4)


def test_where_purchases_alone_are_held_out_or_no_head_is_there_there_is_nothing_to_tell(
    spark: SparkSession, tmp_path: Path
) -> None:
    rows = spark.createDataFrame(windows(HeldOut()).to_pylist(), WINDOWS.schema)
    with_head = {"m": model(tmp_path / "m", "sasrec", "purchase")}
    assert not figures_of_heads(rows, with_head, WindowSettings(held_out_events=["purchase"]))
    assert not figures_of_heads(rows, {"m": model(tmp_path / "plain", "sasrec")}, WindowSettings())


def test_the_page_has_a_table_per_head(spark: SparkSession, tmp_path: Path) -> None:
    folder = model(tmp_path / "m", "sasrec", "next_action", "purchase")
    rows = spark.createDataFrame(windows(HeldOut()).to_pylist(), WINDOWS.schema)
    frames = figures_of_heads(rows, {"m": folder}, WindowSettings())
    told = [row.asDict() for frame in frames for row in frame.collect()]
    night: Any = SimpleNamespace(version="m", metrics=told)
    actions, purchases, bins = tables_of_heads(night)
    assert [row[0] for row in actions["rows"]] == ["m", "majority", "repeat last"]
    assert [row[0] for row in purchases["rows"]] == ["m", "constant"]
    found = {
        (row["slice"], row["metric"]): row["value"]
        for row in told
        if (row["model_version"], row["against"]) == ("m", "")
    }
    assert actions["rows"][0][1] == f"{found['all', 'accuracy']:.4f}"
    assert purchases["rows"][0][1] == f"{found['all', 'brier']:.4f}"
    assert sum(int(row[3]) for row in bins["rows"]) == len(of_split(windows(HeldOut()), "test"))
    assert not tables_of_heads(SimpleNamespace(version="m", metrics=[]))  # type: ignore[arg-type]

"""Tables of quality: how files become clicks, what is done again after a run was cut off, and what a table says."""

import doctest
import gzip
import importlib
import json
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import bench_quality
import paper_tables
import polars as pl
import pyarrow as pa
import pytest
from bench_quality import HEADLINE, ONE, SETS, SIMPLE, comparisons, of_seeds, rows_of
from data_sets import known
from deltalake import write_deltalake
from lakes import MEASURED, DataSet, Entry, Lake, Scale, candidate_of
from page import filled_in, named
from paper_c import CLAIMS, Claim, between_others, difference, verdict, verdicts
from retailrocket import companies, maximal, write_buyers

from sparkrec.config import load_settings
from sparkrec.job import code_version
from sparkrec.models.registry import LEARNT

SAMPLED = "leave_one_out_purchase_sampled_999"


def figure(model: str, value: float, against: str = "", low: float | None = None, high: float | None = None) -> Any:
    return {
        "protocol": SAMPLED, "slice": "all", "model_version": model, "against": against, "metric": "ndcg", "k": 10,
        "value": value, "low": low, "high": high, "num_users": 9,
    }  # fmt: skip


def told(version: str, settings: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    return {
        "version": version, "settings": list(settings), "code": code_version(), "seconds": 12.3, "epochs": 4,
        "resumed": False, "users": 9, "hr10": 0.5, "ndcg10": 0.25, **more,
    }  # fmt: skip


def test_every_claim_of_the_paper_is_measured_by_some_comparison() -> None:
    measured = {frozenset((one, other)) for one, others in between_others().items() for other in others}
    left = [claim for claim in CLAIMS if claim.better != "cnn_hybrid"]
    assert len(left) > 2
    assert all(frozenset((claim.better, claim.worse)) in measured for claim in left)
    assert "ite" not in between_others(), "it scores pairs"


def test_of_rows_that_begin_one_another_the_longest_is_kept() -> None:
    a, b, c = ("a", "view"), ("b", "cart"), ("c", "purchase")
    assert maximal([(a, b), (a, b, c), (a,), (a, b, c), (b, c)]) == [(a, b, c), (b, c)]
    assert maximal([(a, b), (("ab", "view"), b)]) == [(a, b), (("ab", "view"), b)]


def test_an_earlier_purchase_is_a_purchase_and_the_held_out_one_comes_last(tmp_path: Path) -> None:
    file = tmp_path / "rows.gz"
    lines = ["head", "1\t5 5\t2 1\t5", "2\t5 5 5 8\t2 1 3 2\t9", "3\t5 5 5 8\t2 1 0 2\t9", "4\t7\t2\t7"]
    with gzip.open(file, "wt") as out:
        out.write("\n".join(lines))
    write_buyers([file], tmp_path)
    clicks = pl.read_parquet(tmp_path / "clicks.parquet")
    assert clicks.filter(user="buyer 1")["item"].to_list() == ["5", "5", "5", "8", "9"]
    assert clicks.filter(user="buyer 1")["event"].to_list() == ["view", "cart", "purchase", "view", "purchase"]
    assert clicks.filter(user="buyer 1")["second"].diff().to_list()[1:] == [1, 1, 1, 1]
    assert clicks.filter(user="buyer 2")["item"].to_list() == ["7", "7"]
    assert clicks["user"].n_unique() == 2


def test_items_seen_side_by_side_are_one_company_and_what_is_held_out_does_not_tell(tmp_path: Path) -> None:
    assert companies([["a", "b"], ["b", "c"], ["x", "x", "y"], ["z"]]) == {
        **dict.fromkeys("abc", "a"),
        **dict.fromkeys("xy", "x"),
    }
    # c stood beside d once, beside e twice: it goes with e.
    assert companies([["c", "d"], ["d", "f"], ["d", "f"], ["c", "e", "c"]]) == {"c": "c", "e": "c", "d": "d", "f": "d"}
    file = tmp_path / "rows.gz"
    with gzip.open(file, "wt") as out:
        out.write("head\n1\t1 2\t2 2\t3\n")
    write_buyers([file], tmp_path)
    assert pl.read_parquet(tmp_path / "catalogue.parquet")["item_id"].to_list() == ["1", "2"]


def test_a_claim_holds_where_the_interval_excludes_zero_and_the_gain_is_large_enough() -> None:
    plain, by_far = Claim("ours", "theirs"), Claim("ours", "theirs", by_share=0.15)
    sure = {"value": 0.1, "low": 0.05, "high": 0.15}
    assert verdict(plain, 1.0, sure) == "holds"
    assert verdict(by_far, 1.0, sure) == "does not hold: better, but by 10%"
    assert verdict(by_far, 0.5, sure) == "holds (+20%)"
    assert verdict(plain, 1.0, {"value": 0.1, "low": 0.0, "high": 0.2}).startswith("does not hold: the interval")
    assert verdict(plain, 1.0, {"value": -0.1, "low": -0.2, "high": -0.01}).endswith("the other way round")
    assert verdict(plain, 1.0, {"value": 0.0, "low": None, "high": None}).startswith("does not hold")


def test_a_difference_is_found_whichever_model_was_compared_with_the_other() -> None:
    rows = [figure("v1", 0.3), figure("v2", 0.2), figure("v1", 0.1, "v2", 0.05, 0.15)]
    figures = named(rows, {"v1": "cnn_hybrid", "v2": "ite"})
    there = difference(figures, "cnn_hybrid", "ite", "all", "ndcg")
    back = difference(figures, "ite", "cnn_hybrid", "all", "ndcg")
    assert there and back and (there["value"], there["low"]) == (0.1, 0.05)
    assert (back["value"], back["low"], back["high"]) == (-0.1, -0.15, -0.05)
    (hybrid, _), *rest = [(row, row[0]) for row in verdicts(CLAIMS, figures) if row[1] == "NDCG@10"]
    assert hybrid[2:] == [".3000 against .2000", "+0.1000 (+0.0500 to +0.1500) *", "holds"]
    assert {row[-1] for row, _ in rest} == {"not measured"}


def test_rows_of_earlier_runs_stay_in_the_table_in_its_order() -> None:
    entries = (Entry("default"), Entry("mf", ("train.model=mf",)), Entry("caser", ("train.model=caser",)))
    trained = {"caser": told("v3", resumed=True), "default": told("v1")}
    figures = [figure("v1", 0.3, "", 0.2, 0.4), figure("v1", 0.1, "popular", 0.05, 0.2), figure("popular", 0.2)]
    figures += [row | {"metric": "hr"} for row in figures] + [figure("v1", 0.1) | {"slice": "novel"}]
    rows = rows_of("beauty", 7, entries, trained, figures)
    assert [row[1] for row in rows] == ["default", "caser", "most popular"]
    assert rows[0][3:] == ["9", ".3000", ".3000 (.2000 to .4000)", "", ".1000", "", "", "4", "12", ""]
    assert rows[1][3:] == [
        "9",
        ".5000",
        ".2500",
        "",
        "",
        "",
        "not compared yet",
        "4",
        "12+",
        "`--set train.model=caser`",
    ]
    assert rows[2][8:10] == ["default", "-0.1000 (-0.2000 to -0.0500) *"]
    assert rows_of("beauty", 7, entries, {}, []) == []


def test_seeds_are_taken_together_of_those_that_are_measured(tmp_path: Path) -> None:
    scale = Scale(work=tmp_path)
    for seed, value in ((7, 0.1), (9, 0.2)):
        lake = Lake(known()["beauty"], seed, scale)
        lake.folder.mkdir(parents=True)
        single = told("v2", ONE.settings, hr10=value, ndcg10=value / 2)
        trained = {"default": told("v1", hr10=2 * value, ndcg10=value)} | ({ONE.name: single} if seed == 9 else {})
        lake.results.write_text(json.dumps({"trained": trained, "compared": {}}))
    assert of_seeds(scale).splitlines()[2:] == [
        "| beauty | default | 2 | .3000 (.2000 to .4000) | .1500 (.1000 to .2000) | .1008 / .0611 |",
        "| beauty | one member | 1 | .2000 (.2000 to .2000) | .1000 (.1000 to .1000) | .1008 / .0611 |",
    ]


def test_single_models_are_held_against_the_single_default_and_that_against_the_default() -> None:
    by_set = {name: comparisons(entries) for name, entries in SETS.items()}
    assert by_set["beauty_attributes"] == [(HEADLINE, [ONE])]
    assert by_set["taobao"] == [(HEADLINE, [ONE, *SIMPLE])]
    (first, others), (single, rest) = by_set["beauty"]
    assert (first, others, single) == (HEADLINE, [ONE, *SIMPLE], ONE)
    assert {first, *others, *rest} == set(SETS["beauty"])
    trains = [load_settings("conf/local.yaml", entry.settings).train for entry in rest]
    assert {train.model for train in trains} == {*LEARNT}
    assert {train.members for train in trains} == {1}


class Night(Lake):
    """A lake whose jobs are only written down; `train` leaves a candidate named after its settings."""

    jobs: list[str]

    def run(self, job: str, *words: str, settings: Any = ()) -> None:
        self.jobs = [*getattr(self, "jobs", []), job]
        if job == "evaluate":
            rows = [figure(model, 0.3) | {"run_date": self.data.day} for model in ("va=1", "vb=1")]
            rows.append(rows[0] | {"protocol": "published"})
            rows.append(rows[0] | {"slice": "users new"})
            metrics = pl.DataFrame(rows).with_columns(pl.col("low", "high").cast(pl.Float64))
            metrics.write_delta(str(self.folder / "lake" / "metrics"), mode="overwrite")
        if job != "train":
            return
        version = f"v{''.join(settings)}"
        model = self.folder / "lake" / "_models" / version
        model.mkdir(parents=True, exist_ok=True)
        (model / "training.json").write_text('{"best_epoch": 1, "resumed_at": 0}')
        columns = {"model_version": [version], "path": [str(model)], "status": ["candidate"]}
        figures = pa.array([[("test_users", 3.0), ("test_ndcg10", 0.5)]], pa.map_(pa.string(), pa.float64()))
        models = pa.table(columns).append_column("metrics", figures)
        write_deltalake(str(self.folder / "lake" / "models"), models, mode="overwrite")


FEW = DataSet("few", "2024-03-01", "", "", "leave_one_out_full")


def night(folder: Path) -> Night:
    lake = Night(FEW, 7, Scale(work=folder))
    lake.make()
    return lake


def test_what_is_done_is_not_done_again_unless_settings_or_the_code_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = Entry("one", ("train.width=8",))
    first = night(tmp_path)
    assert first.train(entry) == "vtrain.width=8"
    assert first.jobs == ["prepare", "window", "train"]
    again = night(tmp_path)
    assert again.train(entry) == "vtrain.width=8"
    assert not hasattr(again, "jobs")
    assert again.train(Entry("one", ("train.width=16",))) == "vtrain.width=16"
    assert again.jobs == ["train"]
    monkeypatch.setattr("lakes.code_version", lambda: "another")
    again.train(Entry("one", ("train.width=16",)))
    assert again.jobs == ["train", "train"]


def test_a_comparison_is_done_again_when_a_model_is_new(tmp_path: Path) -> None:
    first, other, third = Entry("a", ("a=1",)), Entry("b", ("b=1",)), Entry("c", ("c=1",))
    lake = night(tmp_path)
    lake.compare(first, [other])
    assert lake.jobs == ["prepare", "window", "train", "train", "train", "recommend", "evaluate"]
    assert [row["model_version"] for row in lake.figures(first)] == ["va=1", "vb=1"]
    again = night(tmp_path)
    again.compare(first, [other])
    assert not hasattr(again, "jobs")
    again.compare(first, [other, third])
    assert again.jobs == ["train", "train", "recommend", "evaluate"]


def test_results_are_enough_where_all_is_compared_and_models_are_trained_again_where_it_is_not(tmp_path: Path) -> None:
    first, other, third = Entry("a", ("a=1",)), Entry("b", ("b=1",)), Entry("c", ("c=1",))
    Night(FEW, 7, Scale(work=tmp_path)).measure((first, [other]), (other, [first]))
    shutil.rmtree(tmp_path / "few-7")  # the lake
    again = Night(FEW, 7, Scale(work=tmp_path))
    again.measure((first, [other]), (other, [first]))
    assert not hasattr(again, "jobs")
    assert len(again.figures(first)) == 2
    again.measure((first, [other, third]))
    assert again.jobs == ["prepare", "window", *["train"] * 4, "recommend", "evaluate"]


def test_results_are_the_projects_unless_it_is_a_trial() -> None:
    assert Lake(FEW, 7, Scale()).results.parent == MEASURED
    assert Lake(FEW, 7, Scale.trial(9)).results.parent == Scale.trial(9).work != MEASURED


def test_of_rankings_only_slices_that_tables_show_are_kept(tmp_path: Path) -> None:
    lake = night(tmp_path)
    lake.compare(Entry("a", ("a=1",)), [])
    assert {(row["slice"], row["protocol"]) for row in lake.figures(Entry("a"))} == {("all", SAMPLED)}


def test_figures_of_a_model_that_was_trained_anew_are_not_told(tmp_path: Path) -> None:
    lake = night(tmp_path)
    rows = [figure("v1", 0.3), figure("v2", 0.2), figure("v1", 0.1, "v2"), figure("popular", 0.1)]
    stored = {
        "trained": {"a": told("v1"), "b": told("v3")},
        "compared": {"a": {"versions": {"a": "v1", "b": "v2"}, "rows": rows}},
    }
    lake.results.write_text(json.dumps(stored))
    assert lake.figures(Entry("a")) == [rows[0], rows[3]]


def test_the_champion_that_is_used_again_is_the_one_in_question() -> None:
    retired, champion = {"status": "retired", "n": 1}, {"status": "champion", "n": 2}
    assert candidate_of([retired, champion])["n"] == 2
    assert candidate_of([champion, {"status": "candidate", "n": 3}])["n"] == 3


@pytest.mark.parametrize("command", [bench_quality, paper_tables])
def test_pages_show_what_is_measured(command: ModuleType) -> None:
    shown = Scale().page(command.PAGE).read_text()
    assert [name for name, table in command.tables(Scale()).items() if filled_in(shown, name, table) != shown] == []


def test_a_page_without_the_place_is_refused() -> None:
    with pytest.raises(SystemExit, match="no place"):
        filled_in("nothing here", "table", "text")


def test_examples_in_docstrings_of_pages_hold() -> None:
    assert doctest.testmod(importlib.import_module("page")).failed == 0


def test_commands_name_no_path_of_this_machine() -> None:
    assert not [
        data.command()
        for data in known().values()
        if "--input /" in data.command() or str(Path.home()) in data.command()
    ]

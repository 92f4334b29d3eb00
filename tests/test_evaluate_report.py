"""The page of a night stands alone, and says what became of the night, whatever that was."""

import json
import re
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from sparkrec.arguments import parse
from sparkrec.config import load_settings
from sparkrec.errors import SparkrecError
from sparkrec.evaluate.limits import Limit
from sparkrec.evaluate.report import plots
from sparkrec.evaluate.report.gather import gather
from sparkrec.evaluate.report.page import as_page
from sparkrec.evaluate.report.verdict import as_lines, is_well
from sparkrec.evaluate.report.write import reported, write_report
from sparkrec.lake import Lake
from tests.nights import DAY
from tests.running import run_job, table

NIGHT = date(2024, 3, DAY)
SECTIONS = ("happened", "good", "healthy", "people", "cost")


def page(spark: SparkSession, root: Path, day: date = NIGHT) -> str:
    settings = load_settings("conf/local.yaml", [], lake=str(root))
    told = gather(Lake(spark, str(root)), day, settings)
    found = write_report(told, str(root)).read_text()
    assert all(f'id="{name}"' in found and f'href="#{name}"' in found for name in SECTIONS)
    loaded = re.findall(r'(?:src|href)="(?!#)([^"]*)"|url\((?!#)([^)]*)\)|@import', found)
    assert not [link for link in loaded if any(link)], "nothing is loaded from anywhere"
    return found


def test_the_page_of_a_whole_night_tells_everything(spark: SparkSession, lake: Path) -> None:
    run_job(spark, "evaluate", "--lake", lake, "--date", str(NIGHT))
    assert (lake / "_reports" / f"{NIGHT}.html").exists()
    found = page(spark, lake)
    assert "Published: " in found
    assert found.count("<svg") >= 4
    assert found.count("<summary>") == 12, "ten users, the slices, and other cut-offs"
    rows = table(lake, "metrics").filter(protocol="leave_one_out_full", slice="all", metric="ndcg", k=10, against="")
    assert f"{rows.filter(model_version='first')['value'].item():.4f}" in found
    assert "What the last night's lists were worth" in found
    assert "recommend.max_fallback_share" in found
    earlier = date(2024, 3, DAY - 1)
    settings = load_settings("conf/local.yaml", [], lake=str(lake))
    told = gather(Lake(spark, str(lake)), earlier, settings)
    days = {
        datetime.fromtimestamp(event["event_tss"] / 1e6, UTC).date() for user in told.people for event in user["past"]
    }
    assert max(days) == earlier, "what people did after the lists were made does not stand beside them"


def test_the_report_as_json_has_the_numbers(spark: SparkSession, lake: Path) -> None:
    run_job(spark, "evaluate", "--lake", lake, "--date", str(NIGHT), "--format", "json")
    told = json.loads((lake / "_reports" / f"{NIGHT}.json").read_text())
    assert told["version"] == "first"
    assert len(told["metrics"]) == len(table(lake, "metrics").filter(run_date=NIGHT))
    assert len(told["people"]) == 10
    assert told["stages"]["evaluate"]["status"] == "complete"
    assert {limit["is_kept"] for limit in told["limits"]} == {True}


def test_a_terminal_shows_the_night_in_a_few_lines(spark: SparkSession, lake: Path) -> None:
    settings = load_settings("conf/local.yaml", [], lake=str(lake))
    night = gather(Lake(spark, str(lake)), NIGHT, settings)
    rows = [
        ("leave_one_out_full", "ndcg", 10, "first", "", 0.25, 0.2, 0.3),
        ("leave_one_out_full", "ndcg", 10, "first", "second", -0.01, None, None),
        ("leave_one_out_full", "ndcg", 5, "first", "", 0.2, 0.1, 0.3),
        ("realised", "hr", 5, "second", "", 0.3, 0.2, 0.4),
        ("realised", "hr", 10, "second", "", 0.5, 0.4, 0.6),
        ("realised", "hr", 20, "second", "", 0.6, 0.5, 0.7),
    ]
    names = ("protocol", "metric", "k", "model_version", "against", "value", "low", "high")
    metrics = [dict(zip(names, row, strict=True)) | {"slice": "all", "num_users": 1234} for row in rows]
    kept = Limit("overlap", 0.5, True, 0.1, "min_overlap", "of a list was in the last one")
    passed = Limit("drift of x", 0.5, False, 0.25, "max_drift", "stability index of x")
    told = replace(
        night, metrics=metrics, limits=[kept, passed], counts={"rows published": 9300, "users with a list": 930}
    )
    assert as_lines(told).splitlines() == [
        "",
        "The night of 2024-03-03. Published: 9,300 rows for 930 users, by first.",
        "  NDCG@10 0.2500 (0.2000 to 0.3000), -0.0100 against second",
        "  the last night's lists: HR@10 0.5000 (0.4000 to 0.6000) over 1,234 users who came back",
        "  limits exceeded: 0.500 stability index of x (recommend.max_drift 0.25)",
    ]
    assert as_lines(replace(told, limits=[kept], metrics=[])).splitlines()[2:] == ["  all 1 limits are kept"]
    assert is_well(told) and not is_well(replace(told, failure="out of memory"))
    drawn = as_page(replace(told, drift=[{"run_date": NIGHT, "group": "of x", "value": 0.5}], champion="second"))
    assert "second is the model of the night before" in drawn


def test_names_that_look_like_formulas_or_markup_are_shown_as_they_are() -> None:
    odd = {"from $5_^$ up": 3, "<script>alert(1)</script>": 2, "a.very.long.path.of.categories.that.has.no.end": 1}
    found = plots.bars(odd, "rows")
    assert "from $5_^$ up" in found and "<script>" not in found
    assert "…" in found and "that.has.no.end" in found


def test_a_report_that_cannot_be_written_ends_nothing(
    spark: SparkSession,
    lake: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (lake / "_reports").rename(lake / "_reports_of_before")
    (lake / "_reports").write_text("a file")
    with reported(str(lake), spark, parse("evaluate", "", ["--lake", str(lake), "--date", str(NIGHT)])):
        pass
    assert "report: not written, FileExistsError" in capsys.readouterr().out


def test_a_refused_command_says_so_on_the_page_and_leaves_a_good_night_good(spark: SparkSession, lake: Path) -> None:
    with pytest.raises(SparkrecError, match="model typo"):
        run_job(spark, "evaluate", "--lake", lake, "--date", str(NIGHT), "--against", "typo")
    found = (lake / "_reports" / f"{NIGHT}.html").read_text()
    assert "Published: " in found and "ended with: model typo" in found
    assert "Failed" not in found
    with pytest.raises(SparkrecError):
        run_job(spark, "evaluate", "--lake", lake, "--date", "2024-03-09")
    assert "Nothing is published (" in (lake / "_reports" / "2024-03-09.html").read_text()


def test_nights_that_failed_or_never_were_make_a_page_too(spark: SparkSession, lake: Path, tmp_path: Path) -> None:
    strict = ("--set", "recommend.min_coverage=1")
    with pytest.raises(SparkrecError, match="not published"):
        run_job(spark, "recommend", "--lake", lake, "--date", str(NIGHT), *strict)
    found = page(spark, lake)
    assert "Failed in recommend" in found
    assert "not reached" in found and "at least 100 %" in found, "the limit of that run, not of whoever writes the page"
    nothing = page(spark, tmp_path / "empty")
    assert "Nothing is published (prepare has not run)" in nothing
    assert "No stage has left a record" in nothing
    assert "Nothing is published" in page(spark, lake, date(2024, 3, 9))

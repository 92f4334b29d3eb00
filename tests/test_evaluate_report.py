"""The page of a night stands alone, and says what became of the night, whatever that was."""

import json
import re
from datetime import date
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from sparkrec.config import load_settings
from sparkrec.errors import SparkrecError
from sparkrec.evaluate.report.write import write_report
from sparkrec.lake import Lake
from tests.running import run_job, table
from tests.test_evaluate_job import DAY, lake, night  # noqa: F401 fixtures

NIGHT = date(2024, 3, DAY)
SECTIONS = ("happened", "good", "healthy", "people", "cost")


def page(spark: SparkSession, root: Path, day: date = NIGHT) -> str:
    settings = load_settings("conf/local.yaml", [], lake=str(root))
    found = write_report(Lake(spark, str(root)), day, settings).read_text()
    assert all(f'id="{name}"' in found and f'href="#{name}"' in found for name in SECTIONS)
    loaded = re.findall(r'(?:src|href)="(?!#)([^"]*)"|url\((?!#)([^)]*)\)|@import', found)
    assert not [link for link in loaded if any(link)], "nothing is loaded from anywhere"
    return found


def test_the_page_of_a_whole_night_tells_everything(spark: SparkSession, lake: Path) -> None:  # noqa: F811
    run_job(spark, "evaluate", "--lake", lake, "--date", str(NIGHT))
    assert (lake / "_reports" / f"{NIGHT}.html").exists()
    found = page(spark, lake)
    assert "Published: " in found
    assert found.count("<svg") >= 4
    assert found.count("<summary>") == 11, "ten users, and the slices"
    rows = table(lake, "metrics").filter(protocol="leave_one_out_full", slice="all", metric="ndcg", k=10, against="")
    assert f"{rows.filter(model_version='first')['value'].item():.4f}" in found
    assert "What the last night's lists were worth" in found
    assert "recommend.max_fallback_share" in found


def test_the_report_as_json_has_the_numbers(spark: SparkSession, lake: Path) -> None:  # noqa: F811
    run_job(spark, "evaluate", "--lake", lake, "--date", str(NIGHT), "--format", "json")
    told = json.loads((lake / "_reports" / f"{NIGHT}.json").read_text())
    assert told["version"] == "first"
    assert len(told["metrics"]) == len(table(lake, "metrics"))
    assert len(told["people"]) == 10
    assert told["stages"]["evaluate"]["status"] == "complete"


def test_nights_that_failed_or_never_were_make_a_page_too(spark: SparkSession, lake: Path, tmp_path: Path) -> None:  # noqa: F811
    strict = ("--set", "recommend.min_coverage=1")
    with pytest.raises(SparkrecError, match="not published"):
        run_job(spark, "recommend", "--lake", lake, "--date", str(NIGHT), *strict)
    assert "Failed in recommend" in page(spark, lake)
    nothing = page(spark, tmp_path / "empty")
    assert "Nothing is published, prepare has not run" in nothing
    assert "No stage has left a record" in nothing
    assert "Nothing is published" in page(spark, lake, date(2024, 3, 9))

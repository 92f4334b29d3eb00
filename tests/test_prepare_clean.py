"""Every raw row ends somewhere, with a reason."""

from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest
from pyspark.sql import DataFrame, SparkSession

from sparkrec.config import Source, load_source
from sparkrec.prepare.clean import LATER, judge
from sparkrec.prepare.inputs import resolve_input
from sparkrec.prepare.plan import local_day
from sparkrec.prepare.read import read_clicks

DAY = date(2024, 3, 2)
ASKED_AT = datetime(2024, 3, 10, 3, tzinfo=UTC)
HEAD = "event_time,event_type,user_id,item_id,price,category,query,brand"


@pytest.fixture(scope="module")
def sample_source() -> Source:
    return load_source("conf/sources/sample.yaml")


def read(spark: SparkSession, source: Source, folder: Path, day: date = DAY) -> DataFrame:
    return read_clicks(spark, resolve_input(source, str(folder), day).pieces[0])


def verdicts(spark: SparkSession, source: Source, folder: Path, *lines: str) -> list[str | None]:
    (folder / "clicks.csv").write_text("\n".join([HEAD, *lines]))
    judged = judge(read(spark, source, folder), source, DAY, ASKED_AT)
    return [row["verdict"] for row in judged.orderBy("raw").collect()]


@pytest.mark.parametrize(
    ("line", "verdict"),
    [
        ("2024-03-02 10:00:00 UTC,view,ann,i1,9.50,,,", None),
        ("2024-03-02 10:00:00,view,ann,i1,,,,", None),
        ("2024-03-02T10:00:00.250+01:00,cart,ann,i1,0,,,", None),
        ("2024-03-02 10:00:00 UTC,search,ann,,,,red shoes,", None),
        ("2024-03-03 00:00:00 UTC,view,ann,i1,,,,", LATER),
        ("2024-03-11 02:59:59 UTC,view,ann,i1,,,,", LATER),
        ("2024-03-11 03:00:00 UTC,view,ann,i1,,,,", "future time"),
        ("2024-03-02 10:00:00 UTC,view,ann,i1", "malformed"),
        ("2024-03-02 10:00:00 UTC,view,ann,i1,1,2,3,4,5,6", "malformed"),
        ("yesterday,view,ann,i1,,,,", "bad time"),
        (",view,ann,i1,,,,", "bad time"),
        ("10:15:00,view,ann,i1,,,,", "bad time"),
        ("2024-03-02 10:00:00 UTC,view,,i1,,,,", "null user"),
        ("2024-03-02 10:00:00 UTC,view,  ,i1,,,,", "null user"),
        ("2024-03-02 10:00:00 UTC,view,ann,,,,,", "null item"),
        ("2024-03-02 10:00:00 UTC,hover,ann,i1,,,,", "unknown event type"),
        ("2024-03-02 10:00:00 UTC,,ann,i1,,,,", "unknown event type"),
        ("2024-03-02 10:00:00 UTC,view,ann,i1,cheap,,,", "bad price"),
        ("2024-03-02 10:00:00 UTC,view,ann,i1,-1,,,", "negative price"),
        ("2024-03-02 10:00:00 UTC,view,ann,i1,NaN,,,", "negative price"),
    ],
)
def test_every_row_gets_its_verdict(
    spark: SparkSession, sample_source: Source, tmp_path: Path, line: str, verdict: str | None
) -> None:
    assert verdicts(spark, sample_source, tmp_path, line) == [verdict]


def test_rows_without_a_user_do_not_all_meet_in_one_task(
    spark: SparkSession, sample_source: Source, tmp_path: Path
) -> None:
    lines = [f"2024-03-02 10:00:{second:02} UTC,view,,i1,,,," for second in range(20)]
    (tmp_path / "clicks.csv").write_text("\n".join([HEAD, *lines]))
    judged = judge(read(spark, sample_source, tmp_path), sample_source, DAY, ASKED_AT)
    assert judged.select("user_key").distinct().count() == 20


def test_a_malformed_line_is_kept_as_it_was(spark: SparkSession, sample_source: Source, tmp_path: Path) -> None:
    (tmp_path / "clicks.csv").write_text(f"{HEAD}\n2024-03-02 10:00:00 UTC,vi")
    row = read(spark, sample_source, tmp_path).first()
    assert row is not None
    assert row["raw"] == "2024-03-02 10:00:00 UTC,vi"
    assert row["source_file"].endswith("clicks.csv")


def test_unix_seconds_fall_on_the_day_of_the_sources_zone(spark: SparkSession, tmp_path: Path) -> None:
    taobao = load_source("conf/sources/taobao.yaml")
    # 1511539200 is midnight of 25 November 2017 in Shanghai, when the period starts; 16 hours earlier in UTC.
    (tmp_path / "b.csv").write_text(
        "1,10,5,pv,1511539199\n1,10,5,pv,1511539200\n1,10,5,buy,1511625599\n1,10,5,pv,1e99\n"
    )
    judged = judge(read(spark, taobao, tmp_path), taobao, date(2017, 11, 25), ASKED_AT)
    found = sorted((row["event_us"] or 0, row["verdict"]) for row in judged.collect())
    assert [verdict for _, verdict in found] == ["bad time", "before the period", None, None]
    days = pl.DataFrame({"us": [us for us, _ in found[1:]]}).select(local_day(pl.col("us"), "Asia/Shanghai"))
    assert [str(day) for day in days.to_series()] == ["2017-11-24", "2017-11-25", "2017-11-25"]


def test_the_first_category_column_with_a_value_counts(spark: SparkSession, tmp_path: Path) -> None:
    rees46 = load_source("conf/sources/rees46.yaml")
    head = "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session"
    one, two = "2019-10-01 00:00:00 UTC,view,1,77,,,1.5,u,s", "2019-10-01 00:00:00 UTC,view,2,77,toys,,1.5,u,s"
    (tmp_path / "r.csv").write_text("\n".join([head, one, two]) + "\n")
    rows = read(spark, rees46, tmp_path, date(2019, 10, 1))
    assert {row["item_id"]: row["category"] for row in rows.collect()} == {"1": "77", "2": "toys"}


@pytest.mark.parametrize("file_format", ["parquet", "json", "delta"])
def test_other_formats_give_the_same_rows(
    spark: SparkSession, sample_source: Source, tmp_path: Path, file_format: str
) -> None:
    line = "2024-03-02 10:00:00 UTC,view,ann,i1,9.50,toys,,acme"
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "clicks.csv").write_text(f"{HEAD}\n{line}\n")
    as_csv = spark.read.option("header", True).csv(str(tmp_path / "c"))
    as_csv.write.format(file_format).save(str(tmp_path / "other"))
    other = sample_source.model_copy(update={"format": file_format})
    (row,) = judge(read(spark, other, tmp_path / "other"), other, DAY, ASKED_AT).collect()
    assert (row["user_id"], row["item_id"], row["price"], row["verdict"]) == ("ann", "i1", 9.5, None)

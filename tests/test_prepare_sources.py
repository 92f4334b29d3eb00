"""Public raw formats as they are, and time however it is written. The lines are made up in those formats."""

import bz2
import gzip
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import DataFrame, SparkSession

from sparkrec.config import Source, load_source
from sparkrec.errors import RefusedError
from sparkrec.prepare.clean import KINDS, judge
from sparkrec.prepare.inputs import resolve_input
from sparkrec.prepare.read import read_clicks
from sparkrec.prepare.scan import open_clicks

ASKED_AT = datetime(2026, 1, 1, tzinfo=UTC)

PUBLIC: dict[str, tuple[date, dict[str, str], list[tuple[Any, ...]]]] = {
    "rees46": (
        date(2019, 11, 1),
        {
            "2019-Nov.csv": "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,"
            "user_session\n"
            "2019-11-01 00:00:00 UTC,view,1003461,2053013555631882655,electronics.smartphone,xiaomi,489.07,52,s1\n"
            "2019-11-01 00:00:01 UTC,remove_from_cart,5000088,2053013566100866035,,janome,293.65,53,s2\n"
        },
        [
            ("52", "1003461", "view", "2019-11-01 00:00:00", 489.07, "electronics.smartphone", "xiaomi"),
            ("53", "5000088", "remove", "2019-11-01 00:00:01", 293.65, "2053013566100866035", "janome"),
        ],
    ),
    "retailrocket": (
        date(2015, 6, 2),
        {
            "events.csv": "timestamp,visitorid,event,itemid,transactionid\n"
            "1433221332117,257597,view,355908,\n1433223236124,121688,transaction,15335,11117\n"
            "1433223236125,121688,addtocart,15335,\n"
        },
        [
            ("121688", "15335", "cart", "2015-06-02 05:33:56.125", None, None, None),
            ("121688", "15335", "purchase", "2015-06-02 05:33:56.124", None, None, None),
            ("257597", "355908", "view", "2015-06-02 05:02:12.117", None, None, None),
        ],
    ),
    "taobao": (
        date(2017, 11, 25),
        {"UserBehavior.csv": "1,2268318,2520377,pv,1511544070\n1,2333346,2520771,fav,1511561733\n"},
        [
            ("1", "2268318", "view", "2017-11-24 17:21:10", None, "2520377", None),
            ("1", "2333346", "favourite", "2017-11-24 22:15:33", None, "2520771", None),
        ],
    ),
    "yoochoose": (
        date(2014, 4, 7),
        {
            "yoochoose-clicks.dat": "1,2014-04-07T10:51:09.277Z,214536502,0\n1,2014-04-07T10:54:09.868Z,214536500,S\n",
            "yoochoose-buys.dat": "1,2014-04-07T10:58:00.306Z,214536500,1046,2\n",
        },
        [
            ("1", "214536500", "purchase", "2014-04-07 10:58:00.306", 1046.0, None, None),
            ("1", "214536500", "view", "2014-04-07 10:54:09.868", None, "S", None),
            ("1", "214536502", "view", "2014-04-07 10:51:09.277", None, "0", None),
        ],
    ),
    "movielens": (
        date(2006, 5, 17),
        {
            "ratings.csv": "userId,movieId,rating,timestamp\n1,296,5.0,1147880044\n"
            "1,306,3.5,1147868817\n1,307,,1147868828\n"
        },
        [
            ("1", "296", "purchase", "2006-05-17 15:34:04", None, None, None),
            ("1", "306", "view", "2006-05-17 12:26:57", None, None, None),
            ("1", "307", "unknown event type", "2006-05-17 12:27:08", None, None, None),
        ],
    ),
}


def judged(spark: SparkSession, source: Source, folder: Path, day: date) -> DataFrame:
    place = resolve_input(source, str(folder), day)
    frames = [judge(read_clicks(spark, piece), piece.source, day, ASKED_AT) for piece in place.pieces]
    together = frames[0]
    for frame in frames[1:]:
        together = together.unionByName(frame)
    return together


def told(frame: DataFrame) -> list[tuple[Any, ...]]:
    found = []
    for row in frame.collect():
        moment = datetime.fromtimestamp(row["event_us"] / 1e6, UTC)
        text = moment.strftime("%Y-%m-%d %H:%M:%S") + (f".{moment.microsecond // 1000}" if moment.microsecond else "")
        word = row["verdict"] or KINDS[row["kind"]]
        found.append((row["user_id"], row["item_id"], word, text, row["price"], row["category"], row["brand"]))
    return sorted(found, key=str)


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_file_is_read_as_it_is(spark: SparkSession, tmp_path: Path, name: str) -> None:
    day, files, expected = PUBLIC[name]
    for file, text in files.items():
        (tmp_path / file).write_text(text)
    assert told(judged(spark, load_source(f"conf/sources/{name}.yaml"), tmp_path, day)) == expected


def test_a_delivery_without_its_second_kind_of_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "yoochoose-clicks.dat").write_text("1,2014-04-07T10:51:09.277Z,214536502,0\n")
    with pytest.raises(RefusedError, match=r"no file is named like \*buys\*"):
        resolve_input(load_source("conf/sources/yoochoose.yaml"), str(tmp_path), date(2014, 4, 7))


SHORT = """
name: short
format: {file_format}
columns: {{user_id: u, item_id: i, event_ts: t}}
event_always: view
time: {{unit: {unit}, zone: {zone}}}
"""


def short(tmp_path: Path, file_format: str, unit: str = "iso", zone: str = "UTC") -> Source:
    file = tmp_path / "short.yaml"
    file.write_text(SHORT.format(file_format=file_format, unit=unit, zone=zone))
    return load_source(str(file))


NOON_US = 1_711_886_400_000_000  # 2024-03-31 12:00 UTC


@pytest.mark.parametrize(
    ("unit", "values"),
    [
        ("seconds", pl.Series([NOON_US // 1_000_000])),
        ("seconds", pl.Series([str(NOON_US // 1_000_000)])),
        ("millis", pl.Series([NOON_US // 1_000])),
        ("micros", pl.Series([NOON_US])),
        ("iso", pl.Series([datetime(2024, 3, 31, 12, tzinfo=UTC)], dtype=pl.Datetime("us", "UTC"))),
        ("iso", pl.Series([datetime(2024, 3, 31, 14)], dtype=pl.Datetime("us"))),
        ("iso", pl.Series(["2024-03-31 14:00:00"])),
        ("iso", pl.Series(["2024-03-31T12:00:00Z"])),
        ("iso", pl.Series(["2024-03-31 12:00:00 UTC"])),
        ("iso", pl.Series(["2024-03-31 08:00:00-04:00"])),
        ("iso", pl.Series(["2024-03-31 13:00:00+01"])),
        ("iso", pl.Series(["2024-03-31 07:00:00-05"])),
        ("iso", pl.Series(["2024-03-31 13:00:00 GMT+1"])),
        ("iso", pl.Series(["2024-03-31 08:00:00 America/New_York"])),
        ("iso", pl.Series([datetime(2024, 3, 31, 12, tzinfo=UTC)], dtype=pl.Datetime("ns", "UTC"))),
        ("iso", pl.Series([datetime(2024, 3, 31, 14)], dtype=pl.Datetime("ns"))),
    ],
)
def test_time_is_the_same_instant_however_it_is_written(
    spark: SparkSession, tmp_path: Path, unit: str, values: pl.Series
) -> None:
    clicks = tmp_path / "clicks"
    clicks.mkdir()
    pl.DataFrame({"u": ["a"], "i": ["x"], "t": values}).write_parquet(clicks / "c.parquet")
    source = short(tmp_path, "parquet", unit, "Europe/Berlin")
    (row,) = judged(spark, source, clicks, date(2024, 3, 31)).collect()
    assert (row["verdict"], row["event_us"]) == (None, NOON_US)


@pytest.mark.parametrize("value", [1_711_929_599.6, "1711929599.6"])
def test_parts_of_a_second_are_kept_and_do_not_cross_midnight(
    spark: SparkSession, tmp_path: Path, value: float | str
) -> None:
    clicks = tmp_path / "clicks"
    clicks.mkdir()
    pl.DataFrame({"u": ["a"], "i": ["x"], "t": [value]}).write_parquet(clicks / "c.parquet")
    (row,) = judged(spark, short(tmp_path, "parquet", "seconds"), clicks, date(2024, 3, 31)).collect()
    assert (row["verdict"], row["event_us"]) == (None, 1_711_929_599_600_000)


def test_the_times_that_spark_itself_writes_are_read(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "clicks").mkdir()
    times = pa.array([datetime(2024, 3, 31, 12)], pa.timestamp("us", "UTC"))
    rows = pa.table({"u": ["a"], "i": ["x"], "t": times})
    pq.write_table(rows, tmp_path / "clicks" / "c.parquet", use_deprecated_int96_timestamps=True)
    source = short(tmp_path, "parquet", "iso", "Europe/Berlin")
    (row,) = judged(spark, source, tmp_path / "clicks", date(2024, 3, 31)).collect()
    assert (row["verdict"], row["event_us"]) == (None, NOON_US)


@pytest.mark.parametrize(
    ("kind", "written", "read"),
    [
        ("float32", 2.0**24, None),
        ("float32", 5.0, "5"),
        ("decimal(38, 0)", Decimal(10**30 + 1), str(10**30 + 1)),
        ("decimal(20, 2)", Decimal("7.00"), "7"),
        ("decimal(20, 2)", Decimal("7.50"), None),
    ],
)
def test_an_id_of_any_kind_of_number_is_itself_or_none(
    spark: SparkSession, tmp_path: Path, kind: str, written: float | Decimal, read: str | None
) -> None:
    (tmp_path / "clicks").mkdir()
    number = pa.float32() if kind == "float32" else pa.decimal128(*(int(n) for n in kind[8:-1].split(",")))
    rows = pa.table({"u": pa.array([written], number), "i": ["x"], "t": ["2024-03-31"]})
    pq.write_table(rows, tmp_path / "clicks" / "c.parquet")
    (row,) = judged(spark, short(tmp_path, "parquet"), tmp_path / "clicks", date(2024, 3, 31)).collect()
    assert row["user_id"] == read


def test_whole_numbers_with_gaps_are_the_same_ids(spark: SparkSession, tmp_path: Path) -> None:
    """A column of integers becomes one of floats as soon as pandas has to write a gap into it."""
    clicks = tmp_path / "clicks"
    clicks.mkdir()
    users = [123_456_789.0, None, 1.5, 2.0**53, float("nan")]
    pl.DataFrame({"u": users, "i": [7] * 5, "t": ["2024-03-31"] * 5}).write_parquet(clicks / "c.parquet")
    rows = judged(spark, short(tmp_path, "parquet"), clicks, date(2024, 3, 31)).collect()
    assert sorted((row["user_id"] or "", row["verdict"] or "") for row in rows) == [
        *[("", "null user")] * 4,
        ("123456789", ""),
    ]


def test_the_rows_of_a_delta_table_are_counted_from_its_log(tmp_path: Path) -> None:
    pl.DataFrame({"u": ["a"] * 9, "i": ["x"] * 9, "t": ["2024-03-31"] * 9}).write_delta(tmp_path / "clicks")
    source = short(tmp_path, "delta")
    assert resolve_input(source, str(tmp_path / "clicks"), date(2024, 3, 31)).about_rows == 9
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "file").write_text("x")
    with pytest.raises(RefusedError, match="no Delta table"):
        resolve_input(source, str(tmp_path / "none"), date(2024, 3, 31))


def test_rows_that_only_spark_can_count_are_guessed_from_bytes(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("u,i,t\n" + "a,x,2024-03-31 12:00:00\n" * 5_000)
    place = resolve_input(short(tmp_path, "csv"), str(tmp_path / "c.csv"), date(2024, 3, 31))
    assert open_clicks(spark, place)[1] == place.about_rows
    _, guessed = open_clicks(spark, replace(place, about_rows=None))
    assert 1_000 < guessed < 50_000


@pytest.mark.parametrize("value", [NOON_US // 1_000, 2**63 - 1, -1], ids=["millis", "beyond 64 bits", "before 1970"])
def test_a_number_that_is_no_second_of_our_time_is_no_time(spark: SparkSession, tmp_path: Path, value: int) -> None:
    clicks = tmp_path / "clicks"
    clicks.mkdir()
    pl.DataFrame({"u": ["a"], "i": ["x"], "t": [value]}).write_parquet(clicks / "c.parquet")
    (row,) = judged(spark, short(tmp_path, "parquet", "seconds"), clicks, date(2024, 3, 31)).collect()
    assert row["verdict"] == "bad time"


def test_the_night_that_clocks_change_keeps_its_days(spark: SparkSession, tmp_path: Path) -> None:
    clicks = tmp_path / "clicks"
    clicks.mkdir()
    # Berlin, 31 March 2024 has 23 hours: from 23:00 UTC the day before to 22:00 UTC. At 02:00 it is 03:00.
    times = [
        "2024-03-31 00:00:00",
        "2024-03-31 01:59:59",
        "2024-03-31 03:00:00",
        "2024-03-31 23:59:59",
        "2024-04-01 00:00:00",
    ]
    pl.DataFrame({"u": ["a"] * 5, "i": ["x"] * 5, "t": times}).write_parquet(clicks / "c.parquet")
    rows = judged(spark, short(tmp_path, "parquet", "iso", "Europe/Berlin"), clicks, date(2024, 3, 31)).collect()
    found = sorted((row["event_us"], row["verdict"]) for row in rows)
    start = int(datetime(2024, 3, 30, 23, tzinfo=UTC).timestamp()) * 1_000_000
    hours = [(us - start) / 3.6e9 for us, _ in found]
    assert hours == pytest.approx([0, 2, 2, 23, 23], abs=0.001)
    assert [verdict for _, verdict in found] == [None, None, None, None, "later than the run"]


@pytest.mark.parametrize("packing", ["gz", "bz2", "zst", "snappy", "none"])
def test_compressed_files_give_the_same_rows(spark: SparkSession, tmp_path: Path, packing: str) -> None:
    clicks = tmp_path / "clicks"
    clicks.mkdir()
    text = b"u,i,t\na,x,2024-03-31 12:00:00\nb,y,2024-03-31 12:00:01\n"
    if packing == "snappy":
        spark.createDataFrame(
            [tuple(line.split(",")) for line in text.decode().split()[1:2]], "u string, i string, t string"
        )
        lines = spark.createDataFrame([(line,) for line in text.decode().splitlines()], "value string").coalesce(1)
        lines.write.option("compression", "snappy").text(str(tmp_path / "snappy"))
        (file,) = (tmp_path / "snappy").glob("*.snappy")
        file.rename(clicks / "c.csv.snappy")
    elif packing == "none":
        (clicks / "c.csv").write_bytes(text)
    elif packing == "gz":
        (clicks / "c.csv.gz").write_bytes(gzip.compress(text))
    elif packing == "bz2":
        (clicks / "c.csv.bz2").write_bytes(bz2.compress(text))
    else:
        (clicks / "c.csv.zst").write_bytes(pa.compress(text, codec="zstd", asbytes=True))
    rows = judged(spark, short(tmp_path, "csv"), clicks, date(2024, 3, 31)).collect()
    assert sorted((row["user_id"], row["verdict"]) for row in rows) == [("a", None), ("b", None)]


def test_a_folder_per_day_is_found_by_the_date(tmp_path: Path) -> None:
    (tmp_path / "dt=2024-03-31").mkdir()
    (tmp_path / "dt=2024-03-31" / "c.csv").write_text("u,i,t\na,x,2024-03-31 12:00:00\n")
    source = short(tmp_path, "csv")
    place = resolve_input(source, str(tmp_path / "dt={date}"), date(2024, 3, 31))
    assert place.pieces[0].paths == (str(tmp_path / "dt=2024-03-31"),)
    with pytest.raises(RefusedError, match="dt=2024-04-01: no such file"):
        resolve_input(source, str(tmp_path / "dt={date}"), date(2024, 4, 1))


def test_files_that_disagree_on_a_type_are_refused(tmp_path: Path) -> None:
    clicks = tmp_path / "clicks"
    clicks.mkdir()
    pl.DataFrame({"u": ["a"], "i": ["x"], "t": ["2024-03-31"]}).write_parquet(clicks / "1.parquet")
    pl.DataFrame({"u": [5], "i": ["x"], "t": ["2024-03-31"]}).write_parquet(clicks / "2.parquet")
    with pytest.raises(RefusedError, match=r"column u is int64, in 1.parquet it is string"):
        resolve_input(short(tmp_path, "parquet"), str(clicks), date(2024, 3, 31))

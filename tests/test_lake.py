"""Tables as the lake keeps them."""

from dataclasses import replace
from pathlib import Path

import deltalake
from pyspark.sql import SparkSession
from pyspark.sql.types import StructType

from sparkrec.lake import Lake
from sparkrec.tables import METRICS
from tests.running import table


def test_a_table_of_an_earlier_version_gets_the_columns_that_it_lacks(spark: SparkSession, tmp_path: Path) -> None:
    earlier = replace(METRICS, schema=StructType([field for field in METRICS.schema if field.name != "num_users"]))
    lake = Lake(spark, str(tmp_path))
    row = "'2024-03-01' run_date, 'm' model_version, 'p' protocol, 's' slice, 'hr' metric, 5 k, '' against, 1D value"
    numbers = "cast(null as double) low, cast(null as double) high"
    night = spark.sql(f"SELECT {row}, {numbers}, 7L num_users").selectExpr(
        "cast(run_date as date) run_date", "* except (run_date)"
    )
    lake.replace(earlier, night.drop("num_users"), "run_date = '2024-03-01'")
    second = night.selectExpr("date_add(run_date, 1) run_date", "* except (run_date)")
    lake.replace(METRICS, second, "run_date = '2024-03-02'")
    rows = table(tmp_path, "metrics").sort("run_date")
    assert rows.columns == METRICS.schema.names
    assert rows["num_users"].to_list() == [None, 7]
    stored = deltalake.DeltaTable(tmp_path / "metrics")
    assert stored.protocol().min_reader_version == 1
    comments = {field.name: field.metadata.get("comment") for field in stored.schema().fields}
    assert comments["num_users"] == "users measured"

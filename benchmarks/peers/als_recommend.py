"""Spark MLlib's ALSModel.recommendForAllUsers on given factors; tells speed and CPU seconds as JSON.

spark-submit --master local[2] benchmarks/peers/als_recommend.py FACTORS_FOLDER TOP_N

The factors are those of `scored_lake.factors`. It has no filter of seen items, so it does less than the others.

What else was tried, by CPU seconds for 100,000 users x 50,000 items on two cores, the first call of a JVM, medians of
three: with this project's options of Java and Spark's blocks of 4,096 rows 71, blocks of 512 rows 74; with Java's own
thresholds for compiling 77 and 76. All items in one file leave a core idle.
"""

import json
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.ml.recommendation import ALS, ALSModel
from pyspark.sql import SparkSession

sys.path.append(str(Path(__file__).parents[1]))
from measure import tree_cpu_s

FILES = 4
"""Files of users and of items, and partitions of lists."""


def model_of(spark: SparkSession, folder: Path) -> ALSModel:
    """Return a model with the folder's factors: a tiny one is fitted and saved, and its factors replaced."""
    user_factors, item_factors = (np.load(folder / f"{name}_factors.npy") for name in ("user", "item"))
    ratings = spark.createDataFrame([(0, 0, 1.0), (1, 1, 1.0)], ["user", "item", "rating"])
    path = folder / "als-model"
    ALS(rank=user_factors.shape[1], maxIter=1, seed=7).fit(ratings).write().overwrite().save(str(path))
    for name, factors in (("userFactors", user_factors), ("itemFactors", item_factors)):
        shutil.rmtree(path / name)
        (path / name).mkdir()
        for number, ids in enumerate(np.array_split(np.arange(len(factors), dtype=np.int32), FILES)):
            starts = np.arange(len(ids) + 1, dtype=np.int32) * factors.shape[1]
            features = pa.ListArray.from_arrays(pa.array(starts), pa.array(factors[ids].ravel()))
            pq.write_table(pa.table({"id": ids, "features": features}), path / name / f"{number}.parquet")
    return ALSModel.load(str(path))


def main(folder: Path, top_n: int) -> None:
    builder = SparkSession.builder.appName("als").config("spark.sql.shuffle.partitions", str(FILES))
    spark = builder.getOrCreate()
    model = model_of(spark, folder)
    num_users, num_items = model.userFactors.count(), model.itemFactors.count()
    jvm = spark._jvm.java.lang.ProcessHandle.current().pid()
    for _ in range(2):  # the first time the JVM is cold
        cpu_before, before = tree_cpu_s(jvm), time.monotonic()
        model.recommendForAllUsers(top_n).write.format("noop").mode("overwrite").save()
        seconds, cpu_s = time.monotonic() - before, tree_cpu_s(jvm) - cpu_before
        print(json.dumps({"pairs": num_users * num_items, "seconds": seconds, "cpu_s": cpu_s}), flush=True)
    spark.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))

"""Spark MLlib's ALSModel.recommendForAllUsers on given factors; tells speed and CPU seconds as JSON.

spark-submit --master local[2] --driver-java-options -XX:+UseParallelGC \\
    benchmarks/peers/als_recommend.py FACTORS_FOLDER TOP_N

The factors are those of `scored_lake.factors`. It has no filter of seen items, so it does less than the others.

Set as it is best, by CPU seconds for 100,000 users x 50,000 items on two cores. Rows per block: 128 74, 256 76, 512 69,
1,024 75, 2,048 72, 4,096 (Spark's own) 79, 16,384 77. Files of items: four, for one leaves
a core idle. Java's own thresholds for compiling, which the options above bring back, take about a tenth less than this
project's.
"""

import json
import os
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.ml.recommendation import ALS, ALSModel
from pyspark.sql import SparkSession

FILES = 4
"""Files of users and of items, and partitions of lists."""
BLOCK_ROWS = 512
"""Users or items whose factors are multiplied together."""
TICKS = os.sysconf("SC_CLK_TCK")


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
    return ALSModel.load(str(path)).setBlockSize(BLOCK_ROWS)


def cpu_seconds(root: int) -> float:
    """Return what a process, its descendants, and those of them that have ended, have used so far."""
    parents, seconds = {}, {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        parents[int(folder.name)] = int(fields[1])
        seconds[int(folder.name)] = sum(int(ticks) for ticks in fields[11:15]) / TICKS
    tree, before = {root}, 0
    while len(tree) > before:
        before = len(tree)
        tree |= {process for process, parent in parents.items() if parent in tree}
    return sum(seconds.get(process, 0.0) for process in tree)


def main(folder: Path, top_n: int) -> None:
    builder = SparkSession.builder.appName("als").config("spark.sql.shuffle.partitions", str(FILES))
    spark = builder.getOrCreate()
    model = model_of(spark, folder)
    num_users, num_items = model.userFactors.count(), model.itemFactors.count()
    jvm = spark._jvm.java.lang.ProcessHandle.current().pid()
    cpu_before, before = cpu_seconds(jvm), time.monotonic()
    model.recommendForAllUsers(top_n).write.format("noop").mode("overwrite").save()
    told = {
        "pairs": num_users * num_items,
        "seconds": time.monotonic() - before,
        "cpu_s": cpu_seconds(jvm) - cpu_before,
    }
    spark.stop()
    print(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))

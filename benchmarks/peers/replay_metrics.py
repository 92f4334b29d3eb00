"""Six metrics of lists by RePlay's OfflineMetrics; tells seconds, CPU seconds and figures as JSON, twice.

python benchmarks/peers/replay_metrics.py FOLDER CUT_OFFS spark|polars

FOLDER holds lists.parquet (user, item, score; users and items are numbers, as RePlay encodes them) and truth.parquet.
"""

import json
import os
import sys
import time
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))
from measure import tree_cpu_s
from replay.metrics import MAP, MRR, NDCG, HitRate, OfflineMetrics, Precision, Recall

OURS = {"HitRate": "hr", "Recall": "recall", "Precision": "precision", "NDCG": "ndcg", "MRR": "mrr", "MAP": "map"}


def main(folder: Path, top_k: list[int], kind: str) -> None:
    names = {"query_column": "user", "item_column": "item", "rating_column": "score"}
    metrics = OfflineMetrics([metric(top_k) for metric in (HitRate, Recall, Precision, NDCG, MRR, MAP)], **names)
    if kind == "spark":
        from pyspark.sql import SparkSession

        os.environ["PYSPARK_PYTHON"] = sys.executable  # its functions run in Python
        builder = SparkSession.builder.master(f"local[{min(2, os.cpu_count() or 1)}]").config(
            "spark.driver.memory", "8g"
        )
        spark = builder.config("spark.sql.shuffle.partitions", "8").config("spark.ui.enabled", "false").getOrCreate()
        spark.range(1).count()
        read = spark.read.parquet
    else:
        import polars as pl

        read = pl.read_parquet
    for _ in range(2):
        before, began = tree_cpu_s(os.getpid()), time.monotonic()
        lists, truth = (read(str(folder / f"{name}.parquet")) for name in ("lists", "truth"))
        found = metrics(lists.select("user", "item", "score"), truth)
        seconds, cpu_s = time.monotonic() - began, tree_cpu_s(os.getpid()) - before
        figures = {f"{OURS[name.split('@')[0]]}@{name.split('@')[1]}": value for name, value in found.items()}
        print(json.dumps({"seconds": seconds, "cpu_s": cpu_s, "figures": figures}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3])

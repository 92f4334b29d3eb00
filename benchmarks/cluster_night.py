"""The sample's night on a real Spark standalone cluster with conf/cluster.yaml: `make cluster-night`."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from standalone import WORKERS, standalone_cluster

ROOT = Path(__file__).parents[1]


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="sparkrec-cluster-") as name:
        folder = Path(name)
        with standalone_cluster(folder / "cluster") as master:
            started = time.monotonic()
            command = ["make", "-C", str(ROOT), "nightly", f"MASTER={master}", "CONFIG=conf/cluster.yaml"]
            settings = "SET=spark.properties.spark.executor.memory=3g spark.properties.spark.sql.shuffle.partitions=4"
            night = subprocess.run(
                [*command, settings, f"LAKE={folder / 'lake'}"], stdout=subprocess.PIPE, text=True, check=False
            )
            seconds = time.monotonic() - started
        print(night.stdout)
        if night.returncode:
            sys.exit(night.returncode)
        line = next(line for line in night.stdout.splitlines() if line.startswith("nightly: "))
        told = dict(pair.split("=") for pair in line.split()[1:])
        figures = " ".join(f"{key}={told[key]}" for key in ("users", "rows", "ndcg10", "popular_ndcg10"))
        print(f"cluster-night: workers={WORKERS} seconds={seconds:.1f} {figures}")


if __name__ == "__main__":
    main()

"""A Spark standalone cluster as processes of this machine: one master, two workers of one core each."""

import contextlib
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pyspark

SPARK_CLASS = Path(pyspark.__file__).parent / "bin" / "spark-class"
MASTER = "spark://127.0.0.1:17077"
PAGE = "http://127.0.0.1:18080/json/"
WORKERS = 2


@contextlib.contextmanager
def standalone_cluster(folder: Path) -> Iterator[str]:
    """Start the cluster, yield its master's address, stop it."""
    folder.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "SPARK_LOCAL_IP": "127.0.0.1", "PYSPARK_PYTHON": sys.executable}
    deploy = "org.apache.spark.deploy"
    master = [f"{deploy}.master.Master", "--host", "127.0.0.1", "--port", "17077", "--webui-port", "18080"]
    commands = [master]
    for number in range(WORKERS):
        ports = ["--host", "127.0.0.1", "--webui-port", str(18081 + number)]
        size = ["--cores", "1", "--memory", "4g", "--work-dir", str(folder / f"worker-{number}")]
        commands.append([f"{deploy}.worker.Worker", *ports, *size, MASTER])
    running = []
    try:
        for number, command in enumerate(commands):
            log = (folder / f"log-{number}.txt").open("w")
            running.append(
                subprocess.Popen([str(SPARK_CLASS), *command], env=environment, stdout=log, stderr=subprocess.STDOUT)
            )
        _wait_for_workers()
        yield MASTER
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait()


def _wait_for_workers() -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        with (
            contextlib.suppress(urllib.error.URLError, ConnectionError),
            urllib.request.urlopen(PAGE, timeout=2) as page,
        ):
            if page.read().decode().count('"ALIVE"') >= WORKERS + 1:
                return
        time.sleep(0.5)
    raise TimeoutError(f"the master did not see {WORKERS} workers")

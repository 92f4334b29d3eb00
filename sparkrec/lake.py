"""Read and write the Delta tables under one root, and remember which versions and how many rows."""

import fcntl
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import deltalake
import polars as pl
from delta.tables import DeltaTable
from pyspark.sql import DataFrame, SparkSession

from sparkrec.contract import Table, conform
from sparkrec.errors import RefusedError
from sparkrec.files import NewFile, append_rows, commit_files, is_table, list_files, newest_version

STAGING = "_staging"


class Lake:
    """The tables of one root, as one job sees them.

    `versions_read`, `versions_written` and `rows_out` fill as the job works and end in its row of `runs`.
    """

    def __init__(self, spark: SparkSession, root: str) -> None:
        self.spark = spark
        self.root = absolute(root)
        self.versions_read: dict[str, int] = {}
        self.versions_written: dict[str, int] = {}
        self.rows_out: dict[str, int] = {}

    def path(self, table: Table) -> str:
        return f"{self.root}/{table.name}"

    def has(self, table: Table) -> bool:
        return is_table(self.path(table))

    def read(self, table: Table) -> DataFrame:
        """Return the table as it is now; later writes do not show through."""
        if not self.has(table):
            raise RefusedError(
                f"{self.path(table)}: no such table; run the stages before this one first (make nightly)"
            )
        version = self._version(table)
        self.versions_read[table.name] = version
        return self.spark.read.format("delta").option("versionAsOf", version).load(self.path(table))

    def read_or_empty(self, table: Table) -> DataFrame:
        """Return the table, or no rows where it was never written."""
        return self.read(table) if self.has(table) else self.spark.createDataFrame([], table.schema)

    def overwrite(self, table: Table, rows: DataFrame) -> int:
        """Put `rows` in the place of all rows, in one commit; return how many there are."""
        return self._write(table, rows, mode="overwrite")

    def replace(self, table: Table, rows: DataFrame, where: str, options: Mapping[str, str] | None = None) -> int:
        """Put `rows` in the place of those that match `where`, in one commit; return how many were written."""
        return self._write(table, rows, mode="overwrite", options={**(options or {}), "replaceWhere": where})

    def append(self, table: Table, rows: Sequence[dict[str, Any]]) -> None:
        """Add a few rows that the driver holds, without a Spark job."""
        self.create(table)
        append_rows(self.path(table), rows)
        self.versions_written[table.name] = self._version(table)

    def delete(self, table: Table, where: str) -> None:
        """Drop the rows that match `where`."""
        DeltaTable.forPath(self.spark, self.path(table)).delete(where)
        self.versions_written[table.name] = self._version(table)

    def model_root(self) -> Path:
        """Return the folder of model weights, which the driver and every worker must mount."""
        return Path(self.root) / "_models"

    def stage(self, name: str, rows: DataFrame) -> DataFrame:
        """Write rows aside, where no reader looks, and return them as they were written."""
        rows.write.mode("overwrite").parquet(self._staging(name))
        return self.spark.read.schema(rows.schema).parquet(self._staging(name))

    def unstage(self, name: str = "") -> None:
        """Drop what was staged under a name, or everything."""
        path = self.spark._jvm.org.apache.hadoop.fs.Path(self._staging(name).rstrip("/"))  # type: ignore[union-attr]
        path.getFileSystem(self.spark._jsc.hadoopConfiguration()).delete(path, True)

    def _staging(self, name: str) -> str:
        return f"{self.staging_root()}/{name}"

    def lineage(self, table: Table) -> str:
        """Return the id that Delta gave the table when it was created."""
        return str(deltalake.DeltaTable(self.path(table)).metadata().id)

    def properties(self, table: Table) -> dict[str, str]:
        """Return the properties that the table was created with."""
        return {
            name: str(value) for name, value in deltalake.DeltaTable(self.path(table)).metadata().configuration.items()
        }

    def files(self, table: Table) -> pl.DataFrame | None:
        """Return the data files of the table as it is now, see `list_files`; None where it was never written."""
        return list_files(self.path(table)) if self.has(table) else None

    def num_rows(self, table: Table) -> int:
        """Return how many rows the table has, from its log alone."""
        files = self.files(table)
        return 0 if files is None else int(files["num_records"].fill_null(0).sum())

    def staging(self, table: Table) -> Path:
        """Return the folder where tasks put files that `commit` brings in."""
        return Path(self.staging_root()) / table.name

    def staging_root(self) -> str:
        return f"{self.root}/{STAGING}"

    def commit(
        self,
        table: Table,
        new: Sequence[NewFile],
        removed: Iterable[dict[str, Any]] = (),
        staging: Path | None = None,
    ) -> int:
        """Bring in files that tasks wrote under `staging(table)`, in the place of `removed`, in one commit."""
        self.create(table)
        version = commit_files(self.path(table), new, removed, staging or self.staging(table))
        rows = sum(file.num_rows for file in new)
        self.versions_written[table.name] = version
        self.rows_out[table.name] = rows
        return rows

    def commit_date(
        self, table: Table, new: Sequence[NewFile], run_date: date, keep_days: int, staging: Path | None = None
    ) -> None:
        """Put files in the place of a date's, and drop dates that are older than `keep_days`, in one commit."""
        removed: list[dict[str, Any]] = []
        there: set[str] = set()
        stored = self.files(table)
        if stored is not None and len(stored):
            day = pl.col(f"partition.{table.partition}").cast(pl.Date)
            goes = stored.filter((day == run_date) | (day <= run_date - timedelta(days=keep_days)))
            # A file is named after what it holds or follows from: one that is there already is the same, and stays.
            removed = goes.filter(~pl.col("path").is_in([file.path for file in new])).to_dicts()
            there = set(stored["path"])
        self.commit(table, [file for file in new if file.path not in there], removed, staging)
        self.rows_out[table.name] = sum(file.num_rows for file in new)

    def dates(self, table: Table) -> list[date]:
        """Return the dates that the table has rows of, from its log alone."""
        files = self.files(table)
        if files is None or not len(files):
            return []
        return sorted(files[f"partition.{table.partition}"].cast(pl.Date).unique().to_list())

    def last_date(self, table: Table, before: date) -> date | None:
        """Return the newest date before another that the table has rows of."""
        return max((day for day in self.dates(table) if day < before), default=None)

    def _write(self, table: Table, rows: DataFrame, mode: str, options: Mapping[str, str] | None = None) -> int:
        self.create(table)
        writer = conform(rows, table).write.format("delta").mode(mode)
        writer.options(**(options or {})).save(self.path(table))
        commit = deltalake.DeltaTable(self.path(table)).history(1)[0]
        written = int((commit.get("operationMetrics") or {}).get("numOutputRows", 0))
        self.versions_written[table.name] = int(commit["version"])
        self.rows_out[table.name] = written
        return written

    def create(self, table: Table, properties: Mapping[str, str] | None = None) -> None:
        """Create the table, empty, where it does not exist; add the columns that an earlier version did not have."""
        # Spark and Delta write a schema as the same JSON, comments included.
        schema = deltalake.Schema.from_json(table.schema.json())
        # Two first writers to an empty path would conflict; creating is cheap and repeatable.
        stored = deltalake.DeltaTable.create(
            self.path(table),
            schema=schema,
            mode="ignore",
            partition_by=[table.partition] if table.partition else None,
            description=f"A row is {table.row}.",
            configuration=dict(properties or {}),
            raise_if_key_not_exists=False,  # ours are our own
        )
        there = {field.name for field in stored.schema().fields}
        new = [field for field in schema.fields if field.name not in there]
        if new:
            stored.alter.add_columns(new)

    def _version(self, table: Table) -> int:
        return newest_version(self.path(table))


def absolute(root: str) -> str:
    """Return a local root as an absolute path, any other as it is."""
    local = local_path(root)
    return str(local) if local else root.rstrip("/")


def local_path(root: str) -> Path | None:
    """Return the folder of a local root, None for an object store or HDFS."""
    if root.startswith("file:"):
        return Path("/" + root.removeprefix("file:").lstrip("/"))
    return None if "://" in root else Path(root).absolute()


def check_writable(root: str) -> None:
    """Refuse a local root in which no file can be made, before hours of work."""
    folder = local_path(root)
    if folder is None:
        raise RefusedError(
            f"lake.root {root}: models are kept beside the tables in a mounted folder for now; give a path, not a URL"
        )
    nearest = next(parent for parent in (folder, *folder.parents) if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise RefusedError(
            f"lake.root {folder}: cannot be written ({error.strerror} in {nearest});"
            " free or fix that folder, or name another with --lake"
        ) from error


@contextmanager
def locked(root: str) -> Iterator[None]:
    """Hold a local root for one job: Delta does not promise safe concurrent writers on a local file system.

    The lock dies with its process, so a killed job leaves none behind.
    """
    folder = local_path(root)
    if folder is None:
        yield
        return
    was_there = folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    lock = folder / "_lock"
    with lock.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RefusedError(f"lake.root {folder}: another job is writing it; wait until it ends") from error
        try:
            yield
        finally:
            shutil.rmtree(folder / STAGING, ignore_errors=True)
            if not was_there and [entry.name for entry in folder.iterdir()] == ["_lock"]:
                lock.unlink()
                folder.rmdir()

"""Make Petastorm 0.13.1 work with today's pyarrow and numpy, in one place.

Petastorm calls names that pyarrow and numpy have since dropped. This file puts back the few it needs, inside
Petastorm's own modules where that is possible, and reads a given list of Parquet files: no summary files (Petastorm
would unpickle them), no disk cache, no partition columns.
"""

import contextlib
import sys
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sparkrec.errors import SparkrecError

VENTILATED_AHEAD = 1000
_FOOTERS: dict[str, Any] = {}


class ParquetPiece:
    """One row group of one file; what pyarrow called ParquetDatasetPiece."""

    partition_keys: tuple[()] = ()

    def __init__(
        self, path: str, open_file_func: Any, row_group: int | None = None, partition_keys: object = None
    ) -> None:
        self.path = path
        self.row_group = row_group
        self._open = open_file_func

    def get_metadata(self) -> Any:
        """Return the file's footer; read once per process, for files of a Delta table never change."""
        if self.path not in _FOOTERS:
            with self._source() as file:
                _FOOTERS[self.path] = pq.read_metadata(file)
        return _FOOTERS[self.path]

    def read(self, columns: set[str], partitions: object = None) -> pa.Table:
        with self._source() as file:
            parquet = pq.ParquetFile(file, metadata=self.get_metadata())
            return parquet.read_row_group(self.row_group, columns=sorted(columns), use_threads=False)

    @contextlib.contextmanager
    def _source(self) -> Iterator[Any]:
        """Open the file; what is wrong with it is told with its name."""
        # A local file is mapped: through a file of Python every read would hold the interpreter's lock.
        is_local = Path(self.path).exists()
        try:
            with pa.memory_map(self.path) if is_local else self._open(self.path, "rb") as file:
                yield file
        except (OSError, pa.ArrowException) as error:
            why = " ".join(str(error).split())
            raise SparkrecError(
                f"windows: {self.path} cannot be read ({why}); it was cut off or changed, run 'make window' again"
            ) from error


class FileList:
    """The files to read, in order; what Petastorm expects of pyarrow's old ParquetDataset."""

    partitions = None
    metadata = None
    common_metadata = None

    def __init__(self, paths: list[str], filesystem: Any, **_: object) -> None:
        self.paths = paths
        self.fs = filesystem
        self.pieces = [ParquetPiece(path, filesystem.open) for path in paths]


def _to_matrices(table: pa.Table, _: object) -> dict[str, np.ndarray]:
    """Columns as NumPy arrays, lists of one length as matrices, without an object per row."""
    columns = {}
    for name in table.column_names:
        column = table.column(name).combine_chunks()
        if isinstance(column, pa.ChunkedArray):
            column = column.chunk(0) if column.num_chunks else pa.array([], column.type)
        if pa.types.is_list(column.type):
            lengths = column.value_lengths()
            if column.null_count or len(lengths.unique()) > 1:
                raise ValueError(f"windows.{name}: lists of several lengths; run 'make window' again")
            columns[name] = column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)
        else:
            columns[name] = column.to_numpy(zero_copy_only=False)
    return columns


def _import_petastorm() -> Any:
    for gone, now in (("unicode_", np.str_), ("string_", np.bytes_)):
        if gone not in np.__dict__:
            setattr(np, gone, now)
    # Imported by name at Petastorm's top; used for HDFS and for writing metadata only, which is not done here.
    for module_name, name in (("filesystem", "LocalFileSystem"), ("hdfs", "HadoopFileSystem")):
        stub = types.ModuleType(f"pyarrow.{module_name}")
        setattr(stub, name, object)
        sys.modules.setdefault(f"pyarrow.{module_name}", stub)
    from petastorm import arrow_reader_worker, reader
    from petastorm.etl import dataset_metadata

    ours = types.SimpleNamespace(
        ParquetDataset=FileList, ParquetDatasetPiece=ParquetPiece, read_metadata=pq.read_metadata
    )
    for module in (reader, arrow_reader_worker, dataset_metadata):
        module.pq = ours
    arrow_reader_worker.convert_arrow_table_to_numpy_dict = _to_matrices
    return reader


@contextlib.contextmanager
def open_reader(
    urls: Sequence[str], columns: Sequence[str], rank: int, num_ranks: int, seeds: Sequence[int]
) -> Iterator[Any]:
    """Open Petastorm's batch reader on a rank's share of the row groups of `urls`, endlessly, one row group at a time.

    The same seeds give the same order. Its 'dummy' pool reads in the caller's thread: the thread pool loses row groups
    at the end of passes and promises no order.
    """
    filesystem, _ = fsspec.core.url_to_fs(urls[0])
    petastorm = _import_petastorm()
    try:
        reader = petastorm.make_batch_reader(
            list(urls),
            schema_fields=[f"^{name}$" for name in columns],
            reader_pool_type="dummy",
            shuffle_row_groups=True,
            num_epochs=None,
            cur_shard=rank,
            shard_count=num_ranks,
            # Petastorm takes 0 for "no seed".
            seed=1 + int(np.random.default_rng(list(seeds)).integers(2**31)),
            filesystem=filesystem,
        )
    except petastorm.NoDataAvailableError as error:
        raise SparkrecError(
            f"windows: fewer row groups than the {num_ranks} ranks; lower train.num_workers, or raise window.files"
            " or lower window.row_group_rows and run 'make window' again"
        ) from error
    # The dummy pool queues indices only; with Petastorm's limit of four it sleeps most of the time.
    reader.ventilator._max_ventilation_queue_size = VENTILATED_AHEAD
    try:
        yield reader
    finally:
        reader.stop()
        reader.join()


def rows_of_pass(reader: Any) -> list[int]:
    """Return the rows of every row group that the reader hands over in one pass, in its order."""
    from petastorm.etl.dataset_metadata import load_row_groups

    pieces = load_row_groups(reader.dataset)
    sizes = [piece.get_metadata().row_group(piece.row_group).num_rows for piece in pieces]
    return [sizes[item["piece_index"]] for item in reader.ventilator._items_to_ventilate]

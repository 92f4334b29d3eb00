"""Find the raw files of a run and see, before Spark starts, that they can be what the source says."""

import csv
import glob
from dataclasses import dataclass
from datetime import date
from fnmatch import fnmatch
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake.exceptions import DeltaError

from sparkrec.config import Source
from sparkrec.errors import RefusedError
from sparkrec.files import list_files
from sparkrec.lake import local_path

SPARK_UNPACKS = (".snappy", ".deflate")
"""Packings that Spark reads and Arrow does not, so that their columns are looked up by Spark."""
LINE_BYTES, PACKED_BYTES = 80, 16
"""Bytes that a row takes, about, as text and compressed: decides about memory, never about results."""


@dataclass(frozen=True)
class Piece:
    """Files of one kind: how they are mapped and where they are."""

    source: Source
    paths: tuple[str, ...]
    columns: tuple[str, ...] | None = None
    """Columns of a csv in file order, where known."""
    time_kind: str | None = None
    """Arrow's type of the time column of Parquet files, where known."""


@dataclass(frozen=True)
class Input:
    """What to read: what the user named, for messages, its pieces, and about how many rows they hold."""

    path: str
    pieces: tuple[Piece, ...]
    about_rows: int | None
    """None where only Spark can see the files."""


def resolve_input(source: Source, path: str | None, run_date: date) -> Input:
    """Return the input of a run; refuse one that is missing, empty or lacks a mapped column."""
    wanted = path or source.path
    if not wanted:
        raise RefusedError(f"source {source.name} names no path of its own; give --input PATH")
    wanted = wanted.replace("{date}", run_date.isoformat())
    if local_path(wanted) is None:
        if source.also:
            raise RefusedError(f"input {wanted}: source {source.name} has several kinds of files; mount them")
        return Input(wanted, (Piece(source, (wanted,)),), None)  # the columns are looked up by Spark
    files = _files_of(wanted)
    if not files:
        raise RefusedError(f"input {wanted}: no such file or folder; check the path{_sample_hint(source)}")
    if source.format == "delta":
        return Input(wanted, (Piece(source, (wanted,)),), _rows_of_table(local_path(wanted) or Path(wanted)))
    full = [file for file in files if file.stat().st_size]
    if not full:
        raise RefusedError(f"input {wanted}: empty ({len(files)} file(s), 0 bytes); was the download cut off?")
    pieces = tuple(_piece(part, wanted, full) for part in source.parts())
    return Input(wanted, pieces, sum(_about_rows(file, source) for file in full))


def check_columns(source: Source, found: tuple[str, ...], where: str) -> None:
    """Refuse a file that lacks a column which the mapping names."""
    if source.file_columns and not source.header and len(found) != len(source.file_columns):
        raise RefusedError(
            f"{where}: {len(found)} columns, source {source.name} says {len(source.file_columns)}"
            f" ({', '.join(source.file_columns)}); mend file_columns or separator"
        )
    names = tuple(source.file_columns) if source.file_columns and not source.header else found
    missing = [name for name in source.raw_names() if name not in names]
    if missing:
        raise RefusedError(
            f"{where}: source {source.name} maps {', '.join(missing)}, the file has {', '.join(names)};"
            " mend `columns` in the source file"
        )


def _piece(source: Source, wanted: str, files: list[Path]) -> Piece:
    mine = [file for file in files if not source.files or fnmatch(file.name, source.files)]
    if not mine:
        raise RefusedError(
            f"input {wanted}: no file is named like {source.files}, which source {source.name} needs;"
            " give --input a folder that holds them all"
        )
    columns = [_columns_of(file, source) for file in mine]
    for file, found in zip(mine, columns, strict=True):
        if found is not None:
            check_columns(source, found, str(file))
    kinds = _types(source, mine) if source.format == "parquet" else {}
    paths = tuple(str(file) for file in mine) if source.files else (wanted,)
    return Piece(source, paths, columns[0] if source.format == "csv" else None, kinds.get(source.columns.event_ts))


def _types(source: Source, files: list[Path]) -> dict[str, str]:
    """Return the types of the mapped columns; refuse Parquet files that disagree on one.

    Spark would stop in the middle, or read nothing.
    """
    first: dict[str, tuple[str, Path]] = {}
    for file in files:
        schema = pq.read_schema(file)
        for name in source.raw_names():
            kind = str(schema.field(name).type).removeprefix("large_")
            known, where = first.setdefault(name, (kind, file))
            if known != kind:
                raise RefusedError(
                    f"{file}: column {name} is {kind}, in {where.name} it is {known};"
                    " deliver the files with one type per column"
                )
    return {name: kind for name, (kind, _) in first.items()}


def _rows_of_table(path: Path) -> int | None:
    if not any((folder / "_delta_log").is_dir() for folder in (path, *path.parents)):
        raise RefusedError(
            f"input {path}: no Delta table (it has no _delta_log); check the path, or the source's format"
        )
    try:
        counts = list_files(str(path))["num_records"]
    except DeltaError:  # a folder inside a table, or a table of a kind that only Spark reads
        return None
    return None if counts.null_count() else int(counts.sum())


def _about_rows(file: Path, source: Source) -> int:
    if source.format == "parquet":
        return int(pq.read_metadata(file).num_rows)
    size = file.stat().st_size
    return size // LINE_BYTES if file.suffix in (".csv", ".json", ".dat", ".txt", ".jsonl") else size // PACKED_BYTES


def latest_sample_day(source: Source) -> date:
    """Return the newest day that the sample folder holds."""
    days = []
    for file in Path(source.path or "").glob("*.*"):
        try:
            days.append(date.fromisoformat(file.name.split(".")[0]))
        except ValueError:
            continue
    if not days:
        raise RefusedError(
            f"--date is not given and there is no sample in {source.path}/ to take it from;"
            " give --date YYYY-MM-DD, or run 'make sample' first"
        )
    return max(days)


def _sample_hint(source: Source) -> str:
    return ", or run 'make sample' first" if source.name == "sample" else ""


def _files_of(path: str) -> list[Path]:
    found = [Path(name) for name in sorted(glob.glob(str(local_path(path))))]  # noqa: PTH207 - the pattern is absolute
    files: list[Path] = []
    for entry in found:
        files.extend(sorted(entry.rglob("*")) if entry.is_dir() else [entry])
    # Spark and Hadoop skip hidden files and logs too.
    return [file for file in files if file.is_file() and not file.name.startswith((".", "_"))]


def _columns_of(file: Path, source: Source) -> tuple[str, ...] | None:
    try:
        if source.format == "parquet":
            return tuple(pq.read_schema(file).names)
        if source.format == "csv" and file.suffix not in SPARK_UNPACKS:
            line = _first_line(file)
            if len(source.separator) > 1:  # which Python's csv module cannot read
                return tuple(line.split(source.separator))
            return tuple(next(csv.reader([line], delimiter=source.separator)))
    except (OSError, pa.ArrowInvalid, csv.Error) as error:
        raise RefusedError(f"{file}: cannot be read as {source.format} ({error}); is it damaged?") from error
    return None


def _first_line(file: Path) -> str:
    with pa.input_stream(str(file), compression="detect") as stream:
        lines = (stream.read(1 << 16) or b"").split(b"\n")
    line = next((line for line in lines if line.strip()), b"").decode("utf-8-sig", errors="replace").rstrip("\r")
    if not line:
        raise RefusedError(f"input {file}: empty; was the download cut off?")
    return line

"""Write a share of the users' windows as Parquet files that the feed reads fast: one split each, in random order."""

import hashlib
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sparkrec.prepare.staged import file_report
from sparkrec.tables import WINDOWS
from sparkrec.tasks import as_batch
from sparkrec.window.cut import Catalogue, CutPlan, cut_windows
from sparkrec.window.made_with import KEY
from sparkrec.window.negatives import mix

SPLITS = ("train", "validation", "test")
SMALL_NUMBERS = ("event_types", "gap_buckets", "session_starts", "price_buckets", "category_idxs")
"""Few different values: a dictionary makes them small. Items are plain numbers, which are read faster so."""


def write_windows(
    plan: CutPlan, catalogue: Catalogue, folder: Path, row_group_rows: int, made: str
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Return the Arrow function from the histories of one part of the users to a report per file it wrote.

    In   batches of HISTORY_COLUMNS. folder: the table's under staging. made: see `made_with`.
    """

    def write(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        cut = [cut_windows(batch, plan, catalogue) for batch in batches if batch.num_rows]
        if not cut:
            return
        windows = pa.Table.from_batches(cut)
        cut.clear()
        split_of = windows.column("split").to_numpy(zero_copy_only=False)
        window_ids = windows.column("window_id").to_numpy()
        told = []
        for split in SPLITS:
            chosen = np.flatnonzero(split_of == split)
            if len(chosen):
                # By a hash of the window: the same order however the users came.
                order = np.argsort(mix(window_ids[chosen].astype(np.uint64) ^ np.uint64(plan.seed)), kind="stable")
                rows = windows.take(pa.array(chosen[order])).replace_schema_metadata({KEY: made})
                told.append(_write(rows, folder, str(plan.run_date), split, row_group_rows))
        yield as_batch(told)

    return write


def _write(rows: pa.Table, folder: Path, run_date: str, split: str, row_group_rows: int) -> dict[str, Any]:
    """Write a file named after its content, so that the names alone tell whether two training sets are the same."""
    of_file = rows.select(WINDOWS.in_files.names).combine_chunks()
    partition = f"{WINDOWS.partition}={run_date}"
    (folder / partition).mkdir(parents=True, exist_ok=True)
    aside = folder / partition / f"{split}-{uuid.uuid4().hex}.writing"  # a task may run twice at once
    num_groups = -(-len(of_file) // row_group_rows)
    pq.write_table(
        of_file,
        aside,
        row_group_size=-(-len(of_file) // num_groups),  # even ones, for ranks share them
        compression="zstd",
        compression_level=1,
        use_dictionary=[f"{name}.list.element" for name in SMALL_NUMBERS] + ["split"],
        write_statistics=[field.name for field in of_file.schema if not pa.types.is_list(field.type)],
    )
    digest = hashlib.sha256(aside.read_bytes()).hexdigest()[:20]
    name = f"{partition}/{split}-{digest}.parquet"
    aside.rename(folder / name)
    return file_report(folder, name, {str(WINDOWS.partition): run_date}, len(of_file))

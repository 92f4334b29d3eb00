"""Stage 2 of 5: histories -> windows with negatives.

spark-submit jobs/window.py --date 2019-10-01
"""

from datetime import timedelta

from sparkrec.job import Run, start
from sparkrec.popularity import count_by_index
from sparkrec.prepare.as_of import known_as_of
from sparkrec.tables import ITEMS, WINDOWS
from sparkrec.window.layout import build_windows, check_material, count_splits


def main(run: Run) -> None:
    lake, settings = run.lake, run.settings.window
    known = known_as_of(lake, run.date, run.settings.prepare)
    counts = count_by_index(lake.read(ITEMS), known.item_days, run.date)
    run.rows_in = check_material(known.histories, counts, settings, run.date)

    windows = build_windows(known.histories, counts, run.date, settings, run.seed)
    row_groups = {"parquet.block.row.count.limit": str(settings.row_group_rows)}
    lake.replace(WINDOWS, windows, where=f"run_date = '{run.date}'", options=row_groups)
    lake.delete(WINDOWS, where=f"run_date <= '{run.date - timedelta(days=settings.keep_days)}'")

    splits = count_splits(lake.read(WINDOWS), run.date)
    run.say(
        f"{known.remark}{run.rows_in:,} users -> {splits['train']:,} training windows of {settings.length} positions"
        f" with {settings.num_negatives} negatives per target ({settings.negatives}),"
        f" {splits['validation']:,} validation and {splits['test']:,} test targets"
    )


if __name__ == "__main__":
    start(__doc__, main)

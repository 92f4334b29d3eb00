"""Stage 2 of 5: histories -> windows with negatives.

spark-submit jobs/window.py --date 2019-10-01
"""

from sparkrec.job import Run, start
from sparkrec.popularity import categories_by_index, count_by_index, with_events
from sparkrec.prepare.as_of import known_as_of
from sparkrec.prepare.staged import new_files
from sparkrec.tables import ITEMS, WINDOWS
from sparkrec.window.cut import CutPlan, catalogue_of
from sparkrec.window.held_out import held_out_of, popularity_by_split
from sparkrec.window.layout import check_material, check_splits, stage_windows
from sparkrec.window.made_with import made_with


def main(run: Run) -> None:
    lake, settings = run.lake, run.settings.window
    known = known_as_of(lake, run.date, run.settings.prepare)
    items = with_events(lake.read(ITEMS), known.item_days)
    all_counts = count_by_index(items, known.item_days, run.date)
    counts = popularity_by_split(known, all_counts, items, run.date, settings)["validation"]
    run.rows_in, num_windows = check_material(known.histories, counts, settings, run.date)
    categories = categories_by_index(items, len(counts))
    catalogue = catalogue_of(
        counts, categories, settings.min_item_events, settings.popularity_power, settings.negatives
    )
    held_out = held_out_of(lake, run.date, settings)
    plan = CutPlan(run.date, settings.length, settings.step, settings.num_negatives, run.seed, held_out)

    told = stage_windows(
        known.histories, num_windows, plan, catalogue, lake.staging(WINDOWS), settings, made_with(run.settings)
    )
    splits = check_splits(told, f"{lake.path(WINDOWS)} {run.date}")
    lake.commit_date(WINDOWS, new_files(told, WINDOWS), run.date, settings.keep_days)
    run.say(
        f"{known.remark}{run.rows_in:,} users -> {splits['train']:,} training windows of {settings.length} positions"
        f" with {settings.num_negatives} negatives per target ({', '.join(settings.negatives)}),"
        f" {splits['validation']:,} validation and {splits['test']:,} test targets"
    )


if __name__ == "__main__":
    start(__doc__, main)

"""Stage 3 of 5: windows -> a trained model and its held-out figures.

spark-submit jobs/train.py --date 2019-10-01 --set train.num_workers=2
"""

from sparkrec.evaluate.held_out import rank_held_out
from sparkrec.evaluate.summary import held_out_figures
from sparkrec.job import Run, code_version, now, start
from sparkrec.popularity import count_by_index
from sparkrec.prepare.as_of import known_as_of
from sparkrec.tables import ITEMS, MODELS, WINDOWS
from sparkrec.train.candidate import model_row, plan_training, with_candidate
from sparkrec.train.launch import in_words, train_or_reuse
from sparkrec.train.plan import pin_training_set


def main(run: Run) -> None:
    lake = run.lake
    windows = lake.read(WINDOWS).where(f"run_date = '{run.date}'")
    training_set = pin_training_set(windows, f"{lake.path(WINDOWS)} {run.date}")
    run.rows_in = training_set.train.num_rows
    known = known_as_of(lake, run.date, run.settings.prepare)
    counts = count_by_index(lake.read(ITEMS), known.item_days, run.date)
    plan = plan_training(
        training_set, counts, lake.lineage(ITEMS), run.date, run.settings, lake.model_root(), code_version()
    )
    version = plan.card.model_version

    told = train_or_reuse(run.spark, plan)
    ranks = rank_held_out(windows, plan.folder, counts, run.settings.evaluate.tile_users)
    figures = held_out_figures(ranks, version, run.date, run.settings.evaluate.top_k)
    candidate = model_row(run.spark, plan, run.date, run.settings, lake.versions_read, figures, now())
    lake.overwrite(MODELS, with_candidate(lake.read_or_empty(MODELS), candidate, version, run.date))
    run.say(f"{version}: {run.rows_in:,} windows, {in_words(told, figures)}")


if __name__ == "__main__":
    start(__doc__, main)

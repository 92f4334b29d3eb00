"""Stage 3 of 5: windows -> a trained model and its held-out figures.

spark-submit jobs/train.py --date 2019-10-01 --set train.num_workers=2
"""

from sparkrec.evaluate import contest
from sparkrec.evaluate.figures import summed
from sparkrec.evaluate.held_out import sums_of_held_out
from sparkrec.evaluate.summary import figures_by_split
from sparkrec.job import Run, code_version, now, start
from sparkrec.models.published import last_published
from sparkrec.popularity import categories_by_index, count_by_index, with_events
from sparkrec.prepare.as_of import known_as_of
from sparkrec.tables import ITEMS, MODELS, WINDOWS
from sparkrec.train.attributes import attributes_of
from sparkrec.train.candidate import model_row, plan_training, vocabulary_of, with_candidate
from sparkrec.train.launch import in_words, train_or_reuse
from sparkrec.train.logbook import tell_mlflow
from sparkrec.train.neighbours import neighbours_of
from sparkrec.train.plan import pin_training_set
from sparkrec.window.held_out import lately_by_split, popularity_by_split
from sparkrec.window.laws import known_mask
from sparkrec.window.made_with import check_made_with


def main(run: Run) -> None:
    lake, settings = run.lake, run.settings
    check_made_with(lake, run.date, settings)
    windows = lake.read(WINDOWS).where(f"run_date = '{run.date}'")
    training_set = pin_training_set(windows, f"{lake.path(WINDOWS)} {run.date}")
    run.rows_in = training_set.train.num_rows
    known = known_as_of(lake, run.date, settings.prepare)
    items = with_events(lake.read(ITEMS), known.item_days)
    counts = count_by_index(items, known.item_days, run.date)
    popularity = popularity_by_split(known, counts, items, run.date, settings.window)
    lately = lately_by_split(known, items, run.date, settings.window)
    least, categories = settings.window.min_item_events, categories_by_index(items, len(counts))
    attributes = attributes_of(items, known_mask(popularity["validation"], least), settings.train.attributes)
    neighbours = neighbours_of(windows, training_set.train.num_targets, len(counts), settings.train.num_neighbours)
    vocabulary = vocabulary_of(popularity["validation"], categories, attributes, neighbours, lately, least)
    models = lake.read_or_empty(MODELS)
    champion = last_published(lake, models, run.date)
    plan = plan_training(
        training_set, vocabulary, lake.lineage(ITEMS), run.date, settings, lake.model_root(), code_version(), champion
    )

    published, told = train_or_reuse(
        run.spark, plan, vocabulary, vocabulary_of(counts, categories, attributes, neighbours, lately, least)
    )
    contestants = contest.with_champion({plan.card.model_version: plan.folder}, champion, contest.CHAMPION)
    sums = sums_of_held_out(windows, contest.gate_of(contestants, popularity, lately, settings))
    figures = figures_by_split(summed(sums), plan.card.model_version)
    tell_mlflow(plan, told, figures)
    candidate = model_row(run.spark, published, run.date, settings, lake.versions_read, figures, now())
    lake.overwrite(MODELS, with_candidate(models, candidate, published.card.model_version, run.date))
    remark = contest.in_words(contestants, champion)
    run.say(f"{published.card.model_version}: {run.rows_in:,} windows, {in_words(told, figures)}{remark}")


if __name__ == "__main__":
    start(__doc__, main)

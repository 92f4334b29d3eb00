"""Stage 5 of 5: held-out targets -> hit rate and NDCG of the night's model beside most-popular.

spark-submit jobs/evaluate.py --date 2019-10-01 [--against MODEL_VERSION]
"""

from sparkrec.evaluate.contest import contest_of
from sparkrec.evaluate.figures import metrics_of, summed
from sparkrec.evaluate.held_out import existing, sums_of_held_out
from sparkrec.evaluate.leaks import check_models, check_windows
from sparkrec.evaluate.night import figures_of_published, figures_of_realised
from sparkrec.evaluate.protocols import protocol_of
from sparkrec.evaluate.report.write import reported
from sparkrec.evaluate.summary import by_name, headline, sentence_of
from sparkrec.job import Run, start
from sparkrec.models.published import earlier_models, evaluated, published_model
from sparkrec.popularity import count_by_index
from sparkrec.prepare.as_of import known_as_of
from sparkrec.tables import ITEMS, METRICS, MODELS, RECOMMENDATIONS, WINDOWS
from sparkrec.window.held_out import held_out_words, popularity_by_split
from sparkrec.window.made_with import check_made_with


def main(run: Run) -> None:
    lake, settings = run.lake, run.settings
    of_the_night = f"run_date = '{run.date}'"
    check_made_with(lake, run.date, settings)
    version, folder = published_model(lake.read(RECOMMENDATIONS).where(of_the_night), lake.read(MODELS), run.date)
    windows = existing(lake.read(WINDOWS).where(of_the_night), f"{lake.path(WINDOWS)} {run.date}")
    known, items = known_as_of(lake, run.date, settings.prepare), lake.read(ITEMS)
    counts = count_by_index(items, known.item_days, run.date)
    popularity = popularity_by_split(known, counts, items, run.date, settings.window)
    models = {version: evaluated(folder)} | earlier_models(lake.read(MODELS), run.asked.against, run.date)
    check_models(models, held_out_words(settings.window))
    check_windows(windows, f"{lake.path(WINDOWS)} {run.date}")
    contest = contest_of(models, popularity, items, settings)

    top_k = settings.evaluate.top_k
    figures = [
        summed(sums_of_held_out(windows.where("split = 'test'"), contest)),
        *figures_of_published(lake, items, counts, run.date, version, top_k),
        *figures_of_realised(lake, items, known, run.date, top_k),
    ]
    lake.replace(METRICS, metrics_of(figures, run.date), where=of_the_night)
    rows = headline(lake.read(METRICS).where(of_the_night))
    run.figures.update(by_name(rows, version))
    run.rows_in = int(run.figures.get("users", 0))
    run.say(f"{version}, {protocol_of(settings.window).replace('_', ' ')} ranking: {sentence_of(rows, version)}")


if __name__ == "__main__":
    start(__doc__, main, reported)

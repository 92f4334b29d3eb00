"""Stage 5 of 5: held-out targets and published lists -> metrics of the night, and its report.

spark-submit jobs/evaluate.py --date 2019-10-01 [--against MODEL_VERSION] [--format html|json]
"""

from sparkrec.evaluate.contest import contest_of, in_words, with_champion
from sparkrec.evaluate.figures import metrics_of, summed
from sparkrec.evaluate.heads import figures_of_heads
from sparkrec.evaluate.held_out import existing, sums_of_held_out
from sparkrec.evaluate.leaks import check_models, check_windows
from sparkrec.evaluate.night import figures_of_published, figures_of_realised
from sparkrec.evaluate.protocols import protocol_of
from sparkrec.evaluate.report.write import reported
from sparkrec.evaluate.summary import by_name, headline, sentence_of
from sparkrec.job import Run, start
from sparkrec.models.published import earlier_models, evaluated, last_published, published_model
from sparkrec.popularity import count_by_index, with_events
from sparkrec.prepare.as_of import known_as_of
from sparkrec.tables import ITEMS, METRICS, MODELS, RECOMMENDATIONS, WINDOWS
from sparkrec.window.held_out import held_out_words, lately_by_split, popularity_by_split
from sparkrec.window.made_with import check_made_with


def main(run: Run) -> None:
    lake, settings, models = run.lake, run.settings, run.lake.read(MODELS)
    of_the_night, where = f"run_date = '{run.date}'", f"{lake.path(WINDOWS)} {run.date}"
    check_made_with(lake, run.date, settings)
    version, folder = published_model(lake.read(RECOMMENDATIONS).where(of_the_night), models, run.date)
    windows = existing(lake.read(WINDOWS).where(of_the_night), where)
    known = known_as_of(lake, run.date, settings.prepare)
    items = with_events(lake.read(ITEMS), known.item_days)
    counts = count_by_index(items, known.item_days, run.date)
    popularity = popularity_by_split(known, counts, items, run.date, settings.window)
    lately = lately_by_split(known, items, run.date, settings.window)
    asked = {version: evaluated(folder)} | earlier_models(models, run.asked.against, run.date)
    check_models(asked, held_out_words(settings.window))
    check_windows(windows, where)
    champion = last_published(lake, models, run.date)
    contestants = with_champion(asked, champion)
    contest = contest_of(contestants, popularity, lately, items, settings)

    top_k = settings.evaluate.top_k
    figures = [
        summed(sums_of_held_out(windows.where("split = 'test'"), contest)),
        *figures_of_heads(windows, contest.models, settings.window),
        *figures_of_published(lake, items, counts, run.date, version, top_k),
        *figures_of_realised(lake, items, known, run.date, top_k),
    ]
    lake.replace(METRICS, metrics_of(figures, run.date), where=of_the_night)
    rows = headline(lake.read(METRICS).where(of_the_night))
    run.figures.update(by_name(rows, version))
    run.rows_in = int(run.figures.get("users", 0))
    told = f"{sentence_of(rows, version)}{in_words(contestants, champion)}"
    run.say(f"{version}, {protocol_of(settings.window).replace('_', ' ')} ranking: {told}")


if __name__ == "__main__":
    start(__doc__, main, reported)

"""Stage 5 of 5: held-out targets -> hit rate and NDCG of the night's model beside most-popular.

spark-submit jobs/evaluate.py --date 2019-10-01
"""

from sparkrec.evaluate.contest import contest_of
from sparkrec.evaluate.figures import figures_of, summed
from sparkrec.evaluate.held_out import existing, sums_of_held_out
from sparkrec.evaluate.protocols import protocol_of
from sparkrec.evaluate.summary import by_name, headline, sentence_of
from sparkrec.job import Run, start
from sparkrec.models.published import evaluated, published_model
from sparkrec.popularity import count_by_index
from sparkrec.prepare.as_of import known_as_of
from sparkrec.tables import ITEMS, METRICS, MODELS, RECOMMENDATIONS, WINDOWS
from sparkrec.window.held_out import popularity_by_split
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
    contest = contest_of({version: evaluated(folder)}, popularity, items, settings)

    sums = sums_of_held_out(windows.where("split = 'test'"), contest)
    lake.replace(METRICS, figures_of(summed(sums), run.date), where=of_the_night)
    rows = headline(lake.read(METRICS).where(of_the_night))
    run.figures.update(by_name(rows, version))
    run.rows_in = int(run.figures.get("users", 0))
    run.say(f"{version}, {protocol_of(settings.window).replace('_', ' ')} ranking: {sentence_of(rows, version)}")


if __name__ == "__main__":
    start(__doc__, main)

"""Stage 5 of 5: held-out targets -> hit rate and NDCG of the night's model beside most-popular.

spark-submit jobs/evaluate.py --date 2019-10-01
"""

from sparkrec.evaluate.figures import PROTOCOLS, figures_of
from sparkrec.evaluate.held_out import existing, popularity_by_split, rank_held_out
from sparkrec.evaluate.summary import num_users, overall, sentence_of
from sparkrec.job import Run, start
from sparkrec.models.published import evaluated, published_model
from sparkrec.popularity import count_by_index
from sparkrec.prepare.as_of import known_as_of
from sparkrec.tables import ITEMS, METRICS, MODELS, RECOMMENDATIONS, WINDOWS
from sparkrec.window.made_with import check_made_with


def main(run: Run) -> None:
    lake, settings = run.lake, run.settings.evaluate
    of_the_night = f"run_date = '{run.date}'"
    check_made_with(lake, run.date, run.settings)
    version, folder = published_model(lake.read(RECOMMENDATIONS).where(of_the_night), lake.read(MODELS), run.date)
    windows = existing(lake.read(WINDOWS).where(of_the_night), f"{lake.path(WINDOWS)} {run.date}")
    known = known_as_of(lake, run.date, run.settings.prepare)
    protocol = PROTOCOLS[run.settings.window.held_out]
    items = lake.read(ITEMS)
    counts = count_by_index(items, known.item_days, run.date)
    popularity = popularity_by_split(windows, counts, items, known.item_days, run.date, run.settings.window)

    ranks = rank_held_out(windows, evaluated(folder), popularity, settings.tile_users).where("split = 'test'")
    lake.replace(METRICS, figures_of(ranks, run.date, version, settings.top_k, protocol), where=of_the_night)
    figures = lake.read(METRICS).where(of_the_night)
    run.figures.update(overall(figures))
    run.rows_in = num_users(figures)
    run.say(f"{version}, {protocol.replace('_', ' ')} ranking: {sentence_of(figures)}")


if __name__ == "__main__":
    start(__doc__, main)

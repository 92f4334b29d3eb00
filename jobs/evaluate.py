"""Stage 5 of 5: held-out targets -> hit rate and NDCG of the night's model beside most-popular.

spark-submit jobs/evaluate.py --date 2019-10-01
"""

from sparkrec.evaluate.figures import figures_of
from sparkrec.evaluate.held_out import existing, rank_held_out
from sparkrec.evaluate.summary import num_users, overall, sentence_of
from sparkrec.job import Run, start
from sparkrec.popularity import count_by_index
from sparkrec.prepare.as_of import known_as_of
from sparkrec.recommend.choose import published_model
from sparkrec.tables import ITEMS, METRICS, MODELS, RECOMMENDATIONS, WINDOWS


def main(run: Run) -> None:
    lake, settings = run.lake, run.settings.evaluate
    of_the_night = f"run_date = '{run.date}'"
    version, folder = published_model(lake.read(RECOMMENDATIONS).where(of_the_night), lake.read(MODELS), run.date)
    windows = existing(lake.read(WINDOWS).where(of_the_night), f"{lake.path(WINDOWS)} {run.date}")
    known = known_as_of(lake, run.date, run.settings.prepare)
    counts = count_by_index(lake.read(ITEMS), known.item_days, run.date)

    ranks = rank_held_out(windows, folder, counts, settings.tile_users).where("split = 'test'")
    lake.replace(METRICS, figures_of(ranks, run.date, version, settings.top_k), where=of_the_night)
    figures = lake.read(METRICS).where(of_the_night)
    run.figures.update(overall(figures))
    run.rows_in = num_users(figures)
    run.say(f"{version}, leave one out, full ranking: {sentence_of(figures)}")


if __name__ == "__main__":
    start(__doc__, main)

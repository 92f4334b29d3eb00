"""Stage 4 of 5: histories and a model -> the top N items of every user, checked, then published.

spark-submit jobs/recommend.py --date 2019-10-01
"""

from sparkrec.job import Run, start
from sparkrec.models.published import published_version
from sparkrec.popularity import count_by_index
from sparkrec.prepare.as_of import known_as_of
from sparkrec.recommend.check import check_night, look_at
from sparkrec.recommend.choose import check_vocabulary, choose_model, with_champion
from sparkrec.recommend.fallback import popular_step
from sparkrec.recommend.score import ScorePlan, available_mask, name_items, score_users
from sparkrec.tables import ITEMS, MODELS, RECOMMENDATIONS


def main(run: Run) -> None:
    lake, settings = run.lake, run.settings.recommend
    top_n, of_the_night = settings.top_n, f"run_date = '{run.date}'"
    known, items = known_as_of(lake, run.date, run.settings.prepare), lake.read(ITEMS)
    run.rows_in = known.histories.count()
    all_time = count_by_index(items, known.item_days, run.date)
    lately = count_by_index(items, known.item_days, run.date, settings.popular_days)

    published = published_version(lake.read_or_empty(RECOMMENDATIONS).where(of_the_night))
    model, remark = choose_model(lake.read(MODELS).collect(), published, run.date, settings.max_ndcg_drop)
    check_vocabulary(model, lake.lineage(ITEMS), len(all_time))

    may_offer = available_mask(items, len(all_time))
    enough = top_n + run.settings.prepare.max_purchased
    ladder = (
        popular_step(f"popular_{settings.popular_days}_days", lately, may_offer, enough, least=1),
        popular_step("popular_all_time", all_time, may_offer, enough, least=1),
    )
    scored = score_users(known.histories, ScorePlan(model["path"], top_n, settings.tile_users, may_offer, ladder))
    night = name_items(scored, items, run.date, model["model_version"])
    staged = lake.stage(RECOMMENDATIONS.name, night)
    found = look_at(staged, top_n)
    check_night(found, run.rows_in, top_n, f"{lake.path(RECOMMENDATIONS)} {run.date}")
    lake.replace(RECOMMENDATIONS, staged, where=of_the_night)
    lake.overwrite(MODELS, with_champion(lake.read(MODELS), model["model_version"], run.date))
    lake.unstage(RECOMMENDATIONS.name)
    sources = ", ".join(f"{count:,} {source}" for source, count in sorted(found.rows_by_source.items()))
    run.say(f"{remark}{known.remark}{found.users:,} users x {top_n} items by {model['model_version']} ({sources})")


if __name__ == "__main__":
    start(__doc__, main)

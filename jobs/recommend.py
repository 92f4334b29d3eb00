"""Stage 4 of 5: histories and a model -> the top N items of every user, checked, then published.

spark-submit jobs/recommend.py --date 2019-10-01
"""

from sparkrec.evaluate.drift import shape_of_day
from sparkrec.job import Run, code_version, start
from sparkrec.models.published import published_version
from sparkrec.prepare.as_of import known_as_of
from sparkrec.prepare.staged import new_files
from sparkrec.recommend.check import (
    doubts_of,
    faults_of,
    faults_of_offer,
    figures_of_groups,
    figures_of_night,
    figures_of_rules,
    judge,
    sentence_of,
)
from sparkrec.recommend.choose import choose_model, figures_of_model, with_champion
from sparkrec.recommend.groups import read_staged, stage_groups
from sparkrec.recommend.inputs import read_audience, read_rules
from sparkrec.recommend.last_night import last_night, lists_to_carry
from sparkrec.recommend.night import drop_staged, offer_of, plan_night
from sparkrec.recommend.people import audience_size, people_of
from sparkrec.recommend.variety_cost import cost_of_variety
from sparkrec.tables import EVENTS, ITEMS, MODELS, RECOMMENDATIONS


def main(run: Run) -> None:
    lake, settings, where = run.lake, run.settings.recommend, f"{run.lake.path(RECOMMENDATIONS)} {run.date}"
    audience, rules = read_audience(lake), read_rules(lake, run.date)
    known, items = known_as_of(lake, run.date, run.settings.prepare), lake.read(ITEMS)
    published = published_version(lake.read_or_empty(RECOMMENDATIONS).where(f"run_date = '{run.date}'"))
    model, doubts, remark = choose_model(lake.read(MODELS).collect(), published, run.date, settings)
    run.figures |= figures_of_model(model) | shape_of_day(lake.read_or_empty(EVENTS), known.histories, items, run.date)
    offer, refusals, rule_items = offer_of(items, lake.lineage(ITEMS), known, rules, model, run.date, settings)
    judge(faults_of_offer(offer, refusals, settings.top_n), doubts, where, run.asked.force)

    last = last_night(lake, run.date, settings.drift_nights)
    plan, decided_by = plan_night(lake, offer, model, run.date, run.settings, code_version())
    carried = lists_to_carry(last, settings.carry_over)
    people = people_of(known.histories, audience, carried, decided_by, plan.cuts, bool(known.remark))
    told = stage_groups(people, plan)
    run.rows_in = audience_size(known.histories, audience)
    run.figures |= figures_of_groups(told, refusals, offer) | figures_of_rules(rule_items)
    staged = read_staged(run.spark, told, plan)
    run.figures |= figures_of_night(staged, last, run.figures, offer, settings)
    run.figures |= cost_of_variety(lake, plan, known, items, run.settings.window)
    doubts += doubts_of(run.figures, settings)
    remark += judge(faults_of(run.figures, run.rows_in, settings.top_n), doubts, where, run.asked.force)

    lake.commit_date(RECOMMENDATIONS, new_files(told, RECOMMENDATIONS), run.date, settings.keep_days, plan.staging)
    lake.overwrite(MODELS, with_champion(lake.read(MODELS), model["model_version"], run.date))
    drop_staged(lake, run.date)
    run.say(f"{remark}{known.remark}{sentence_of(run.figures, model['model_version'], settings.top_n)}")


if __name__ == "__main__":
    start(__doc__, main)

"""Stage 1 of 5: raw clicks -> events, quarantine, items, item_days, histories.

spark-submit jobs/prepare.py --source conf/sources/rees46.yaml --input 2019-Oct.csv.gz --date 2019-10-01
"""

from sparkrec.job import Run, start
from sparkrec.prepare.catalogue import find_catalogue
from sparkrec.prepare.commit import commit_events, commit_items_and_histories, commit_quarantine
from sparkrec.prepare.heal import bring_in_step, check_lake
from sparkrec.prepare.night import take_in


def main(run: Run) -> None:
    lake, settings, (source, place) = run.lake, run.settings.prepare, run.asked.clicks
    check_lake(lake, settings, source.time.zone)
    catalogue = find_catalogue(settings.catalogue, run.date)
    lake.unstage()
    bring_in_step(lake, settings, run.say)
    night = take_in(lake, source, place, run.date, run.started_at, settings)
    run.rows_in = night.ledger.rows_in
    run.say(night.ledger.sentence())

    commit_quarantine(lake, night, run.date)
    commit_events(lake, night)
    num_items, num_users, as_of = commit_items_and_histories(lake, night, run.date, settings, catalogue)
    lake.unstage()
    run.say(
        f"{lake.rows_out['events']:,} events written on {len(night.days)} days, {num_items:,} items"
        f" and {num_users:,} users known, histories reach to {as_of}"
    )


if __name__ == "__main__":
    start(__doc__, main)

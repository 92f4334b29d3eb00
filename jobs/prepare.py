"""Stage 1 of 5: raw clicks -> events, quarantine, items, item_days, histories.

spark-submit jobs/prepare.py --source conf/sources/rees46.yaml --input 2019-Oct.csv.gz --date 2019-10-01
"""

from sparkrec.job import Run, start
from sparkrec.prepare.as_of import newest_histories
from sparkrec.prepare.items import count_item_days, describe_items, extend_items
from sparkrec.prepare.night import take_in
from sparkrec.prepare.read import read_clicks
from sparkrec.tables import EVENTS, HISTORIES, ITEM_DAYS, ITEMS, QUARANTINE


def main(run: Run) -> None:
    lake, settings, (source, place) = run.lake, run.settings.prepare, run.clicks
    night = take_in(
        read_clicks(run.spark, source, place),
        lake.read_or_empty(EVENTS),
        source,
        run.date,
        place.path,
        settings,
    )
    run.rows_in = night.ledger.rows_in
    run.say(night.ledger.sentence())

    lake.replace(EVENTS, night.events, where=f"event_date >= '{night.first_day}'")
    lake.replace(QUARANTINE, night.refused, where=f"run_date = '{run.date}'")
    night.release()

    events = lake.read(EVENTS)
    lake.overwrite(ITEMS, extend_items(lake.read_or_empty(ITEMS), describe_items(events)))
    lake.overwrite(ITEM_DAYS, count_item_days(events))
    histories, as_of = newest_histories(lake, run.date, settings)
    lake.overwrite(HISTORIES, histories)
    run.say(
        f"{lake.rows_out['events']:,} events of {night.first_day} and later written, {lake.rows_out['items']:,} items"
        f" and {lake.rows_out['histories']:,} users known, histories reach to {as_of}"
    )


if __name__ == "__main__":
    start(__doc__, main, reads_clicks=True)

"""What a date's windows hold out, in days: where training ends, and where the two periods begin."""

from datetime import date, timedelta

from sparkrec.config.settings import WindowSettings
from sparkrec.lake import Lake
from sparkrec.prepare.clean import start_of
from sparkrec.prepare.heal import ZONE
from sparkrec.tables import EVENTS
from sparkrec.window.rows import Cut


def cut_of(lake: Lake, run_date: date, settings: WindowSettings) -> Cut | None:
    """Return the instants of a cut by date, in the zone of the lake's days; None where the last items are held out."""
    if settings.held_out == "last_items":
        return None
    zone = lake.properties(EVENTS)[ZONE]
    validation, test = (
        start_of(last_known_day(run_date, split, settings) + timedelta(days=1), zone)
        for split in ("validation", "test")
    )
    return Cut(validation, test)


def last_known_day(run_date: date, split: str, settings: WindowSettings) -> date:
    """Return the last day whose events may be used to predict a split's targets: training's, for validation."""
    if settings.held_out == "last_items":
        return run_date
    return run_date - timedelta(days=settings.held_out_days * (2 if split == "validation" else 1))

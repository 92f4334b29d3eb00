"""How figures come about, by the name under which they stand in `metrics`."""

from typing import get_args

from sparkrec.config.settings import Kind, WindowSettings

HELD_OUT = {"last_items": "leave_one_out", "date": "by_date", "sessions": "next_in_session"}
FULL, DRAWN = "full", "sampled"


def protocol_of(settings: WindowSettings, drawn_items: int = 0) -> str:
    """Return the name, <how targets are held out>[_<kinds of events>]_full or …_sampled_<number of items>.

    >>> protocol_of(WindowSettings(held_out_events=["purchase"]), 999)
    'leave_one_out_purchase_sampled_999'
    """
    kinds = [kind for kind in get_args(Kind) if kind in settings.held_out_events]
    named = [] if set(kinds) == set(WindowSettings().held_out_events) else kinds
    ranking = f"{DRAWN}_{drawn_items}" if drawn_items else FULL
    return "_".join([HELD_OUT[settings.held_out], *named, ranking])


def statement_of(settings: WindowSettings) -> str:
    """Return in a sentence what is to be found in the ranking among all items, and what does not compete."""
    kinds = "" if protocol_of(settings) == f"{HELD_OUT[settings.held_out]}_{FULL}" else _kinds(settings)
    sought = {
        "last_items": f"the last{kinds} item of every user, predicted from all events before it",
        "date": f"the{kinds} items of the last {settings.held_out_days} day(s), predicted from all events before"
        " these days",
        "sessions": f"every{kinds} step within the sessions of the last {settings.held_out_days} day(s) but their first"
        f" events, predicted from the events before it, {settings.length} at most",
    }[settings.held_out]
    left_out = "" if settings.held_out == "sessions" else " but the others that the user had touched"
    return f"{sought}; ranked among all items{left_out}, ties against the model"


def _kinds(settings: WindowSettings) -> str:
    return f" {' or '.join(settings.held_out_events)}"

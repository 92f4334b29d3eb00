"""What users do in the sample: sessions with pauses, interests that drift, one item leading to the next.

S sessions   E events
"""

from dataclasses import dataclass

import numpy as np

from sparkrec.sample.world import Ints, World, following, popular_in

DAY_US = 86_400_000_000
VIEW, CART, PURCHASE, SEARCH = 0, 1, 2, 3
WORDS = np.array(["view", "cart", "purchase", "search"])
MEAN_SESSION = 7.0
MAX_SESSION = 60
EVENTS_PER_LOOK = 1.36
"""Events that one look at an item brings on average, with the carts, purchases and searches around it."""

FOLLOW, STAY_POPULAR = 0.62, 0.88
"""Next look: the item that follows (below FOLLOW), a popular one of the category, else one of anywhere."""


@dataclass(frozen=True)
class Clicks:
    """Events in no particular order. `item` is -1 for a search; `query` is a category, else -1."""

    user: Ints
    time_us: Ints
    kind: Ints
    item: Ints
    query: Ints

    def take(self, chosen: Ints) -> "Clicks":
        return Clicks(*(getattr(self, name)[chosen] for name in self.__dataclass_fields__))


def make_clicks(world: World, num_events: int, num_users: int, num_days: int, rng: np.random.Generator) -> Clicks:
    """Return `num_events` events of up to `num_users` users, in microseconds from the start of the first day."""
    num_sessions = int(num_events / EVENTS_PER_LOOK / MEAN_SESSION * 1.1) + 10
    user, start_us, length = _sessions(num_sessions, num_users, num_days, rng)
    interest = _interests(world, user, start_us, rng)
    looks = _looks(world, interest, length, rng)
    clicks = _events(world, user, start_us, interest, *looks, rng)
    inside = np.flatnonzero(clicks.time_us < num_days * DAY_US)
    # Whole sessions go first to last, so that a cut takes the newest sessions of the last users, not random holes.
    return clicks.take(inside[:num_events])


def _sessions(num_sessions: int, num_users: int, num_days: int, rng: np.random.Generator) -> tuple[Ints, Ints, Ints]:
    # Activity is heavy-tailed: a few users come every day, most once or twice.
    activity = np.cumsum(np.minimum(rng.pareto(1.3, num_users) + 0.15, 60.0))
    user = np.searchsorted(activity, rng.random(num_sessions) * activity[-1])
    hour = rng.normal(15.5, 4.0, num_sessions) % 24
    start_us = ((rng.integers(0, num_days, num_sessions) + hour / 24) * DAY_US).astype(np.int64)
    length = np.minimum(rng.geometric(1 / MEAN_SESSION, num_sessions), MAX_SESSION)
    return user, start_us, length


def _interests(world: World, user: Ints, start_us: Ints, rng: np.random.Generator) -> Ints:
    """Return a category per session: a user's first one, then sometimes the one it drifts to, session by session."""
    order = np.lexsort((start_us, user))
    is_first = np.diff(user[order], prepend=-1) != 0
    drifts = np.where(is_first, 0, rng.random(len(order)) < 0.35).cumsum()
    first_place = np.flatnonzero(is_first)
    since_first = drifts - np.repeat(drifts[first_place], np.diff(np.append(first_place, len(order))))
    start = np.searchsorted(world.category_chance, rng.random(len(first_place)))
    category = np.repeat(start, np.diff(np.append(first_place, len(order))))
    # Powers of the drift permutation: a step for all sessions that still have steps to go.
    steps_left = np.minimum(since_first, 200)
    for _ in range(int(steps_left.max(initial=0))):
        going = steps_left > 0
        category[going] = world.next_category[category[going]]
        steps_left[going] -= 1
    interest = np.empty(len(order), dtype=np.int64)
    interest[order] = category
    return interest


def _looks(world: World, interest: Ints, length: Ints, rng: np.random.Generator) -> tuple[Ints, Ints, Ints]:
    """Return (session, step, item) of every look, all sessions one step at a time."""
    going = np.arange(len(interest))
    item = popular_in(world, interest, rng.random(len(interest)))
    sessions, steps, items = [going], [np.zeros(len(going), dtype=np.int64)], [item]
    for step in range(1, int(length.max())):
        stays = length[going] > step
        going, item = going[stays], item[stays]
        choice = rng.random(len(going))
        anywhere = np.searchsorted(world.category_chance, rng.random(len(going)))
        category = np.where(choice < STAY_POPULAR, interest[going], anywhere)
        item = np.where(choice < FOLLOW, following(world, item), popular_in(world, category, rng.random(len(going))))
        sessions.append(going)
        steps.append(np.full(len(going), step))
        items.append(item)
    return np.concatenate(sessions), np.concatenate(steps), np.concatenate(items)


def _events(
    world: World,
    user: Ints,
    start_us: Ints,
    interest: Ints,
    session: Ints,
    step: Ints,
    item: Ints,
    rng: np.random.Generator,
) -> Clicks:
    order = np.lexsort((step, session))
    session, step, item = session[order], step[order], item[order]
    pause_us = (rng.exponential(45.0, len(session)) * 1e6 + 1e6).astype(np.int64)
    pause_us[step == 0] = 0
    total = np.cumsum(pause_us)
    at_first = np.flatnonzero(step == 0)
    base = np.repeat(total[at_first], np.diff(np.append(at_first, len(session))))
    time_us = start_us[session] + total - base

    is_cart = rng.random(len(session)) < 0.16
    is_purchase = is_cart & (rng.random(len(session)) < 0.40)
    is_search = rng.random(len(session)) < np.where(step == 0, 0.45, 0.09)
    nowhere = np.full(len(session), -1)
    parts = [
        (np.ones(len(session), dtype=bool), VIEW, 0, item, nowhere),
        (is_cart, CART, 8_000_000, item, nowhere),
        (is_purchase, PURCHASE, 20_000_000, item, nowhere),
        (is_search, SEARCH, -4_000_000, nowhere, interest[session]),
    ]
    gathered = Clicks(
        user=np.concatenate([user[session[chosen]] for chosen, *_ in parts]),
        time_us=np.concatenate([time_us[chosen] + shift for chosen, _, shift, _, _ in parts]),
        kind=np.concatenate([np.full(int(chosen.sum()), kind) for chosen, kind, *_ in parts]),
        item=np.concatenate([of_part[chosen] for chosen, _, _, of_part, _ in parts]),
        query=np.concatenate([query[chosen] for chosen, *_, query in parts]),
    )
    look = np.concatenate([np.flatnonzero(chosen) for chosen, *_ in parts])
    return gathered.take(np.argsort(look, kind="stable"))

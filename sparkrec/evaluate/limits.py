"""The limits that a night's figures must keep to be published: for the check, and for whoever reads the report."""

from collections.abc import Mapping
from dataclasses import dataclass

from sparkrec.config.settings import RecommendSettings

ROOM = 20
"""Concentration is judged where so many times N items are on offer, and so many users get lists."""

LEAST = (
    ("user_share", "min_user_share", "users, as a share of the last night's"),
    ("overlap", "min_overlap", "of a list was in the last one"),
    ("coverage", "min_coverage", "of the items on offer are in a list"),
)
MOST = (
    ("fallback_share", "max_fallback_share", "rows from fallbacks"),
    ("new_users", "max_new_users", "of the day's users are new"),
    ("new_items", "max_new_items", "of the day's items are new"),
)
CONCENTRATION = ("concentration", "max_concentration", "of all rows are the N most shown items")
DRIFT = ("drift", "max_drift", "stability index")
"""Name of the figure, the setting, and what it is in words."""


@dataclass(frozen=True)
class Limit:
    """A figure, and the setting that it must not pass."""

    name: str
    value: float
    is_least: bool
    limit: float
    setting: str
    words: str

    @property
    def is_kept(self) -> bool:
        return self.value >= self.limit if self.is_least else self.value <= self.limit

    def in_words(self) -> str:
        return f"{self.value:.3f} {self.words} (recommend.{self.setting} {self.limit})"


def limits_in_force(settings: RecommendSettings) -> dict[str, float]:
    """Return the limits as figures of a night, 'limit max_drift' and so on: settings may be others when it is read."""
    return {
        f"limit {setting}": float(getattr(settings, setting)) for _, setting, _ in (*LEAST, *MOST, CONCENTRATION, DRIFT)
    }


def limits_of(found: Mapping[str, float], settings: RecommendSettings) -> list[Limit]:
    """Return the limits of all figures that were measured, those of the settings where the night does not tell them."""
    most = list(MOST)
    if found.get("offered", 0) >= ROOM * settings.top_n and found.get("users", 0) >= ROOM:
        most.append(CONCENTRATION)
    _, drift_setting, drift_words = DRIFT
    drifts = sorted(name for name in found if name.startswith("drift "))
    most += [(name, drift_setting, f"{drift_words} {name.removeprefix('drift ')}") for name in drifts]
    return [
        Limit(name, found[name], is_least, _limit(setting, found, settings), setting, words)
        for is_least, limits in ((True, LEAST), (False, most))
        for name, setting, words in limits
        if name in found
    ]


def _limit(setting: str, found: Mapping[str, float], settings: RecommendSettings) -> float:
    return found.get(f"limit {setting}", float(getattr(settings, setting)))

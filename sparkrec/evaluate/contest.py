"""Who is measured on the same held-out targets, and how."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from pyspark.sql import DataFrame

from sparkrec.config.settings import Settings
from sparkrec.evaluate.protocols import protocol_of
from sparkrec.evaluate.ranked import figures_of_ranks
from sparkrec.evaluate.rankers import Popularity, Ranker, ranker_of
from sparkrec.evaluate.slices import Slices, slices_of, without_categories
from sparkrec.evaluate.sums import Sums
from sparkrec.models.published import evaluated
from sparkrec.models.store import has_model, load_model, read_card
from sparkrec.sequences import Ints
from sparkrec.window.held_out import LATELY_DAYS

CHAMPION, POPULAR, POPULAR_LATELY = "champion", "popular", f"popular_{LATELY_DAYS}_days"
"""Names of contestants that are not a model's version."""


@dataclass(frozen=True)
class Contest:
    """Plain values, so that it travels to the workers."""

    models: Mapping[str, str]
    """Folders by name; the first is compared with all others and with most-popular, pairwise."""
    popularity: Mapping[str, Mapping[str, Ints]]
    """By name of a most-popular and by split: events by item index that may be known before the targets, (V,)."""
    lately: Mapping[str, Ints]
    """By split: events of the last days before the targets, (V,), for models that count them; nothing where targets lie
    in no common period."""
    slices: Slices
    protocols: Mapping[str, int]
    """By name how many items are drawn to rank among, 0 for all items."""
    cases_per_row: int
    """How many a row of `windows` has at most; more than one where each of its steps is one."""
    top_k: Sequence[int]
    tile_users: int
    seed: int

    @property
    def by_steps(self) -> bool:
        return self.cases_per_row > 1

    @property
    def contestants(self) -> list[str]:
        return [*self.models, *self.popularity]

    @property
    def pairs(self) -> list[tuple[int, int]]:
        return [(0, other) for other in range(1, len(self.contestants))]

    @property
    def vocabulary_size(self) -> int:
        return len(self.slices.popularity_class_V)

    @property
    def tile_rows(self) -> int:
        """Rows ranked together, so that there are about `tile_users` cases; a row has at most one per position."""
        return max(1, self.tile_users // self.cases_per_row)

    @torch.inference_mode()
    def by_model(self) -> list[Ranker]:
        """Return what ranks by the models, with the weights of all in memory."""
        tile_cases = self.tile_rows * self.cases_per_row
        return [
            ranker_of(load_model(folder), max(self.top_k), tile_cases, self.lately) for folder in self.models.values()
        ]

    def by_popularity(self, split: str) -> list[Ranker]:
        """Return what ranks by most-popular, of each kind."""
        return [Popularity(counts[split]) for counts in self.popularity.values()]

    def sums(self) -> Sums:
        """Return empty sums for one split and protocol."""
        return Sums(figures_of_ranks(self.contestants, self.pairs, self.top_k), self.slices.names)


def contest_of(
    models: Mapping[str, Path],
    popularity: Mapping[str, Ints],
    lately: Mapping[str, Ints],
    items: DataFrame,
    settings: Settings,
) -> Contest:
    """Return the contest of models, by name their folders, and most-popular, by every protocol of the settings.

    In   popularity: see `popularity_by_split`. lately: likewise, of the last days, or nothing. items: item_idx,
         category.
    """
    evaluate, window = settings.evaluate, settings.window
    drawn = [0, evaluate.drawn_items] if evaluate.drawn_items else [0]
    return replace(
        gate_of(models, popularity, lately, settings),
        popularity={POPULAR: popularity} | ({POPULAR_LATELY: lately} if lately else {}),
        slices=slices_of(popularity["test"], items, evaluate.categories),
        protocols={protocol_of(window, num): num for num in drawn},
    )


def gate_of(
    models: Mapping[str, Path], popularity: Mapping[str, Ints], lately: Mapping[str, Ints], settings: Settings
) -> Contest:
    """Return the contest in the ranking among all items alone, without categories."""
    return Contest(
        models={name: str(folder) for name, folder in models.items()},
        popularity={POPULAR: popularity},
        lately=lately,
        slices=without_categories(popularity["test"]),
        protocols={protocol_of(settings.window): 0},
        cases_per_row=settings.window.length if settings.window.held_out == "sessions" else 1,
        top_k=settings.evaluate.top_k,
        tile_users=settings.evaluate.tile_users,
        seed=settings.run.seed,
    )


def with_champion(models: Mapping[str, Path], champion: Path | None, name: str = "") -> dict[str, Path]:
    """Return contestants and, under a name or else its version, the champion; of one that was refit the first training.

    A champion never trained on what is held out now, for it is older; one whose training held out something else may
    have, and does not take part. Nor does one that is among them already.
    """
    first = evaluated(champion) if champion else None
    if first is None or first in models.values() or not has_model(first):
        return dict(models)
    is_comparable = all(read_card(first).held_out == read_card(folder).held_out for folder in models.values())
    return {**models, name or first.name: first} if is_comparable else dict(models)


def in_words(contestants: Mapping[str, Path], champion: Path | None) -> str:
    """Return a remark where the champion had to stay out, so that nobody takes it for beaten."""
    if champion is None or evaluated(champion) in contestants.values():
        return ""
    return (
        f"; not compared with champion {champion.name}, whose training held out something else or whose files are gone"
    )

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
from sparkrec.evaluate.ranks import SharedScores
from sparkrec.evaluate.slices import Slices, slices_of, without_categories
from sparkrec.evaluate.sums import Sums
from sparkrec.models.published import evaluated
from sparkrec.models.store import has_model, load_model, read_card
from sparkrec.sequences import Ints
from sparkrec.tables import FIRST_ITEM

CHAMPION, POPULAR = "champion", "popular"
"""Names of contestants that are not a model's version."""
GATE_K = 10
"""The cut-off by which candidates pass or not."""


@dataclass(frozen=True)
class Contest:
    """Plain values, so that it travels to the workers."""

    models: Mapping[str, str]
    """Folders by name; the first is compared with all others and with most-popular, pairwise."""
    popularity: Mapping[str, Ints]
    """Events by item index that may be known before a split's targets, (V,)."""
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
        return [*self.models, POPULAR]

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

    def rankers(self, split: str) -> list[Ranker]:
        """Return what ranks for every contestant, with the weights of all models in memory."""
        models = [load_model(folder) for folder in self.models.values()]
        tile_cases = self.tile_rows * self.cases_per_row
        score_V = torch.from_numpy(self.popularity[split]).double()
        score_V[:FIRST_ITEM] = -torch.inf
        by_model = [ranker_of(model, max(self.top_k), tile_cases) for model in models]
        return [*by_model, Popularity(SharedScores(score_V))]

    def sums(self) -> Sums:
        """Return empty sums for one split and protocol."""
        return Sums(figures_of_ranks(self.contestants, self.pairs, self.top_k), self.slices.names)


def contest_of(
    models: Mapping[str, Path], popularity: Mapping[str, Ints], items: DataFrame, settings: Settings
) -> Contest:
    """Return the contest of models, by name their folders, and most-popular, by every protocol of the settings.

    In   popularity: see `popularity_by_split`. items: item_idx, category.
    """
    evaluate, window = settings.evaluate, settings.window
    drawn = [0, evaluate.drawn_items] if evaluate.drawn_items else [0]
    return replace(
        gate_of(models, popularity, settings),
        slices=slices_of(popularity["test"], items, evaluate.categories),
        protocols={protocol_of(window, num): num for num in drawn},
        top_k=evaluate.top_k,
    )


def gate_of(models: Mapping[str, Path], popularity: Mapping[str, Ints], settings: Settings) -> Contest:
    """Return the contest in the ranking among all items alone, without categories, at the gate's cut-off too."""
    return Contest(
        models={name: str(folder) for name, folder in models.items()},
        popularity=popularity,
        slices=without_categories(popularity["test"]),
        protocols={protocol_of(settings.window): 0},
        cases_per_row=settings.window.length if settings.window.held_out == "sessions" else 1,
        top_k=sorted({GATE_K, *settings.evaluate.top_k}),
        tile_users=settings.evaluate.tile_users,
        seed=settings.run.seed,
    )


def with_champion(version: str, folder: Path, champion: Path | None) -> dict[str, Path]:
    """Return a new model and the champion, by name; of a champion that was refit, its first training.

    A champion never trained on what is held out now, for it is older; one whose training held out something else may
    have, and does not take part.
    """
    first = evaluated(champion) if champion else None
    if first is None or not has_model(first) or read_card(first).held_out != read_card(folder).held_out:
        return {version: folder}
    return {version: folder, CHAMPION: first}

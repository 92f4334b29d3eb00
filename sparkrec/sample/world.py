"""The shop that the sample comes from: items in categories, and users who come back.

Everything is drawn from one seeded generator, in whole arrays.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

DEPARTMENTS = (
    "audio",
    "bath",
    "books",
    "camping",
    "cycling",
    "desk",
    "garden",
    "kitchen",
    "lighting",
    "phone",
    "shoes",
    "toys",
)
THINGS = ("basic", "bundle", "classic", "compact", "kids", "outdoor", "premium", "refill", "spare", "travel")


@dataclass(frozen=True)
class World:
    """Items by number, from 0; those of a category are neighbours, the popular ones first."""

    category: Ints
    price: Floats
    brand: Ints
    first_item: Ints
    """By category: its first item."""
    size: Ints
    """By category: its number of items."""
    next_category: Ints
    """By category: where interest drifts to."""
    category_chance: Floats
    """By category: cumulated chance that a first interest falls there."""

    @property
    def num_categories(self) -> int:
        return len(self.size)

    def category_name(self, category: int) -> str:
        department = DEPARTMENTS[category % len(DEPARTMENTS)]
        return f"{department}.{THINGS[category // len(DEPARTMENTS) % len(THINGS)]}" + (
            f"_{category // (len(DEPARTMENTS) * len(THINGS))}" if category >= len(DEPARTMENTS) * len(THINGS) else ""
        )


def build_world(num_items: int, rng: np.random.Generator) -> World:
    """Return a shop with about one category per sqrt(items) and heavy-tailed category sizes."""
    num_categories = int(np.clip(np.sqrt(num_items), 2, 2000))
    shares = rng.pareto(1.5, num_categories) + 0.5
    size = np.maximum(1, np.floor(shares / shares.sum() * (num_items - num_categories))).astype(np.int64)
    size[0] += num_items - size.sum()
    first_item = np.cumsum(size) - size
    category = np.repeat(np.arange(num_categories), size)
    typical_price = np.exp(rng.normal(3.3, 0.9, num_categories))
    price = np.round(typical_price[category] * np.exp(rng.normal(0, 0.4, num_items)), 2)
    chance = np.cumsum(size**0.7)
    return World(
        category=category,
        price=np.maximum(price, 0.5),
        brand=(category * 7 + rng.integers(0, 6, num_items)) % max(num_categories, 12),
        first_item=first_item,
        size=size,
        next_category=rng.permutation(num_categories),
        category_chance=chance / chance[-1],
    )


def popular_in(world: World, category: Ints, uniform: Floats) -> Ints:
    """Return an item of each category: low numbers far more often than high ones, about Zipf's law."""
    size = world.size[category]
    place = np.floor((size + 1.0) ** uniform - 1).astype(np.int64)
    return world.first_item[category] + np.minimum(place, size - 1)


def following(world: World, item: Ints) -> Ints:
    """Return the item that people look at after each: its neighbour in the category, round in a circle."""
    category = world.category[item]
    first = world.first_item[category]
    return first + (item - first + 1) % world.size[category]

"""How long a training may be, and how its learning rate goes up."""

from sparkrec.config.settings import TrainSettings

TARGETS = 10_000_000
FEWEST_EPOCHS, MOST_EPOCHS = 10, 100


def epochs_for(num_targets: int) -> int:
    """Return how many passes over so many targets a training may take: those that come to TARGETS, within bounds.

    A small training set needs more of them than a large one. Validation ends most trainings earlier.
    """
    return max(FEWEST_EPOCHS, min(MOST_EPOCHS, -(-TARGETS // max(num_targets, 1))))


def learning_rate(step: int, settings: TrainSettings) -> float:
    """Return the rate of a step, from 1: a linear rise, then always the same; the weights are averaged instead."""
    return settings.learning_rate * min(1.0, step / max(settings.warmup_steps, 1))

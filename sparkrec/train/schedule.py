"""How long a training may be, of how many models, how large its batches are, and how its learning rate goes up."""

from sparkrec.config.train_settings import TrainSettings

STEPS = 350
FEWEST_TARGETS, MOST_TARGETS = 256, 4096
TARGETS, LEAST_STEPS = 10_000_000, 8_000
FEWEST_EPOCHS, MOST_EPOCHS = 10, 100
FEW_TARGETS = 2_000_000


def epochs_for(num_targets: int) -> int:
    """Return how many passes over so many targets a training may take: those that come to TARGETS or, if these are
    more, to LEAST_STEPS steps of the size that `batch_for` gives; within bounds.

    A small training set needs more of them than a large one. Validation ends most trainings earlier.
    """
    targets = max(TARGETS, LEAST_STEPS * targets_per_step(num_targets))
    return int(max(FEWEST_EPOCHS, min(MOST_EPOCHS, -(-targets // max(num_targets, 1)))))


def members_for(num_targets: int) -> int:
    """Return how many models learn side by side: two where there is little to learn from, for which a second one costs
    little."""
    return 2 if num_targets <= FEW_TARGETS else 1


def targets_per_step(num_targets: int) -> float:
    """Return how many targets a step should have, all ranks together: so many that an epoch takes about STEPS steps."""
    return max(FEWEST_TARGETS, min(MOST_TARGETS, num_targets / STEPS))


def batch_for(num_windows: int, num_targets: int, num_ranks: int) -> int:
    """Return the windows per step and rank that hold about `targets_per_step`.

    Windows of long pasts hold many targets, those of short ones few: what a step learns from is targets.
    """
    return max(1, round(targets_per_step(num_targets) * num_windows / max(num_targets, 1) / num_ranks))


def learning_rate(step: int, settings: TrainSettings) -> float:
    """Return the rate of a step, from 1: a linear rise, then always the same; the weights are averaged instead."""
    return settings.learning_rate * min(1.0, step / max(settings.warmup_steps, 1))

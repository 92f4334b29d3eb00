"""How the learning rate goes up and down."""

import math

from sparkrec.config.settings import TrainSettings


def learning_rate(step: int, max_steps: int, settings: TrainSettings) -> float:
    """Return the rate of a step, from 1: a linear rise, then a cosine down to a tenth at the last possible step."""
    if step <= settings.warmup_steps:
        return settings.learning_rate * step / settings.warmup_steps
    gone = (step - settings.warmup_steps) / max(max_steps - settings.warmup_steps, 1)
    return settings.learning_rate * (0.1 + 0.45 * (1 + math.cos(math.pi * min(gone, 1.0))))

"""How much counts beside the model's own scores, chosen on validation: neighbours, then what is popular lately."""

from dataclasses import replace

from torch import Tensor

from sparkrec.models.second_opinion import FADES, SecondOpinion
from sparkrec.models.sequence_model import SequenceModel
from sparkrec.train.place import Place
from sparkrec.train.validation import Tile, validate_opinions

COUNTS = (0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 10.0, 16.0, 30.0)
NEAR, FAR = ([SecondOpinion(counts, fades) for counts in COUNTS] for fades in (FADES, 1.0))
"""What is tried of the neighbours of the newest events, and of all a model is told of."""
WORTH_IT = 1.01
"""How many times better all events must be than what costs lists less."""
LATELY = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)


def choose_second_opinion(model: SequenceModel, tiles: list[Tile], lately_V: Tensor, place: Place) -> SecondOpinion:
    """Set what counts best by validation NDCG@10, the least of equals, and return it. All ranks together.

    In   lately_V: events of the days before validation, by item index; none where they are not to count.
    """
    chosen = SecondOpinion()
    if model.neighbours is not None:
        without, *found = validate_opinions(model, tiles, lately_V, place, [*NEAR, *FAR])
        near, far = found[: len(NEAR)], [ndcg / WORTH_IT for ndcg in found[len(NEAR) :]]
        chosen = _best_of([chosen, *NEAR, *FAR], [without, *near, *far])
    if len(lately_V):
        tried = [replace(chosen, lately=lately) for lately in (0.0, *LATELY)]
        chosen = _best_of(tried, validate_opinions(model, tiles, lately_V, place, tried)[1:])
    model.take(chosen)
    return chosen


def _best_of(tried: list[SecondOpinion], found: list[float]) -> SecondOpinion:
    return tried[found.index(max(found))]

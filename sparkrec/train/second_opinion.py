"""How much the second opinion of items' neighbours counts beside the model's own: chosen on validation."""

from sparkrec.models.neighbours import SecondOpinion
from sparkrec.models.sequence_model import SequenceModel
from sparkrec.train.place import Place
from sparkrec.train.validation import Tile, validate_opinions

COUNTS = (0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 10.0, 16.0, 30.0)
FADES = (0.8, 1.0)
TRIED = tuple(SecondOpinion(counts, fades) for fades in FADES for counts in COUNTS)
"""Beside none at all."""


def choose_second_opinion(model: SequenceModel, tiles: list[Tile], place: Place) -> SecondOpinion:
    """Set what counts best by validation NDCG@10, the least of equals, and return it. All ranks together."""
    assert model.neighbours is not None
    found = validate_opinions(model, tiles, place, TRIED)
    chosen = (SecondOpinion(), *TRIED)[found.index(max(found))]
    model.neighbours.take(chosen)
    return chosen

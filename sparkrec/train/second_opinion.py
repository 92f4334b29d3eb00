"""How much the second opinion of items' neighbours counts beside the model's own: chosen on validation."""

from sparkrec.models.sequence_model import SequenceModel
from sparkrec.train.place import Place
from sparkrec.train.validation import Tile, validate_opinions

TRIED = (0.0, 0.5, 1.0, 2.0, 3.0, 4.0, 6.0)
"""What the best neighbour of a past may add to its score, in units of logits."""


def choose_second_opinion(model: SequenceModel, tiles: list[Tile], place: Place) -> float:
    """Set what counts best by validation NDCG@10, the least of equals, and return it. All ranks together."""
    assert model.neighbours is not None
    found = validate_opinions(model, tiles, place, TRIED)
    counts = TRIED[found.index(max(found))]
    model.neighbours.counts.fill_(counts)
    return counts

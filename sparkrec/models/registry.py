"""Architectures by the name that `train.model` gives."""

from sparkrec.models.sasrec import SASRec
from sparkrec.models.sequence_model import ModelShape, SequenceModel

ARCHITECTURES: dict[str, type[SequenceModel]] = {"sasrec": SASRec}


def build_model(name: str, shape: ModelShape) -> SequenceModel:
    """Return an untrained model; its weights come from torch's global generator."""
    return ARCHITECTURES[name](shape)

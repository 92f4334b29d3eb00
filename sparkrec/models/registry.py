"""Architectures by the name that `train.model` gives."""

from sparkrec.models.bsarec import BSARec
from sparkrec.models.caser import Caser
from sparkrec.models.cnn_attention import CNNAttention
from sparkrec.models.cnn_hybrid import CNNHybrid
from sparkrec.models.cnn_only import CNNOnly
from sparkrec.models.dfnn import DFNN
from sparkrec.models.dfnn_lstm import DFNNLSTM
from sparkrec.models.ensemble import Ensemble
from sparkrec.models.esasrec import ESASRec
from sparkrec.models.gru4rec import GRU4Rec
from sparkrec.models.hstu import HSTU
from sparkrec.models.ite import ITE
from sparkrec.models.item_knn import ItemKNN
from sparkrec.models.long_only import LongOnly
from sparkrec.models.lstm import LSTM
from sparkrec.models.mf import MF
from sparkrec.models.popular import Popular
from sparkrec.models.rnn_profile import RNNProfile
from sparkrec.models.sasrec import SASRec
from sparkrec.models.sequence_model import SequenceModel
from sparkrec.models.shape import ModelShape

ARCHITECTURES: dict[str, type[SequenceModel]] = {
    "popular": Popular,
    "item_knn": ItemKNN,
    "mf": MF,
    "sasrec": SASRec,
    "esasrec": ESASRec,
    "bsarec": BSARec,
    "hstu": HSTU,
    "gru4rec": GRU4Rec,
    "caser": Caser,
    "cnn_attention": CNNAttention,
    "dfnn": DFNN,
    "lstm": LSTM,
    "dfnn_lstm": DFNNLSTM,
    "rnn_profile": RNNProfile,
    "ite": ITE,
    "cnn_hybrid": CNNHybrid,
    "cnn_only": CNNOnly,
    "long_only": LongOnly,
}


LEARNT = tuple(name for name, architecture in ARCHITECTURES.items() if architecture.learns)
"""Those that are learnt step by step."""


def build_model(name: str, shape: ModelShape) -> SequenceModel:
    """Return an untrained model; its weights come from torch's global generator."""
    architecture = ARCHITECTURES[name]
    return Ensemble(architecture, shape) if shape.num_members > 1 else architecture(shape)

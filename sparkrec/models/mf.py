"""Matrix factorisation for implicit feedback by alternating least squares, weighted (Hu, Koren, Volinsky, ICDM 2008).

Spark finds the items' factors from users' events; a user's are solved for from the past at hand, as the next half step
of the alternation would, so a past that has grown needs no new training.

B users   L positions   D width   V vocabulary size
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from sparkrec.models.counted import Counted
from sparkrec.models.shape import ModelShape
from sparkrec.tables import PAD

CONFIDENCE, REGULARISATION = 40.0, 0.1
"""How much surer an event makes than none at all (the paper's alpha), and Spark's regParam, per event of a user."""


class MF(Counted):
    factors_VD: Tensor

    def __init__(self, shape: ModelShape) -> None:
        super().__init__(shape)
        self.register_buffer("factors_VD", torch.zeros(shape.vocabulary_size, shape.width))

    def states(self, inputs: Mapping[str, Tensor]) -> Tensor:
        vector_BLD = self.factors_VD[inputs["item_idxs"]]
        outer_BLDD = torch.einsum("bld,ble->blde", vector_BLD, vector_BLD).cumsum(dim=1)
        num_BL = (inputs["item_idxs"] != PAD).cumsum(dim=1)
        return self._solved(outer_BLDD, vector_BLD.cumsum(dim=1), num_BL)

    def last_state(self, inputs: Mapping[str, Tensor]) -> Tensor:
        vector_BLD = self.factors_VD[inputs["item_idxs"]]
        outer_BDD = torch.einsum("bld,ble->bde", vector_BLD, vector_BLD)
        return self._solved(outer_BDD, vector_BLD.sum(dim=1), (inputs["item_idxs"] != PAD).sum(dim=1))

    def item_vectors(self, item_idxs: Tensor) -> Tensor:
        return self.factors_VD[item_idxs]

    def item_matrix(self) -> Tensor:
        return self.factors_VD

    def _solved(self, outer: Tensor, total: Tensor, num: Tensor) -> Tensor:
        """Return the factors of users, (…, D). In: sums of the items' outer products and vectors, numbers of events."""
        everything_DD = self.factors_VD.T @ self.factors_VD
        itself_DD = torch.eye(self.shape.width, device=outer.device)
        system = everything_DD + CONFIDENCE * outer + REGULARISATION * num.clamp(min=1)[..., None, None] * itself_DD
        solved: Tensor = torch.linalg.solve(system, (1 + CONFIDENCE) * total)
        return solved

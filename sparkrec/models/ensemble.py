"""Several models of one architecture that learn side by side, each from random weights of its own.

They err in different places, so the mean of their scores ranks better than any one of them (Lakshminarayanan, Pritzel,
Blundell, NeurIPS 2017, arXiv 1612.01474). Their vectors lie side by side, so that scores remain inner products. Nothing
of what they learn is shared but batches, the moment training ends, and the bound on the gradient (`train.clip_norm`).

B users   L positions   N members   D width of a member   V vocabulary size
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from sparkrec.models.sequence_model import SequenceModel
from sparkrec.models.shape import ModelShape


class Ensemble(SequenceModel):
    """What is asked beside the next item, the second opinion and which items are known are the ensemble's own."""

    def __init__(self, architecture: type[SequenceModel], shape: ModelShape) -> None:
        nn.Module.__init__(self)
        self.reads_user, self.reads_past = architecture.reads_user, architecture.reads_past
        one = replace(shape, num_members=1, num_neighbours=0, heads=())
        names = range(shape.num_members)
        self.item_tables = tuple(f"members.{name}.{table}" for name in names for table in architecture.item_tables)
        self._begin(shape)
        self.members = nn.ModuleList(architecture(one) for _ in names)
        self._end(shape)

    @property
    def parts(self) -> Sequence[SequenceModel]:
        return list(self.members)  # type: ignore[arg-type]

    @property
    def state_width(self) -> int:
        return self.shape.num_members * self.shape.width

    def states(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return (B, L, N * D)."""
        return self._side_by_side([member.states(inputs) for member in self.parts])

    def last_state(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return (B, N * D), the states of the last position."""
        return self._side_by_side([member.last_state(inputs) for member in self.parts])

    def item_vectors(self, item_idxs: Tensor) -> Tensor:
        """Return (…, N * D), what states are multiplied with."""
        return torch.cat([member.item_vectors(item_idxs) for member in self.parts], dim=-1)

    def item_matrix(self) -> Tensor:
        """Return (V, N * D), the vectors of all items."""
        return torch.cat([member.item_matrix() for member in self.parts], dim=-1)

    def states_of_parts(self, state_TD: Tensor) -> Sequence[Tensor]:
        return [state * self.shape.num_members for state in state_TD.chunk(self.shape.num_members, dim=-1)]

    def _side_by_side(self, states: Sequence[Tensor]) -> Tensor:
        """Return states whose inner products are means of the members'."""
        return torch.cat(list(states), dim=-1) / self.shape.num_members

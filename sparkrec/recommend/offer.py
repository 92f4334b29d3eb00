"""What may be offered tonight, as files that every worker maps into memory: the page cache holds them once.

V vocabulary size   K items that the model scores   I items on offer, those K first   D width   S segments

A place is an item's number in the offer: 0..K-1 in the order of item indices, then the others likewise.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from sparkrec.errors import SparkrecError
from sparkrec.models.best import Vectors, vectors_of
from sparkrec.models.lately import scored_items
from sparkrec.models.sequence_model import SequenceModel
from sparkrec.recommend.rules import NO_CAP, Effects
from sparkrec.sequences import Ints, look_up
from sparkrec.tables import FIRST_ITEM

NOWHERE = -1
"""Place of an item that nobody is offered."""
_TENSORS, _IDS, _CARD = "offer.safetensors", "item_ids.arrow", "offer.json"


@dataclass(frozen=True)
class Offer:
    """Items that somebody may be offered, and all that decides which list they come into."""

    item_id_V: pa.Array
    """Id of every item index, also of what is not on offer; null where there is no item."""
    item_idxs_I: Ints
    categories_I: Ints
    """A number per category, NO_CATEGORY for none."""
    place_V: Ints
    """Place of every item index, NOWHERE for what is not on offer."""
    category_V: Ints
    """Category of every item index, also of what is not on offer."""
    vectors: Vectors
    segments: tuple[str, ...]
    refusal_SI: Tensor
    """0 where the segment may be offered the item; see REFUSALS."""
    cap_SI: Tensor
    recent_I: Ints
    """Events of the last days; `all_time_I` likewise of all time."""
    all_time_I: Ints
    lately_I: Ints
    """Events of the days that the model counts, which `vectors` know of; zeros where it counts none."""

    @property
    def num_scored(self) -> int:
        return self.vectors.num_items

    def places_of(self, item_idxs: Ints) -> Ints:
        """Return the places of items by their index, NOWHERE for those that are not on offer."""
        return look_up(self.place_V, item_idxs, NOWHERE)

    def number_segments(self, names: pa.ChunkedArray) -> Ints:
        """Return the rows of users' segments; a segment that no rule speaks of, or none, is the first."""
        found = pc.index_in(names, pa.array(self.segments)).combine_chunks().fill_null(0)
        row_U: Ints = found.to_numpy(zero_copy_only=False).astype(np.int64)
        return row_U

    @property
    def has_caps(self) -> bool:
        return bool((self.cap_SI < NO_CAP).any())


def make_offer(
    model: SequenceModel,
    items: pl.DataFrame,
    effects: Effects,
    categories_V: Ints,
    recent_V: Ints,
    all_time_V: Ints,
    lately_V: Ints,
) -> Offer:
    """Return what is on offer: items that some segment is not refused.

    In   items: item_idx, item_id, in the order of `effects`. A row is one item. lately_V: events of the days that
         the model counts, if it does.
    """
    item_idxs = items["item_idx"].to_numpy().astype(np.int64)
    is_offered = (effects.refusal_SI == 0).any(axis=0) & (item_idxs >= FIRST_ITEM)
    is_scored = is_offered & look_up(model.is_known_V.numpy(), item_idxs, False)
    rows = np.concatenate([np.flatnonzero(is_scored), np.flatnonzero(is_offered & ~is_scored)])
    chosen_I = item_idxs[rows]
    place_V = np.full(len(all_time_V), NOWHERE, dtype=np.int64)
    place_V[chosen_I] = np.arange(len(chosen_I))
    with torch.inference_mode():
        scored_K = torch.from_numpy(chosen_I[: is_scored.sum()])
        exact_KD = scored_items(model, scored_K, [torch.from_numpy(lately_V)]).contiguous()
        if not torch.isfinite(exact_KD).all():
            raise SparkrecError("the model has item vectors that are not numbers; train it again (make train)")
        vectors = vectors_of(exact_KD)
    return Offer(
        item_id_V=_by_index(items, len(all_time_V)),
        item_idxs_I=chosen_I,
        categories_I=categories_V[chosen_I],
        place_V=place_V,
        category_V=categories_V,
        vectors=vectors,
        segments=effects.segments,
        refusal_SI=torch.from_numpy(effects.refusal_SI[:, rows]),
        cap_SI=torch.from_numpy(effects.cap_SI[:, rows]),
        recent_I=recent_V[chosen_I],
        all_time_I=all_time_V[chosen_I],
        lately_I=lately_V[chosen_I],
    )


def write_offer(folder: Path, offer: Offer) -> None:
    """Put the offer into a folder that every worker mounts, in place of what was there."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    save_file({name: tensor.contiguous() for name, tensor in _tensors(offer).items()}, str(folder / _TENSORS))
    with (
        pa.OSFile(str(folder / _IDS), "wb") as file,
        pa.ipc.new_file(file, pa.schema([("item_id", pa.string())])) as out,
    ):
        out.write_batch(pa.record_batch([offer.item_id_V], ["item_id"]))
    (folder / _CARD).write_text(json.dumps({"segments": offer.segments}), encoding="utf-8")


@lru_cache(maxsize=1)
def read_offer(folder: str) -> Offer:
    """Return the offer, mapped into memory. Each worker process opens it once."""
    with safe_open(str(Path(folder) / _TENSORS), framework="pt") as file:
        tensors: Mapping[str, Any] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    ids = pa.ipc.open_file(pa.memory_map(str(Path(folder) / _IDS))).read_all().column("item_id")
    numbers = {name: tensors[name].numpy() for name in _NUMBERS}
    return Offer(
        item_id_V=ids.chunk(0),
        vectors=Vectors(**{field.name: tensors[field.name] for field in fields(Vectors)}),
        segments=tuple(json.loads((Path(folder) / _CARD).read_text(encoding="utf-8"))["segments"]),
        refusal_SI=tensors["refusal_SI"],
        cap_SI=tensors["cap_SI"],
        **numbers,
    )


def _by_index(items: pl.DataFrame, vocabulary_size: int) -> pa.Array:
    row_V = np.full(vocabulary_size, -1, dtype=np.int64)
    row_V[items["item_idx"].to_numpy()] = np.arange(len(items))
    return items["item_id"].to_arrow().cast(pa.string()).take(pa.array(row_V, mask=row_V < 0))


_NUMBERS = ("item_idxs_I", "categories_I", "place_V", "category_V", "recent_I", "all_time_I", "lately_I")


def _tensors(offer: Offer) -> dict[str, Tensor]:
    numbers: dict[str, npt.NDArray[Any]] = {name: getattr(offer, name) for name in _NUMBERS}
    return {
        **{name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in numbers.items()},
        **{field.name: getattr(offer.vectors, field.name) for field in fields(Vectors)},
        "refusal_SI": offer.refusal_SI,
        "cap_SI": offer.cap_SI,
    }

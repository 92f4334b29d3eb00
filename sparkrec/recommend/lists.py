"""Lists as rows of `recommendations`."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sparkrec.recommend.offer import NOWHERE, Offer
from sparkrec.recommend.score import MODEL, Lists
from sparkrec.tables import PAD, RECOMMENDATIONS

ARROW = {
    "string": pa.string(), "int": pa.int32(), "double": pa.float64(), "bigint": pa.int64()
}  # fmt: skip
ROWS = pa.schema([(field.name, ARROW[field.dataType.simpleString()]) for field in RECOMMENDATIONS.in_files])
"""What a file of the table holds; the night is in its path."""


def scored_rows(people: pa.Table, lists: Lists, offer: Offer, model_version: str) -> pa.Table:
    """Return ROWS of lists that were scored, `people` in their order, best first."""
    is_there_UN = lists.place_UN != NOWHERE
    user = np.repeat(np.arange(len(people)), is_there_UN.sum(axis=1))
    rank_UN = np.broadcast_to(np.arange(1, lists.place_UN.shape[1] + 1, dtype=np.int32), lists.place_UN.shape)
    item_idxs = offer.item_idxs_I[lists.place_UN[is_there_UN]]
    because, purchase = lists.because_UN[is_there_UN], lists.purchase_UN[is_there_UN]
    is_by_model_U = ((lists.source_UN == 0) | ~is_there_UN).all(axis=1)
    made_from = people.column("made_from").to_numpy()
    sources = pa.DictionaryArray.from_arrays(pa.array(lists.source_UN[is_there_UN], pa.int32()), lists.sources)
    return _rows(
        user_id=people.column("user_id").take(pa.array(user)),
        rank=rank_UN[is_there_UN],
        item_id=offer.item_id_V.take(pa.array(item_idxs)),
        score=lists.score_UN[is_there_UN],
        source=sources.cast(pa.string()),
        because_item_id=offer.item_id_V.take(pa.array(because, mask=because == PAD)),
        purchase_probability=pa.array(purchase, mask=np.isnan(purchase)),
        model_version=pa.repeat(model_version, len(user)),
        made_from=pa.array(made_from[user], mask=~is_by_model_U[user]),
    )


def carried_rows(people: pa.Table, model_version: str) -> pa.Table:
    """Return ROWS of lists that are carried over, as they were."""
    column = people.column("carried").combine_chunks()
    entries = column.flatten()
    user = pc.list_parent_indices(column)
    return _rows(
        user_id=people.column("user_id").take(user),
        rank=entries.field("rank"),
        item_id=entries.field("item_id"),
        score=entries.field("score"),
        source=pa.repeat(MODEL, len(user)),
        because_item_id=entries.field("because_item_id"),
        purchase_probability=entries.field("purchase_probability"),
        model_version=pa.repeat(model_version, len(user)),
        made_from=people.column("made_from").take(user),
    )


def in_order(rows: pa.Table) -> pa.Table:
    """Return the rows by user and rank: whoever asks for one user reads few row groups."""
    return rows.sort_by([("user_id", "ascending"), ("rank", "ascending")])


def _rows(**columns: Any) -> pa.Table:
    return pa.table(columns).select(ROWS.names).cast(ROWS)

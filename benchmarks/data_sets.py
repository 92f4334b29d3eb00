"""The data sets of the tables of quality: what is held out of them, and how they become clicks."""

import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import islice
from pathlib import Path

from lakes import ROOT, DataSet
from protocols import DATA, HELD_OUT, data_sets
from retailrocket import write_buyers
from sequences import DAY, SETTINGS, read_text, write_catalogue, write_clicks

from sparkrec.sample.write import SampleSize, write_sample

AMAZON = DATA / "amazon_beauty"
RATINGS = """
name: movielens-100k
format: csv
separator: "\\t"
columns: {user_id: "user_id:token", item_id: "item_id:token", event_ts: "timestamp:float"}
event_always: view
time: {unit: seconds, zone: UTC}
"""
LAST_DAYS = ("window.held_out=date", "window.held_out_days=30")
BUYERS_PROTOCOL = "leave_one_out_purchase_sampled_999"


def known() -> dict[str, DataSet]:
    """Return all data sets by name."""
    return {data.name: data for data in _all()}


def _all() -> Iterable[DataSet]:
    in_folder = ("{folder}/sequences.yaml", "{folder}/clicks.parquet", "leave_one_out_full")
    beauty, attributes = AMAZON / "Beauty.txt.gz", AMAZON / "Beauty_item2attributes.json.gz"
    yield DataSet("beauty", DAY, *in_folder, SETTINGS, _sequences(beauty))
    with_catalogue = (*SETTINGS, "prepare.catalogue={folder}/catalogue.parquet")
    yield DataSet("beauty_attributes", DAY, *in_folder, with_catalogue, _sequences(beauty, attributes))
    ratings = from_root(DATA / "ml100k" / "ml-100k.inter.gz")
    yield DataSet(
        "ml100k", "1998-04-22", "{folder}/ratings.yaml", ratings, "by_date_full", (*SETTINGS, *LAST_DAYS), _ratings
    )
    yield _excerpt("taobao", "last day", "by_date_full")
    # Of the last day's sessions events but the first are to be told, searches included.
    yield _actions("sample", "steps of the last day's sessions", "next_in_session_full")
    yield _actions("taobao", "steps of the last day's sessions", "next_in_session_full")
    yield _actions("rees46", "leave one out", "leave_one_out_full")
    # The excerpt is of less than three hours: no date splits it.
    yield _excerpt("rees46", "leave one out", "leave_one_out_full")
    # Categories stand for interests in slices alone; no model reads them.
    of_buyers = (*with_catalogue, "train.attributes=false", 'window.held_out_events=["purchase"]')
    yield DataSet(
        "retailrocket", DAY, "{folder}/clicks.yaml", "{folder}/clicks.parquet", BUYERS_PROTOCOL, of_buyers, _buyers
    )


def _excerpt(name: str, held_out: str, protocol: str) -> DataSet:
    data = data_sets()[name]
    settings = (*data.settings, *HELD_OUT[held_out])
    return DataSet(name, data.day, data.source, from_root(Path(data.place)), protocol, settings)


def _actions(name: str, held_out: str, protocol: str) -> DataSet:
    data = _excerpt(name, held_out, protocol)
    if name != "sample":
        return replace(data, name=f"actions_{name}")
    return replace(data, name="actions_sample", place="{folder}/sample", write=_sample)


def _sample(folder: Path, num_users: int | None) -> None:
    write_sample(folder / "sample", SampleSize())


def _sequences(sequences: Path, attributes: Path | None = None) -> Callable[[Path, int | None], None]:
    def write(folder: Path, num_users: int | None) -> None:
        taken = folder / "sequences.txt"
        taken.write_text("\n".join(islice(read_text(sequences).splitlines(), num_users)))
        write_clicks(taken, folder)
        if attributes:
            write_catalogue(attributes, folder)

    return write


def _ratings(folder: Path, num_users: int | None) -> None:
    (folder / "ratings.yaml").write_text(RATINGS)


def _buyers(folder: Path, num_users: int | None) -> None:
    files = [DATA / "retailrocket" / f"retail_beh.{part}.inter.gz" for part in ("train", "test")]
    write_buyers(files, folder, num_users)


def from_root(place: Path) -> str:
    """Return a path as it is typed in the project's root."""
    return os.path.relpath(place, ROOT)

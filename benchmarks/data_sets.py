"""The data sets of the tables of quality: what is held out of them, and how they become clicks."""

import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import islice
from pathlib import Path

from lakes import ROOT, DataSet
from retailrocket import write_buyers
from sequences import DAY, SETTINGS, read_text, write_catalogue, write_clicks

from sparkrec.sample.write import SampleSize, write_sample

DATA = ROOT.parent / "shared" / "data"
HELD_OUT = {
    "leave one out": (),
    "last purchase": ('window.held_out_events=["purchase"]',),
    "last day": ("window.held_out=date",),
    "steps of the last day's sessions": ("window.held_out=sessions",),
}
AMAZON = DATA / "amazon_beauty"
SEQUENCES = AMAZON / "Beauty.txt.gz"
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
    """Return all data sets by name, each with what is held out of it."""
    return {data.name: data for data in _all()}


def clicks_of(name: str) -> DataSet:
    """Return sample, rees46, taobao or beauty, whatever will be held out."""
    rees46, taobao = DATA / "rees46" / "2019-Oct-head.csv.gz", DATA / "taobao" / "UserBehavior.csv.gz"
    in_folder = ("{folder}/sequences.yaml", "{folder}/clicks.parquet")
    there_are = (
        DataSet("sample", "2024-03-14", "conf/sources/sample.yaml", "{folder}/sample", "", write=_sample),
        DataSet("rees46", "2019-10-01", "conf/sources/rees46.yaml", from_root(rees46), ""),
        DataSet("taobao", "2017-12-03", "conf/sources/taobao.yaml", from_root(taobao), ""),
        DataSet("beauty", DAY, *in_folder, "", SETTINGS, _sequences(SEQUENCES)),
    )
    return {data.name: data for data in there_are}[name]


def _all() -> Iterable[DataSet]:
    beauty = replace(clicks_of("beauty"), protocol="leave_one_out_full")
    yield beauty
    with_catalogue = (*SETTINGS, "prepare.catalogue={folder}/catalogue.parquet")
    write = _sequences(SEQUENCES, AMAZON / "Beauty_item2attributes.json.gz")
    yield replace(beauty, name="beauty_attributes", settings=with_catalogue, write=write)
    ratings = from_root(DATA / "ml100k" / "ml-100k.inter.gz")
    yield DataSet(
        "ml100k", "1998-04-22", "{folder}/ratings.yaml", ratings, "by_date_full", (*SETTINGS, *LAST_DAYS), _ratings
    )
    yield _excerpt("taobao", "last day", "by_date_full")
    # The excerpt is of less than three hours: no date splits it.
    yield _excerpt("rees46", "leave one out", "leave_one_out_full")
    # Of the last day's sessions events but the first are to be told, searches included.
    for name in ("sample", "taobao"):
        yield _actions(name, "steps of the last day's sessions", "next_in_session_full")
    yield _actions("rees46", "leave one out", "leave_one_out_full")
    # Categories stand for interests in slices alone; no model reads them.
    of_buyers = (*with_catalogue, "train.attributes=false", 'window.held_out_events=["purchase"]')
    yield DataSet(
        "retailrocket", DAY, "{folder}/clicks.yaml", "{folder}/clicks.parquet", BUYERS_PROTOCOL, of_buyers, _buyers
    )


def _excerpt(name: str, held_out: str, protocol: str) -> DataSet:
    clicks = clicks_of(name)
    return replace(clicks, protocol=protocol, settings=(*clicks.settings, *HELD_OUT[held_out]))


def _actions(name: str, held_out: str, protocol: str) -> DataSet:
    return replace(_excerpt(name, held_out, protocol), name=f"actions_{name}")


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

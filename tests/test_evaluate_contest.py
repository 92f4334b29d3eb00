"""Who takes part in a contest, and what they may know."""

from datetime import date
from pathlib import Path

from pyspark.sql import SparkSession

from sparkrec.config.settings import WindowSettings
from sparkrec.evaluate.contest import CHAMPION, in_words, with_champion
from sparkrec.models.registry import build_model
from sparkrec.models.shape import ModelShape
from sparkrec.models.store import Card, save_model
from sparkrec.prepare.as_of import Known
from sparkrec.window.held_out import lately_by_split


def model(folder: Path, held_out: str) -> Path:
    built = build_model("sasrec", ModelShape(9, 4, 8, 1, 1, 0.0))
    save_model(folder, built, Card(folder.name, "sasrec", built.shape, "line", held_out))
    return folder


def test_the_champion_takes_part_where_its_training_held_out_the_same(tmp_path: Path) -> None:
    ours = {"ours": model(tmp_path / "ours", "last_items view")}
    same, other = model(tmp_path / "same", "last_items view"), model(tmp_path / "other", "date view 1 days")
    assert with_champion(ours, same) == {**ours, "same": same}
    assert with_champion(ours, same, CHAMPION) == {**ours, CHAMPION: same}
    assert in_words(with_champion(ours, same, CHAMPION), same) == in_words(ours, None) == ""
    refit = model(tmp_path / "same-refit", "")
    assert with_champion(ours, refit) == {**ours, "same": same}, "of one that was refit, the training before it"
    for missing in (other, tmp_path / "gone", None):
        assert with_champion(ours, missing) == ours
    assert with_champion({"tonight": same}, same) == {"tonight": same}, "it is among them already"
    assert "not compared with champion other" in in_words(with_champion(ours, other, CHAMPION), other)


def test_what_was_popular_lately_ends_before_the_period(spark: SparkSession) -> None:
    items = spark.createDataFrame([("a", 2), ("b", 3)], "item_id string, item_idx int")
    days = [(date(2024, 3, day), item, "view", day) for day in range(1, 15) for item in "ab" if item == "a" or day > 9]
    item_days = spark.createDataFrame(days, "event_date date, item_id string, event_type string, num_events long")
    known = Known(item_days, item_days, "")
    found = lately_by_split(known, items, date(2024, 3, 14), WindowSettings(held_out="date"))
    assert found["test"].tolist() == [0, 0, sum(range(7, 14)), sum(range(10, 14))]
    assert found["validation"].tolist() == [0, 0, sum(range(6, 13)), sum(range(10, 13))]
    assert lately_by_split(known, items, date(2024, 3, 14), WindowSettings()) == {}

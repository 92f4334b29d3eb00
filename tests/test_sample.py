"""The sample is the same for the same seed, and as large as asked for."""

from pathlib import Path

import polars as pl

from sparkrec.sample.write import SampleSize, write_sample

SMALL = SampleSize(num_events=5_000, num_users=200, num_items=60, num_days=4)


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_sample(tmp_path / name, SMALL)
    other = SampleSize(**{**vars(SMALL), "seed": 8})
    write_sample(tmp_path / "other", other)
    files = [{file.name: file.read_bytes() for file in (tmp_path / name).iterdir()} for name in ("one", "two", "other")]
    assert files[0] == files[1] != files[2]
    assert sorted(files[0]) == [f"2024-03-0{day}.csv" for day in (1, 2, 3, 4)]


def test_the_size_is_what_was_asked_for(tmp_path: Path) -> None:
    rows = write_sample(tmp_path / "s", SMALL, "parquet")
    clicks = pl.read_parquet(tmp_path / "s" / "*.parquet")
    assert len(clicks) == rows
    # The bot's 2 x 1,500 scans and 0.4 % of duplicates come on top.
    assert rows == int((5_000 + 3_000) * 1.004)
    assert clicks["user_id"].n_unique() <= 202
    assert clicks["item_id"].n_unique() <= 61


def test_some_events_arrive_late(tmp_path: Path) -> None:
    write_sample(tmp_path / "s", SMALL, "parquet")
    last = pl.read_parquet(tmp_path / "s" / "2024-03-04.parquet")
    assert last.filter(~pl.col("event_time").str.starts_with("2024-03-04")).height > 0


def test_users_and_items_are_heavy_tailed(tmp_path: Path) -> None:
    write_sample(tmp_path / "s", SampleSize(num_events=50_000, num_users=1_000, num_items=500), "parquet")
    clicks = pl.read_parquet(tmp_path / "s" / "*.parquet").drop_nulls("item_id").filter(pl.col("user_id") != "u1000")
    for name in ("user_id", "item_id"):
        counts = clicks.group_by(name).len()["len"].sort(descending=True)
        assert counts[: len(counts) // 10].sum() > 0.3 * counts.sum(), name

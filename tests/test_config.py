"""Settings and sources are checked before Spark starts, and errors name the way out."""

import shutil
from pathlib import Path

import pytest
import yaml

from sparkrec.config import Settings, load_settings, load_source
from sparkrec.config.load import settings_hash
from sparkrec.errors import RefusedError

ROOT = Path(__file__).parents[1]


def test_base_yaml_lists_every_setting_with_its_default_and_meaning() -> None:
    text = (ROOT / "conf" / "base.yaml").read_text()
    assert yaml.safe_load(text) == Settings().model_dump(mode="json")
    for section in Settings.model_fields.values():
        assert section.annotation is not None
        for name, field in section.annotation.model_fields.items():
            assert field.description, name
            assert f"  {name}: " in text
            assert field.description in text, f"conf/base.yaml says something else about {name}"


@pytest.mark.parametrize("name", ["base", "local", "cluster"])
def test_shipped_settings_are_valid(name: str) -> None:
    load_settings(f"conf/{name}.yaml")


@pytest.mark.parametrize("name", ["rees46", "taobao", "sample"])
def test_shipped_sources_are_valid(name: str) -> None:
    assert load_source(f"conf/sources/{name}.yaml").name == name


def test_set_changes_one_setting_and_lake_the_root() -> None:
    settings = load_settings(
        "conf/local.yaml",
        ["recommend.top_n=20", "evaluate.top_k=[5, 10]", "spark.properties.spark.sql.shuffle.partitions=8"],
        lake="/data/lake",
    )
    assert settings.recommend.top_n == 20
    assert settings.evaluate.top_k == [5, 10]
    assert settings.spark.properties["spark.sql.shuffle.partitions"] == "8"
    assert settings.lake.root == "/data/lake"


def test_a_mixture_of_a_file_stands_in_the_place_of_the_default_one(tmp_path: Path) -> None:
    shutil.copy("conf/base.yaml", tmp_path / "base.yaml")
    (tmp_path / "mine.yaml").write_text("window:\n  negatives: {uniform: 1, category: 2}\n")
    assert load_settings(str(tmp_path / "mine.yaml")).window.negatives == {"uniform": 1, "category": 2}
    (tmp_path / "mine.yaml").write_text("window:\n  negatives: viewed\n")
    assert load_settings(str(tmp_path / "mine.yaml")).window.negatives == {"viewed": 1}
    (tmp_path / "mine.yaml").write_text("spark:\n  properties: {spark.a: 1}\n")
    assert load_settings(str(tmp_path / "mine.yaml"), ["spark.properties.spark.b=2"]).spark.properties == {
        "spark.a": "1",
        "spark.b": "2",
    }


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("window.negatives=unifrom", "window.negatives.unifrom.[key]: wanted 'uniform', 'popularity', 'category' or"),
        ("window.negatives={uniform: 0}", "window.negatives.uniform: wanted greater than 0, found 0"),
        ("prepare.gap_minuts=5", "prepare.gap_minuts: no such setting; did you mean 'gap_minutes'? the right ones are"),
        ("prepair.gap_minutes=5", "prepair: no such setting; did you mean 'prepare'?"),
        (
            "recommend.top_n=ten",
            "recommend.top_n: wanted a valid integer, unable to parse string as an integer, found 'ten'",
        ),
        ("train.dropout=1.5", "train.dropout: wanted less than 1, found 1.5"),
        ("recommend.top_n=0", "recommend.top_n: wanted greater than 0, found 0"),
        ("train.model=sasrek", "found 'sasrek'"),
        ("top_n", "wanted section.key=value"),
        ("train.model=[", "not valid YAML"),
        ("train.width=65", "train: train.width=65 is no multiple of train.num_heads=2"),
        ("train.num_workers=9", "window.files=4 is less than train.num_workers=9"),
    ],
)
def test_a_wrong_setting_is_refused_with_the_way_out(override: str, told: str) -> None:
    with pytest.raises(RefusedError) as refusal:
        load_settings("conf/local.yaml", [override])
    assert told in str(refusal.value)


def test_a_model_that_is_always_single_refuses_members() -> None:
    with pytest.raises(RefusedError, match=r"train.model=mf is always a single model, but train.members=2; set 1"):
        load_settings("conf/local.yaml", ["train.model=mf", "train.members=2"])
    assert load_settings("conf/local.yaml", ["train.model=mf", "train.members=1"]).train.members == 1


def test_all_wrong_settings_are_told_at_once() -> None:
    with pytest.raises(RefusedError, match="2 setting"):
        load_settings("conf/local.yaml", ["train.dropout=2", "prepare.nonsense=1"])


def test_a_missing_settings_file_is_told() -> None:
    with pytest.raises(RefusedError, match=r"nowhere\.yaml: cannot be read"):
        load_settings("nowhere.yaml")


def test_a_section_that_is_no_section_is_told(tmp_path: Path) -> None:
    file = tmp_path / "odd.yaml"
    file.write_text("prepare: 7\n")
    with pytest.raises(RefusedError, match="prepare: wanted"):
        load_settings(str(file))


def test_the_settings_hash_leaves_out_where_things_are() -> None:
    here = load_settings("conf/local.yaml", lake="/a")
    there = load_settings("conf/local.yaml", ["recommend.top_n=5"], lake="/b")
    other = load_settings("conf/local.yaml", ["train.width=32"], lake="/a")
    assert settings_hash(here) == settings_hash(there) != settings_hash(other)


def test_the_settings_hash_leaves_out_how_the_work_is_done() -> None:
    here = load_settings("conf/local.yaml")
    how = ["train.num_workers=2", "train.checkpoint_steps=3", "train.device=cpu", "window.keep_days=2"]
    assert settings_hash(here) == settings_hash(load_settings("conf/local.yaml", how))
    # The layout of the files decides about the order of windows.
    assert settings_hash(here) != settings_hash(load_settings("conf/local.yaml", ["window.files=8"]))


def test_a_gate_does_not_make_other_lists() -> None:
    def of(*overrides: str) -> str:
        return settings_hash(load_settings("conf/local.yaml", overrides), ("recommend",))

    assert of() == of("recommend.max_drift=3", "recommend.group_users=7", "recommend.carry_over=true")
    assert len({of(), of("recommend.top_n=5"), of("recommend.leave_out={view: 3}"), of("recommend.diversity=0.1")}) == 4


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"columns": {"user_id": "u"}}, "columns.item_id: missing, and needed"),
        ({"time": {"unit": "seconds", "zone": "Asia/Shangai"}}, "'Asia/Shangai' is not a time zone"),
        ({"event_types": {"pv": "look"}}, "event_types.pv: wanted 'view', 'cart'"),
        ({"file_columns": ["a"]}, "columns names user, item, behaviour, seconds"),
    ],
)
def test_a_wrong_source_is_refused(tmp_path: Path, change: dict[str, object], told: str) -> None:
    tree = yaml.safe_load((ROOT / "conf/sources/taobao.yaml").read_text())
    file = tmp_path / "source.yaml"
    file.write_text(yaml.safe_dump({**tree, **change}))
    with pytest.raises(RefusedError) as refusal:
        load_source(str(file))
    assert told in str(refusal.value)

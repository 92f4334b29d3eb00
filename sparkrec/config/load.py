"""Read settings: base.yaml, then the file asked for, then --set; every mistake is told at once, with the way out."""

import difflib
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from sparkrec.config.section import Section
from sparkrec.config.settings import HOW_NOT_WHAT, Settings
from sparkrec.config.source import Source
from sparkrec.errors import RefusedError

M = TypeVar("M", bound=BaseModel)
VOCABULARY_AND_MODEL = ("run", "prepare", "window", "train")


def load_settings(file: str, overrides: Sequence[str] = (), lake: str | None = None) -> Settings:
    """Return the settings of FILE over the base.yaml beside it, with `section.key=value` overrides on top."""
    path = Path(file)
    tree = _read_yaml(path)
    base = path.parent / "base.yaml"
    if base.exists() and base.resolve() != path.resolve():
        tree = _merge(_read_yaml(base), tree)
    for override in overrides:
        _override(tree, override)
    if lake is not None:
        tree["lake"] = {"root": lake}
    return _check(Settings, tree, file)


def load_source(file: str) -> Source:
    """Return the source mapping of FILE."""
    return _check(Source, _read_yaml(Path(file)), file)


def settings_hash(settings: Settings, sections: Sequence[str] = VOCABULARY_AND_MODEL) -> str:
    """Return 12 hex digits over what decides about a model: neither paths nor Spark's properties."""
    return hashlib.sha256(json.dumps(chosen_settings(settings, sections), sort_keys=True).encode()).hexdigest()[:12]


def chosen_settings(settings: Settings, sections: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the settings of some sections, without those that say how work is done and not what comes of it."""
    return {name: getattr(settings, name).model_dump(mode="json", exclude=HOW_NOT_WHAT.get(name)) for name in sections}


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise RefusedError(f"{path}: not text in UTF-8 ({error.reason}); save it as UTF-8") from error
    except OSError as error:
        raise RefusedError(
            f"{path}: cannot be read ({error.strerror}); name a settings file that exists, such as conf/local.yaml"
        ) from error
    except yaml.YAMLError as error:
        raise RefusedError(f"{path}: not valid YAML: {error}") from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise RefusedError(f"{path}: wanted sections with settings, found {type(tree).__name__}")
    return {
        name: {} if section is None and name in Settings.model_fields else section for name, section in tree.items()
    }


def _merge(lower: dict[str, Any], upper: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of `lower` with those of `upper` in their place; a mixture is one setting, taken whole."""
    merged = dict(lower)
    for section, values in upper.items():
        below = merged.get(section)
        if not (isinstance(below, dict) and isinstance(values, dict)):
            merged[section] = values
            continue
        merged[section] = {**below, **values}
        if isinstance(below.get("properties"), dict) and isinstance(values.get("properties"), dict):
            merged[section]["properties"] = {**below["properties"], **values["properties"]}
    return merged


def _override(tree: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    section, dot, name = key.strip().partition(".")
    if not (equals and dot and section and name):
        raise RefusedError(f"--set {override}: wanted section.key=value, such as recommend.top_n=20")
    holder = tree.setdefault(section, {})
    if not isinstance(holder, dict):
        return  # told with the other faults
    # Names of Spark properties hold dots themselves.
    if section == "spark" and name.startswith("properties."):
        holder = holder.setdefault("properties", {})
        name = name.removeprefix("properties.")
        holder[name] = text
        return
    try:
        holder[name] = yaml.safe_load(text) if text else None
    except yaml.YAMLError as error:
        raise RefusedError(f"--set {override}: the value is not valid YAML; put quotes around text") from error


def _check(model: type[M], tree: dict[str, Any], file: str) -> M:
    _stringify_spark_properties(tree)
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        faults = "\n".join(f"  {_explain(model, fault)}" for fault in error.errors())
        raise RefusedError(f"{file}: {error.error_count()} setting(s) refused\n{faults}") from error


def _stringify_spark_properties(tree: dict[str, Any]) -> None:
    spark = tree.get("spark")
    if isinstance(spark, dict) and isinstance(spark.get("properties"), dict):
        values = {k: str(v).lower() if isinstance(v, bool) else str(v) for k, v in spark["properties"].items()}
        tree["spark"] = {**spark, "properties": values}


def _explain(model: type[BaseModel], fault: Any) -> str:
    where = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        right = sorted(_section_at(model, fault["loc"][:-1]).model_fields)
        close = difflib.get_close_matches(str(fault["loc"][-1]), right, n=1)
        hint = f"did you mean '{close[0]}'? " if close else ""
        return f"{where}: no such setting; {hint}the right ones are {', '.join(right)}"
    if fault["type"] == "missing":
        return f"{where}: missing, and needed"
    wanted = fault["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    found = "" if fault["type"] == "value_error" else f", found {fault['input']!r}"
    return f"{where or 'file'}: wanted {wanted}{found}" if fault["type"] != "value_error" else f"{where}: {wanted}"


def _section_at(model: type[BaseModel], location: Sequence[Any]) -> type[BaseModel]:
    section = model
    for name in location:
        field = section.model_fields.get(str(name))
        if field is None or not (isinstance(field.annotation, type) and issubclass(field.annotation, Section)):
            return section
        section = field.annotation
    return section

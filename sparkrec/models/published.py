"""Which models' recommendations were published, and when."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from sparkrec.errors import RefusedError
from sparkrec.lake import Lake
from sparkrec.models.store import REFIT, has_model, is_readable
from sparkrec.tables import RECOMMENDATIONS


def published_version(night: DataFrame) -> str | None:
    """Return the model of a night's published rows, None where nothing is published."""
    row = night.select("model_version").first()
    return row["model_version"] if row else None


def published_model(night: DataFrame, models: DataFrame, run_date: date) -> tuple[str, Path]:
    """Return version and folder of the model of a night's published rows."""
    version = published_version(night)
    folder = _folder(models, version)
    if version is None or folder is None:
        raise RefusedError(
            f"recommendations {run_date}: nothing is published; run 'make recommend DATE={run_date}' first"
        )
    return version, folder


def night_before(lake: Lake, run_date: date) -> tuple[date, DataFrame] | None:
    """Return the newest published night before a date, and its rows of `recommendations`; None without one."""
    last_date = lake.last_date(RECOMMENDATIONS, run_date)
    if last_date is None:
        return None
    return last_date, lake.read(RECOMMENDATIONS).where(F.col("run_date") == F.lit(last_date))


def last_published(lake: Lake, models: DataFrame, run_date: date) -> Path | None:
    """Return the folder of the model that the newest night before a date was published with; None without one that can
    be scored with."""
    before = night_before(lake, run_date)
    if before is None:
        return None
    folder = _folder(models, published_version(before[1]))
    return folder if folder is not None and is_readable(folder) else None


def earlier_models(models: DataFrame, versions: Sequence[str], run_date: date) -> dict[str, Path]:
    """Return the folders of models by version; refuse those that are not there, or were trained for a later date."""
    rows = models.where(F.col("model_version").isin(*versions)).collect() if versions else []
    found = {row["model_version"]: row for row in rows}
    for version in versions:
        if version not in found or not has_model(evaluated(Path(found[version]["path"]))):
            raise RefusedError(f"model {version}: is not in the lake's models, or its folder is gone")
        if found[version]["run_date"] > run_date:
            raise RefusedError(
                f"model {version}: trained for {found[version]['run_date']}, after {run_date}: it may have seen what is"
                " held out; compare with an earlier one"
            )
    return {version: evaluated(Path(found[version]["path"])) for version in versions}


def evaluated(folder: Path) -> Path:
    """Return the folder of the model that figures may be told of: a refit has seen what is held out."""
    return folder.with_name(folder.name.removesuffix(REFIT))


def _folder(models: DataFrame, version: str | None) -> Path | None:
    model = models.where(F.col("model_version") == F.lit(version)).select("path").first()
    return Path(model["path"]) if model else None

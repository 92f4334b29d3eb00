"""The work cut into groups of users: a group's lists become one file, looked at again, and survive a kill.

A group is `recommend.group_users` users as they lie next to each other. Its file is named after all that its lists
follow from, so a run that goes on where another was killed finds what is done by name.
"""

import hashlib
import json
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession

from sparkrec.config.settings import RecommendSettings
from sparkrec.errors import SparkrecError
from sparkrec.evaluate.drift import shape_of
from sparkrec.models.store import load_model, sync_file
from sparkrec.prepare.staged import file_report
from sparkrec.recommend.lists import carried_rows, in_order, scored_rows
from sparkrec.recommend.look import look_at_group
from sparkrec.recommend.offer import read_offer
from sparkrec.recommend.score import Scorer
from sparkrec.spark_errors import cause_of
from sparkrec.tables import RECOMMENDATIONS
from sparkrec.tasks import REPORT, as_batch, reports

ROW_GROUP_ROWS = 1 << 16


@dataclass(frozen=True)
class GroupPlan:
    """What a worker is told; small, for model and offer are read from their folders."""

    night: str
    """Hash of all that decides lists but for users' own pasts."""
    model_folder: str
    offer_folder: str
    staging: Path = field(compare=False)
    run_date: date = field(compare=False)
    model_version: str = field(compare=False)
    cuts: Mapping[str, int | None] = field(compare=False)
    settings: RecommendSettings = field(compare=False)


def stage_groups(people: DataFrame, plan: GroupPlan) -> list[dict[str, Any]]:
    """Score all groups that are not there yet; return a report per group, see `look.py` for its figures."""
    try:
        return reports(people.mapInArrow(_stager(plan), REPORT))
    except PySparkException as error:
        raise SparkrecError(
            f"{cause_of(error)}; nothing was published, and what is scored is kept: the same command goes on there"
        ) from error


def read_staged(spark: SparkSession, told: Iterable[Mapping[str, Any]], plan: GroupPlan) -> DataFrame:
    """Return the rows of the groups' files. A row is one suggestion."""
    paths = [str(plan.staging / report["path"]) for report in told]
    schema = RECOMMENDATIONS.in_files
    return spark.read.schema(schema).parquet(*paths) if paths else spark.createDataFrame([], schema)


def _stager(plan: GroupPlan) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def stage(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for group in groups_of(batches, plan.settings.group_users):
            yield as_batch([stage_group(group, plan)])

    return stage


def groups_of(batches: Iterator[pa.RecordBatch], group_users: int) -> Iterator[pa.Table]:
    """Return the rows in tables of `group_users`; the last one is what is left."""
    waiting: list[pa.RecordBatch] = []
    num_waiting = 0
    for whole in batches:
        batch = whole
        while num_waiting + batch.num_rows >= group_users:
            taken = group_users - num_waiting
            yield pa.Table.from_batches([*waiting, batch.slice(0, taken)]).combine_chunks()
            batch, waiting, num_waiting = batch.slice(taken), [], 0
        if batch.num_rows:
            waiting.append(batch)
            num_waiting += batch.num_rows
    if waiting:
        yield pa.Table.from_batches(waiting).combine_chunks()


def stage_group(people: pa.Table, plan: GroupPlan) -> dict[str, Any]:
    """Score, write and look at a group, unless that was done before; return its report."""
    name = f"{RECOMMENDATIONS.partition}={plan.run_date}/lists-{_key(people, plan)}"
    file, told = plan.staging / f"{name}.parquet", plan.staging / f"{name}.json"
    done = _done(file, told)
    if done is not None:
        return {**done, "reused": len(people), "carried": 0}
    scorer = _scorer(plan)
    scorer.cpu_s.clear()
    scorer.ranking.passed_over = scorer.ranking.finder.one_by_one = 0
    is_carried = people.column("carried").is_valid()
    to_score, to_carry = people.filter(pc.invert(is_carried)), people.filter(is_carried)
    lists = scorer.score(to_score) if len(to_score) else None
    with scorer.timed("rows"):
        parts = [carried_rows(to_carry, plan.model_version)] if len(to_carry) else []
        parts += [scored_rows(to_score, lists, scorer.offer, plan.model_version)] if lists else []
        rows = in_order(pa.concat_tables(parts))

    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_suffix(f".{uuid.uuid4().hex}.writing")  # a task may run twice at once
    with scorer.timed("write"):
        pq.write_table(rows, aside, row_group_size=ROW_GROUP_ROWS, compression="zstd", compression_level=1)
    with scorer.timed("look"):
        figures = look_at_group(pq.read_table(aside, partitioning=None), people, scorer.offer, plan)
    sync_file(aside)
    aside.rename(file)
    partition = {str(RECOMMENDATIONS.partition): str(plan.run_date)}
    report = {
        **file_report(plan.staging, f"{name}.parquet", partition, len(rows)),
        **figures,
        "carried": len(to_carry),
        "reused": 0,
        "passed_over": scorer.ranking.passed_over,
        "one_by_one": scorer.ranking.finder.one_by_one,
        "input": shape_of(people),
        "cpu": dict(scorer.cpu_s),
    }
    aside.write_text(json.dumps(report), encoding="utf-8")
    sync_file(aside)
    aside.rename(told)
    return report


def _done(file: Path, told: Path) -> dict[str, Any] | None:
    """Return the report of a group that is there whole, None where it must be scored."""
    try:
        report: dict[str, Any] = json.loads(told.read_text(encoding="utf-8"))
        return report if file.stat().st_size == report["size"] else None
    except (OSError, ValueError, KeyError):
        return None


def _key(people: pa.Table, plan: GroupPlan) -> str:
    digest = hashlib.sha256(plan.night.encode())
    digest.update(people.column("made_from").to_numpy().tobytes())
    return digest.hexdigest()[:24]


@lru_cache(maxsize=1)
def _scorer(plan: GroupPlan) -> Scorer:
    """Open model and offer; a worker process does it once for a night."""
    return Scorer(load_model(plan.model_folder), read_offer(plan.offer_folder), plan.settings, plan.cuts)

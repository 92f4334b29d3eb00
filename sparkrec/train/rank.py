"""What one rank does, from its first step to the saved model.

B windows   L positions   V vocabulary size
"""

import json
import math
import os
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from sparkrec.errors import SparkrecError
from sparkrec.evaluate.held_out import matrix
from sparkrec.evaluate.ranks import left_out_mask, model_ranks, ndcg_of
from sparkrec.models.registry import build_model
from sparkrec.models.sequence_model import SequenceModel
from sparkrec.models.store import save_model
from sparkrec.train.feed import Feed
from sparkrec.train.losses import pool_negatives, sampled_softmax
from sparkrec.train.plan import TrainPlan
from sparkrec.train.progress import mark_done, mark_failed, report

VALIDATION_TILE = 64


@dataclass(frozen=True)
class Place:
    """Where a rank stands among the others, and where it computes."""

    rank: int
    num_ranks: int
    device: torch.device


def train_rank(plan: TrainPlan) -> None:
    """Run one rank; the function that TorchDistributor (or torchrun) calls on every worker."""
    rank = int(os.environ.get("RANK", "0"))
    try:
        _train(plan, _join(plan))
        mark_done(plan.attempt, rank)
    except BaseException as error:
        mark_failed(plan.attempt, rank, f"{type(error).__name__}: {error}", traceback.format_exc())
        raise
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _join(plan: TrainPlan) -> Place:
    wants_gpu = plan.settings.device != "cpu" and torch.cuda.is_available()
    if plan.settings.device == "cuda" and not torch.cuda.is_available():
        raise SparkrecError("train.device=cuda, but torch sees no GPU here; use auto or cpu")
    ranks_here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if wants_gpu and ranks_here > torch.cuda.device_count():
        raise SparkrecError(
            f"{ranks_here} ranks share {torch.cuda.device_count()} GPU(s) here; lower train.num_workers"
        )
    if wants_gpu:
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    else:
        device = torch.device("cpu")
        torch.set_num_threads(plan.settings.threads_per_worker or max(1, (os.cpu_count() or 1) // ranks_here))
    dist.init_process_group("nccl" if wants_gpu else "gloo")
    return Place(dist.get_rank(), dist.get_world_size(), device)


def _train(plan: TrainPlan, place: Place) -> None:
    settings = plan.settings
    model = _untrained(plan, place)
    parallel = DistributedDataParallel(model, broadcast_buffers=False)
    optimizer = torch.optim.AdamW(parallel.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    log_chance_V = torch.from_numpy(np.frombuffer(plan.log_chance, dtype=np.float32).copy()).to(place.device)
    validation = _validation_tiles(plan, model, place)

    columns = [*model.inputs, "target_idxs", "negative_idxs"]
    with Feed(
        plan.training_set.train,
        columns,
        place.rank,
        place.num_ranks,
        settings.batch_size_per_rank,
        settings.shuffle_rows,
        plan.seed,
    ) as feed:
        # Agreed before step 1: a rank that stopped earlier than the others would leave them waiting for ever.
        steps_per_epoch = _largest(math.ceil(feed.rows_per_pass / settings.batch_size_per_rank), place)
        # While the learning rate still rises, no progress says nothing.
        warm_epochs = math.ceil(settings.warmup_steps / steps_per_epoch)
        batches = feed.batches()
        pooling = torch.Generator().manual_seed(plan.seed + place.rank)
        best, best_epoch, step = -1.0, 0, 0
        started = time.monotonic()
        for epoch in range(1, settings.max_epochs + 1):
            parallel.train()  # type: ignore[no-untyped-call]
            for _ in range(steps_per_epoch):
                step += 1
                for group in optimizer.param_groups:
                    group["lr"] = _learning_rate(step, steps_per_epoch, plan)
                loss = _step(parallel, optimizer, next(batches), pooling, log_chance_V, plan, place)
                if not math.isfinite(loss):
                    raise SparkrecError(
                        f"loss is {loss} at step {step}; lower train.learning_rate (no model was changed)"
                    )
                report(
                    plan.attempt,
                    place.rank,
                    step,
                    steps_per_epoch * settings.max_epochs,
                    epoch,
                    loss,
                    best,
                    started,
                )
            _check_passes(feed, plan, place)
            ndcg = _validate(model, validation, place)
            if ndcg > best:
                best, best_epoch = ndcg, epoch
                if place.rank == 0:
                    save_model(plan.attempt / "best", model, plan.card)
            if epoch - max(best_epoch, warm_epochs) >= settings.patience:
                break
        if place.rank == 0:
            _keep_best(plan, epoch, best_epoch, step, best, time.monotonic() - started, feed.passes.complete())
    dist.barrier()


def _untrained(plan: TrainPlan, place: Place) -> SequenceModel:
    torch.manual_seed(plan.seed)  # the same initial weights on every rank
    model = build_model(plan.card.architecture, plan.shape)
    model.is_known_V = torch.from_numpy(np.frombuffer(plan.is_known, dtype=np.bool_).copy())
    torch.manual_seed(plan.seed + 1 + place.rank)  # dropout differs by rank
    return model.to(place.device)


def _step(
    parallel: DistributedDataParallel,
    optimizer: torch.optim.Optimizer,
    batch: dict[str, Tensor],
    pooling: torch.Generator,
    log_chance_V: Tensor,
    plan: TrainPlan,
    place: Place,
) -> float:
    model: SequenceModel = parallel.module
    pooled_P = pool_negatives(batch["negative_idxs"], plan.settings.num_pooled_negatives, pooling).to(place.device)
    inputs = {name: batch[name].to(place.device, non_blocking=True) for name in model.inputs}
    target_BL = batch["target_idxs"].to(place.device, non_blocking=True)
    with torch.autocast("cuda", torch.bfloat16, enabled=place.device.type == "cuda"):
        state_BLD = parallel(inputs)
        loss = sampled_softmax(state_BLD, model.item_matrix(), target_BL, pooled_P, log_chance_V)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(parallel.parameters(), plan.settings.clip_norm)
    optimizer.step()
    return loss.item()


def _learning_rate(step: int, steps_per_epoch: int, plan: TrainPlan) -> float:
    """Linear rise, then a cosine down to a tenth at the last possible step."""
    settings = plan.settings
    if step <= settings.warmup_steps:
        return settings.learning_rate * step / settings.warmup_steps
    gone = (step - settings.warmup_steps) / max(steps_per_epoch * settings.max_epochs - settings.warmup_steps, 1)
    return settings.learning_rate * (0.1 + 0.45 * (1 + math.cos(math.pi * min(gone, 1.0))))


def _check_passes(feed: Feed, plan: TrainPlan, place: Place) -> None:
    """Every window once per pass, all ranks together: rows and ids must be the table's. Anything else stops the job."""
    passes = feed.passes
    if passes.complete() < 1:
        raise SparkrecError(
            f"feed: rank {place.rank} has not finished a pass after an epoch; this is a fault of the feed"
        )
    for number in range(1, passes.complete()):
        if (passes.rows[number], passes.sums_of_ids[number]) != (passes.rows[0], passes.sums_of_ids[0]):
            raise SparkrecError(
                f"feed: pass {number + 1} of rank {place.rank} handed over other windows than its first"
            )
    everyone: list[tuple[int, int]] = [(0, 0)] * place.num_ranks
    dist.all_gather_object(everyone, (passes.rows[0], passes.sums_of_ids[0]))
    rows, ids = sum(pair[0] for pair in everyone), sum(pair[1] for pair in everyone)
    wanted = plan.training_set.train
    if (rows, ids) != (wanted.num_rows, wanted.sum_of_ids):
        raise SparkrecError(
            f"feed: {rows} windows handed over in a pass, the table has {wanted.num_rows} (or other ids)"
        )


Tile = tuple[dict[str, Tensor], Tensor, Tensor]


def _validation_tiles(plan: TrainPlan, model: SequenceModel, place: Place) -> list[Tile]:
    """Return this rank's share of the first validation rows; rows lie in random order in their files."""
    columns = [*model.inputs, "target_idxs", "seen_idxs"]
    tiles = []
    left = plan.settings.validation_users
    for url in plan.training_set.validation.urls:
        with fsspec.open(url, "rb") as file:
            table = pq.read_table(file, columns=columns).slice(0, left)
        left -= len(table)
        mine = table.take(list(range(place.rank, len(table), place.num_ranks)))
        tiles += list(_tiles(mine.combine_chunks(), model, place))
    return tiles


def _tiles(table: pa.Table, model: SequenceModel, place: Place) -> Iterator[Tile]:
    for tile in table.to_batches(max_chunksize=VALIDATION_TILE):
        inputs = {name: matrix(tile.column(name)).to(place.device) for name in model.inputs}
        seen = [np.asarray(items, dtype=np.int64) for items in tile.column("seen_idxs").to_pylist()]
        left_out_BV = left_out_mask(seen, model.shape.vocabulary_size)
        yield inputs, matrix(tile.column("target_idxs"))[:, -1].to(place.device), left_out_BV.to(place.device)


def _validate(model: SequenceModel, tiles: list[Tile], place: Place) -> float:
    """Return NDCG@10 over all ranks' validation users, full ranking."""
    model.eval()
    total = torch.zeros(2, dtype=torch.float64)
    for inputs, target_B, left_out_BV in tiles:
        gain_B = ndcg_of(model_ranks(model, inputs, target_B, left_out_BV), 10)
        total += torch.tensor([gain_B.sum().item(), float(len(gain_B))], dtype=torch.float64)
    everyone: list[list[float]] = [[]] * place.num_ranks
    dist.all_gather_object(everyone, total.tolist())
    return float(sum(pair[0] for pair in everyone) / max(sum(pair[1] for pair in everyone), 1))


def _largest(number: int, place: Place) -> int:
    everyone: list[int] = [0] * place.num_ranks
    dist.all_gather_object(everyone, number)
    return max(everyone)


def _keep_best(
    plan: TrainPlan, epochs: int, best_epoch: int, steps: int, best: float, seconds: float, passes: int
) -> None:
    best_folder: Path = plan.attempt / "best"
    summary = {
        "epochs": epochs,
        "best_epoch": best_epoch,
        "steps": steps,
        "seconds": seconds,
        "in_training_ndcg10": best,
        "passes": passes,
        "ranks": plan.settings.num_workers,
    }
    (best_folder / "training.json").write_text(json.dumps(summary), encoding="utf-8")
    best_folder.rename(plan.folder)

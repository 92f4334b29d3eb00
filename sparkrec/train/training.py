"""One rank's training: epochs of steps, validation, checkpoints, and the model of the best epoch.

B windows   L positions   V vocabulary size
"""

import json
import math
import shutil
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from sparkrec.errors import SparkrecError
from sparkrec.models.numbers import multiplies_bfloat16
from sparkrec.models.second_opinion import SecondOpinion
from sparkrec.models.sequence_model import SequenceModel
from sparkrec.models.store import read_model, save_model
from sparkrec.tables import PAD
from sparkrec.train.average import Average
from sparkrec.train.checkpoint import Progress, check_fits, load_checkpoint, newest_checkpoint, save_checkpoint
from sparkrec.train.feed import Feed
from sparkrec.train.logbook import Logbook
from sparkrec.train.objective import Objective
from sparkrec.train.place import Place
from sparkrec.train.plan import FINAL, TrainPlan, Vocabulary
from sparkrec.train.progress import report
from sparkrec.train.schedule import batch_for, epochs_for, learning_rate
from sparkrec.train.second_opinion import choose_second_opinion
from sparkrec.train.trim import PIECE_COST_ON_GPU, Piece, TargetStates, cut_pieces
from sparkrec.train.untrained import untrained
from sparkrec.train.validation import Tile, read_tiles, validate

LOOK_EVERY_STEPS_ON_GPU = 20
"""A look at the loss makes a GPU wait for the CPU."""


class Training:
    """One rank's training, and how far it is."""

    def __init__(self, plan: TrainPlan, vocabulary: Vocabulary, place: Place) -> None:
        self.plan, self.settings, self.place = plan, plan.settings, place
        self.in_bfloat16 = multiplies_bfloat16(place.device)
        self.model = untrained(plan, vocabulary, place)
        self.states = DistributedDataParallel(
            TargetStates(self.model), broadcast_buffers=False, gradient_as_bucket_view=True
        )
        self.optimizer = torch.optim.AdamW(self.model.parameters(), weight_decay=self.settings.weight_decay, fused=True)
        self.average = Average(self.model, self.settings.average)
        self.objective = Objective(self.settings, vocabulary, plan.popularity_power, place.device)
        self.is_known_V = vocabulary.is_known
        lately_V = vocabulary.lately_events if self.settings.popular_lately else torch.zeros(0)
        self.lately_V = lately_V.to(place.device)
        files = plan.training_set.train if plan.fixed_epochs is None else plan.training_set.everything()
        self.batch_size = self.settings.batch_size_per_rank or batch_for(
            files.num_rows, files.num_targets, place.num_ranks
        )
        self.feed = Feed(
            files,
            self.objective.columns(self.model),
            place.rank,
            place.num_ranks,
            self.batch_size,
            self.settings.shuffle_rows,
            plan.seed,
            self._pieces,
        )
        self.wanted = (files.num_rows, files.sum_of_ids)
        self.rows_per_step = self.batch_size * place.num_ranks
        # Agreed before step 1: a rank that stopped earlier than the others would leave them waiting for ever.
        steps = math.ceil(self.feed.rows_per_pass / self.batch_size)
        self.steps_per_epoch = max(place.gather(steps))
        self.max_epochs = plan.fixed_epochs or self.settings.max_epochs or epochs_for(files.num_targets)
        # Without a user to validate on, as in a refit, the last epoch is as good as any.
        self.validates = plan.fixed_epochs is None and plan.training_set.validation.num_rows > 0
        self.progress = self._resume()
        self.resumed_at, self.seconds_before = self.progress.step, self.progress.seconds
        self.waited_s = 0.0
        self.pending: list[tuple[int, Tensor, Tensor]] = []

    def run(self) -> None:
        """Train to the end, validating after every epoch, and leave the best epoch's model in the plan's folder."""
        users, validation = self.settings.validation_users, self.plan.training_set.validation
        tiles = read_tiles(validation, self.model, users, self.plan.by_steps, self.place) if self.validates else []
        with Logbook(self.plan, self.place.rank, self.progress.step) as logbook:
            while not self._is_over():
                self._epoch(logbook)
                ndcg = validate(self.published(), tiles, self.place) if self.validates else 0.0
                self._end_epoch(ndcg, logbook)
        second_opinion = self._second_opinion(tiles)
        if self.place.rank == 0:
            self._hand_over(second_opinion)
        dist.barrier()

    def published(self) -> SequenceModel:
        """Return the model with averaged weights, which is validated and published."""
        return self.average.model

    def _resume(self) -> Progress:
        own = newest_checkpoint(self.plan.attempt)
        folder = own or (self.settings.resume_from and Path(self.settings.resume_from))
        if not folder:
            return Progress()
        check_fits(folder, self.plan.depends_on)
        progress = load_checkpoint(folder, self.model, self.average, self.optimizer)
        best = self._best(progress.best_epoch)
        if folder.parent != self.plan.attempt and progress.best_epoch and self.place.rank == 0 and not best.exists():
            shutil.copytree(folder.parent / best.name, best)
        return progress

    def _is_over(self) -> bool:
        done = self.progress.epoch - 1
        if done >= self.max_epochs:
            return True
        if not self.validates:
            return False
        if done and self._is_out_of_time():
            return True
        # While the learning rate still rises, no progress says nothing.
        warm_epochs = math.ceil(self.settings.warmup_steps / self.steps_per_epoch)
        return done - max(self.progress.best_epoch, warm_epochs) >= self.settings.patience

    def _is_out_of_time(self) -> bool:
        limit = self.settings.max_minutes
        # Clocks differ; ranks must not.
        return limit is not None and max(self.place.gather(self.progress.seconds)) >= 60 * limit

    def _epoch(self, logbook: Logbook) -> None:
        self.states.train()  # type: ignore[no-untyped-call]
        first = math.ceil(self.progress.rows_in_epoch / self.rows_per_step)
        started, seconds = time.monotonic(), self.progress.seconds
        with self.feed.epoch(self.progress.epoch, self.steps_per_epoch, first) as batches:
            for number in range(first, self.steps_per_epoch):
                self._step(next(batches), number)
                self.progress = replace(
                    self.progress,
                    rows_in_epoch=(number + 1) * self.rows_per_step,
                    seconds=seconds + time.monotonic() - started,
                )
                is_last = number + 1 == self.steps_per_epoch
                is_due = not is_last and self.progress.step % self.settings.checkpoint_steps == 0
                if is_last or is_due or len(self.pending) >= (LOOK_EVERY_STEPS_ON_GPU if self.place.is_gpu else 1):
                    loss = self._look_at_losses()
                    self._report(loss)
                    logbook.step(self.progress.step, loss)
                if is_due:
                    self._save()
            self.waited_s += batches.waited_s
        self._check_passes()

    def _pieces(self, batch: dict[str, Tensor]) -> list[Piece]:
        """Turn a batch into what a step computes; in the thread that reads ahead."""
        targets = batch["target_idxs"]
        # Held-out targets of a refit can be items too rare to be learnt.
        batch["target_idxs"] = torch.where(self.is_known_V[targets.long()], targets, PAD)
        if not self.place.is_gpu:
            return cut_pieces(batch, self.plan.num_negatives)
        pieces = cut_pieces(batch, self.plan.num_negatives, PIECE_COST_ON_GPU)
        torch.cuda.set_device(self.place.device)
        return [{name: values.pin_memory() for name, values in piece.items()} for piece in pieces]

    def _step(self, batch: list[Piece], number: int) -> None:
        self.progress = replace(self.progress, step=self.progress.step + 1)
        # Every step has random numbers of its own, so that a training can be taken up at any of them.
        seed = np.random.SeedSequence([self.plan.seed, self.place.rank, self.progress.step]).generate_state(2)
        torch.manual_seed(int(seed[0]))
        negatives = torch.Generator().manual_seed(int(seed[1]))
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.progress.step, self.settings)
        pieces = [
            {name: values.to(self.place.device, non_blocking=True) for name, values in piece.items()} for piece in batch
        ]
        with torch.autocast(self.place.device.type, torch.bfloat16, enabled=self.in_bfloat16):
            loss = self.objective(self.states, self.model, pieces, negatives)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip_norm)
        self.optimizer.step()
        self.average.follow(self.model, self.progress.step)
        self.pending.append((number, loss.detach(), norm.detach()))

    def _look_at_losses(self) -> float:
        """Return the newest loss; stop at the first that is no number, before it can reach a checkpoint."""
        losses = torch.stack([loss for _, loss, _ in self.pending]).tolist()
        norms = torch.stack([norm for _, _, norm in self.pending]).tolist()
        step = self.progress.step - len(self.pending)
        for (number, _, _), loss, norm in zip(self.pending, losses, norms, strict=True):
            step += 1
            if not (math.isfinite(loss) and math.isfinite(norm)):
                last = newest_checkpoint(self.plan.attempt)
                raise SparkrecError(
                    f"loss {loss}, gradient norm {norm} at step {step} (epoch {self.progress.epoch}, batch {number + 1}"
                    f" of {self.steps_per_epoch}); lower train.learning_rate. The models in use are as they were,"
                    f" the last good checkpoint is {last or 'none'}"
                )
        self.progress = replace(self.progress, loss_sum=self.progress.loss_sum + sum(losses))
        self.pending.clear()
        return float(losses[-1])

    def _report(self, loss: float) -> None:
        progress, here = self.progress, self.progress.step - self.resumed_at
        max_steps = self.steps_per_epoch * self.max_epochs
        steps_per_s = here / max(progress.seconds - self.seconds_before, 1e-9)
        told = {
            "step": progress.step,
            "steps": max_steps,
            "epoch": progress.epoch,
            "loss": loss,
            "ndcg10": max(progress.best, 0.0),
            "windows_per_s": steps_per_s * self.rows_per_step,
            "left_s": (max_steps - progress.step) / steps_per_s,
        }
        if self.place.rank == 0:
            report(self.plan.attempt, told)

    def _check_passes(self) -> None:
        """Every window once per pass, all ranks together: rows and ids must be the table's; or the job stops."""
        passes = self.feed.passes
        whole = passes.rows[0] if passes.rows else 0
        everyone = self.place.gather((whole, passes.sums_of_ids[0] if passes.rows else 0))
        rows, ids = (sum(of_ranks) for of_ranks in zip(*everyone, strict=True))
        if (rows, ids) != self.wanted:
            raise SparkrecError(
                f"feed: {rows:,} windows handed over in a pass, the table has {self.wanted[0]:,} (or other ids);"
                " this is a fault of the feed, the models in use are as they were"
            )

    def _end_epoch(self, ndcg: float, logbook: Logbook) -> None:
        epoch = self.progress.epoch
        mean_loss = self.progress.loss_sum / self.steps_per_epoch
        logbook.epoch(self.progress.step, mean_loss, ndcg, self.feed.passes.mean_travel())
        is_best = ndcg > self.progress.best or not self.validates
        if is_best and self.place.rank == 0:
            save_model(self._best(epoch), self.published(), self.plan.card)
        self.progress = replace(
            self.progress,
            epoch=epoch + 1,
            rows_in_epoch=0,
            loss_sum=0.0,
            best=ndcg if is_best else self.progress.best,
            best_epoch=epoch if is_best else self.progress.best_epoch,
            history=(*self.progress.history, (mean_loss, ndcg)),
        )
        self._save()
        if self.place.rank == 0:
            for other in self.plan.attempt.glob("best-*"):
                if other != self._best(self.progress.best_epoch):
                    shutil.rmtree(other)

    def _save(self) -> None:
        if self.place.rank == 0:
            save_checkpoint(
                self.plan.attempt, self.model, self.average, self.optimizer, self.progress, self.plan.depends_on
            )

    def _best(self, epoch: int) -> Path:
        return self.plan.attempt / f"best-{epoch}"

    def _second_opinion(self, tiles: list[Tile]) -> SecondOpinion:
        """Return how much else counts; rank 0 leaves the model with it in the attempt's FINAL."""
        dist.barrier()  # rank 0 has written it
        model = read_model(self._best(self.progress.best_epoch)).to(self.place.device)
        chosen = self.plan.second_opinion or SecondOpinion()
        if self.validates and not model.scores_pairs:
            chosen = choose_second_opinion(model, tiles, self.lately_V, self.place)
        model.take(chosen)
        if self.place.rank == 0:
            save_model(self.plan.attempt / FINAL, model, self.plan.card)
        return chosen

    def _hand_over(self, second_opinion: SecondOpinion) -> None:
        progress = self.progress
        epochs = progress.epoch - 1
        final = self.plan.attempt / FINAL
        summary = {
            "epochs": epochs,
            "best_epoch": progress.best_epoch,
            "steps": progress.step,
            "resumed_at": self.resumed_at,
            "seconds": progress.seconds,
            "wait_share": self.waited_s / max(progress.seconds - self.seconds_before, 1e-9),
            "in_training_ndcg10": progress.best,
            "second_opinion": asdict(second_opinion),
            "repeated": (self.steps_per_epoch * self.rows_per_step - self.wanted[0]) * epochs,
            "mean_travel": self.feed.passes.mean_travel(),
            "ranks": self.place.num_ranks,
            "members": self.plan.shape.num_members,
            "history": progress.history,
        }
        (final / "training.json").write_text(json.dumps(summary), encoding="utf-8")
        final.rename(self.plan.folder)

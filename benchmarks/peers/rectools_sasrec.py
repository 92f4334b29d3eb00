"""RecTools' SASRec on sequences in a csv file, stopped after some CPU seconds; tells speed and test NDCG@10 as JSON.

python rectools_sasrec.py SEQUENCES.csv CPU_SECONDS LOSS THREADS WIDTH BLOCKS HEADS LENGTH BATCH NEGATIVES
"""

import json
import sys
import time
import warnings

import numpy as np
import pandas as pd
import torch
from pytorch_lightning import Callback, Trainer, seed_everything
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel

warnings.simplefilter("ignore")


class Stopwatch(Callback):
    """Counts targets, and ends training when the CPU seconds are spent."""

    def __init__(self, cpu_seconds: float) -> None:
        self.limit, self.targets, self.cpu_s, self.seconds = cpu_seconds, 0, 0.0, 0.0

    def on_train_start(self, *_: object) -> None:
        self.cpu_before, self.before = time.process_time(), time.monotonic()

    def on_train_batch_end(self, trainer: Trainer, model: object, outputs: object, batch: dict, number: int) -> None:
        self.targets += int((batch["y"] != 0).sum())
        self.cpu_s, self.seconds = time.process_time() - self.cpu_before, time.monotonic() - self.before
        trainer.should_stop = self.cpu_s >= self.limit
        if trainer.should_stop:
            trainer.fit_loop.epoch_loop.max_steps = trainer.global_step


def main() -> None:
    path, cpu_seconds, loss = sys.argv[1], float(sys.argv[2]), sys.argv[3]
    threads, width, blocks, heads, length, batch, negatives = map(int, sys.argv[4:])
    torch.set_num_threads(threads)
    seed_everything(7)
    events = pd.read_csv(path, dtype={"user": str, "item": str})
    from_end = events.groupby("user")["position"].transform("max") - events["position"]
    events = events.rename(columns={"user": Columns.User, "item": Columns.Item})
    events[Columns.Datetime] = pd.to_datetime(events["position"], unit="s")
    events[Columns.Weight] = 1
    columns = [Columns.User, Columns.Item, Columns.Weight, Columns.Datetime]
    train, before_test, test = events[from_end >= 2][columns], events[from_end >= 1][columns], events[from_end == 0]

    trainer = Trainer(
        max_epochs=100_000, min_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, callbacks=[Stopwatch(cpu_seconds)],
    )  # fmt: skip
    model = SASRecModel(
        n_blocks=blocks, n_heads=heads, n_factors=width, session_max_len=length, loss=loss, n_negatives=negatives,
        batch_size=batch, dropout_rate=0.2, lr=0.001, use_key_padding_mask=False, get_trainer_func=lambda: trainer,
    )  # fmt: skip
    model.fit(Dataset.construct(train))
    # RecTools trains with a copy of the trainer.
    watch = next(callback for callback in model.fit_trainer.callbacks if isinstance(callback, Stopwatch))
    found = model.recommend(
        users=test[Columns.User].unique(), dataset=Dataset.construct(before_test), k=10, filter_viewed=True
    )
    hits = found.merge(test[[Columns.User, Columns.Item]], on=[Columns.User, Columns.Item])
    told = {
        "targets": watch.targets,
        "cpu_s": watch.cpu_s,
        "seconds": watch.seconds,
        "epochs": watch.targets / (len(train) - train[Columns.User].nunique()),
        "users": int(test[Columns.User].nunique()),
        "ndcg10": float((1 / np.log2(hits[Columns.Rank] + 1)).sum() / test[Columns.User].nunique()),
        "hr10": len(hits) / test[Columns.User].nunique(),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()

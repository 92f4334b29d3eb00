"""Settings of training: which model, how it learns, and for how long."""

from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, field_validator, model_validator

from sparkrec.config.section import Section

COUNTED = ("popular", "mf", "item_knn")
"""Models that are not learnt step by step."""
WITHOUT_PAST = ("ite", "long_only")
"""Models that do not look at what a user did."""
PAIRS = ("ite", "long_only", "cnn_only", "cnn_hybrid")
"""Models that score pairs of a user and an item by a network."""
SINGLE = (*COUNTED, *PAIRS)
"""Models that never learn side by side: counted ones, and those whose scores, of pairs, are no inner products."""
WITHOUT_NEIGHBOURS = ("popular", "mf", *PAIRS)
"""Models that no second opinion is added to: those that score pairs would need it on another scale."""


class TrainSettings(Section):
    model: Literal[
        "sasrec", "esasrec", "bsarec", "hstu", "gru4rec", "caser", "cnn_attention",
        "dfnn", "lstm", "dfnn_lstm", "rnn_profile", "ite", "cnn_hybrid", "cnn_only", "long_only",
        "mf", "item_knn", "popular",
    ] = "sasrec"  # fmt: skip
    """Architecture, a file in sparkrec/models."""
    width: PositiveInt = 128
    """Width of item vectors and states (D)."""
    members: PositiveInt | None = None
    """Models side by side, each of this width, whose mean scores count; null: two up to 2 million targets, then one."""
    num_blocks: PositiveInt = 2
    """Transformer blocks."""
    num_heads: PositiveInt = 2
    """Attention heads; they divide `width`."""
    dropout: float = Field(0.4, ge=0, lt=1)
    """Share of activations dropped while training."""
    temperature: PositiveFloat | None = 0.07
    """Scores are cosines divided by this; null: inner products, where popular items can have longer vectors."""
    side_inputs: list[Literal["event_types", "gap_buckets", "session_starts", "price_buckets"]] = Field(["event_types"])
    """What is read of an event beside its item: its kind, time since the one before, if a session begins, price."""
    num_users: PositiveInt = 65_536
    """Vectors of their own that users share by hash, in architectures that give users any."""
    heads: list[Literal["purchase", "next_action", "own_action"]] = Field([], max_length=3)
    """What is learnt beside the next item: purchases given interest, the next event's kind, an event's own (a leak)."""
    attributes: bool = True
    """Add the mean of vectors of an item's category, brand and attributes (of prepare.catalogue) to its own."""
    num_workers: PositiveInt = 1
    """Training processes (ranks): one per GPU, or a few on CPU."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where ranks compute; auto takes GPUs where Spark or the machine offers them."""
    threads_per_worker: NonNegativeInt = 0
    """CPU threads of a rank; 0 shares half the machine's CPUs among its ranks, for two are mostly one core."""
    max_epochs: PositiveInt | None = None
    """Passes over the training windows, at most; null: those that 10 million targets or 8,000 steps take, 10 to 100."""
    patience: PositiveInt = 5
    """Epochs without a better validation NDCG@10, after warm-up, that end training; the best epoch is kept."""
    max_minutes: PositiveFloat | None = None
    """A guard against runaways: no epoch begins after so many minutes of training; what is best by then is kept."""
    batch_size_per_rank: PositiveInt | None = None
    """Windows per step and rank; null: so many that an epoch takes about 350 steps, of 256 to 4,096 targets each."""
    learning_rate: PositiveFloat = 0.001
    """Peak step size of AdamW."""
    warmup_steps: NonNegativeInt = 200
    """Steps over which the learning rate rises from zero."""
    weight_decay: float = Field(0.01, ge=0)
    """AdamW's weight decay."""
    clip_norm: PositiveFloat = 1.0
    """Largest gradient norm of a step."""
    average: float = Field(0.998, ge=0, lt=1)
    """Largest share of the averaged weights, which are those published, that a step leaves as it is; 0 is off."""
    loss: Literal[
        "auto", "softmax", "sampled_softmax", "in_batch_softmax", "binary", "generalised_binary", "pairwise"
    ] = "auto"  # fmt: skip
    """Against all items, negatives by popularity, from the batch, or of each target; auto: all, if 50,000 or fewer."""
    later_targets: float = Field(0.4, ge=0, lt=1)
    """The softmaxes learn from what follows later, too, each item so much of the one before; 0: from the next alone."""
    num_shared_negatives: PositiveInt = 512
    """Negatives that all targets of a batch share, by sampled_softmax and in_batch_softmax."""
    neighbours: NonNegativeInt = 50
    """Neighbours of each item in users' pasts that give a second opinion, which counts as much as validation says."""
    popular_lately: bool = True
    """Items' events of the last seven days count beside it, likewise, where the windows hold out a period."""
    start: Literal["scratch", "champion"] = "scratch"
    """Begin with random weights, or fine-tune those of the newest champion of an earlier date."""
    refit: bool = False
    """Train a second time on all windows, held-out ones included, for as many epochs; the figures are of the first."""
    checkpoint_steps: PositiveInt = 1000
    """Steps between checkpoints; there is one after every epoch in any case."""
    resume_from: str | None = None
    """Folder of a checkpoint to go on from; without it a training that was cut off goes on from its own."""
    shuffle_rows: PositiveInt = 20000
    """Windows in a rank's shuffle buffer."""
    validation_users: PositiveInt = 10_000
    """Users whose validation targets are ranked after each epoch, at most."""

    @property
    def num_neighbours(self) -> int:
        return 0 if self.model in WITHOUT_NEIGHBOURS else self.neighbours

    @field_validator("heads", mode="after")
    @classmethod
    def once_and_in_order(cls, value: list[str]) -> list[str]:
        return sorted(set(value))

    @model_validator(mode="after")
    def what_is_needed_is_there(self) -> "TrainSettings":
        if self.model == "item_knn" and not self.neighbours:
            raise ValueError("train.model=item_knn scores by neighbours, but train.neighbours=0; raise it")
        if (self.members or 1) > 1 and self.model in SINGLE:
            raise ValueError(
                f"train.model={self.model} is always a single model, but train.members={self.members}; set 1"
            )
        if self.heads and self.model in COUNTED:
            raise ValueError(f"train.model={self.model} is counted, not learnt, and has no train.heads; leave them out")
        if "own_action" in self.heads and self.model in WITHOUT_PAST:
            raise ValueError(f"train.model={self.model} reads no events, so train.heads=[own_action] is not for it")
        if "own_action" in self.heads and "event_types" not in self.side_inputs:
            raise ValueError("train.heads=[own_action] reads kinds of events; add event_types to train.side_inputs")
        if self.width % self.num_heads:
            raise ValueError(f"train.width={self.width} is no multiple of train.num_heads={self.num_heads}; change one")
        return self

"""Every setting, its default and what it changes. `conf/base.yaml` shows the same list; a test holds them together."""

from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, field_validator, model_validator

from sparkrec.config.section import Section
from sparkrec.config.train_settings import TrainSettings

HOW_NOT_WHAT: dict[str, set[str]] = {
    "window": {"keep_days"},
    "train": {"num_workers", "device", "threads_per_worker", "checkpoint_steps", "resume_from"},
    "recommend": {
        "group_users", "preselect", "carry_over", "keep_days", "max_ndcg_drop", "min_popular_ratio", "failed_candidate",
        "min_user_share", "max_fallback_share", "min_overlap", "min_coverage", "max_concentration",
        "drift_nights", "max_drift", "max_new_users", "max_new_items",
    },
}  # fmt: skip
"""Settings by section that do not make another model (another version, or one that a checkpoint does not fit), or other
lists."""
GATE_K = 10
"""The cut-off by which candidates pass or not, and which stands in headlines."""
Strategy = Literal["uniform", "popularity", "category", "viewed"]
Kind = Literal["view", "cart", "purchase", "favourite", "remove"]
"""Kinds of events that have an item."""


class LakeSettings(Section):
    root: str = "lake"
    """Folder of all tables and models: a path (relative to the working folder) that driver and workers mount."""


class SparkSettings(Section):
    app_name: str = "sparkrec"
    """Name of the application in Spark's own lists."""
    properties: dict[str, str] = Field({})
    """Spark properties of the session, `spark.…: value`. What the JVM must know at start is in spark-defaults.conf."""


class RunSettings(Section):
    seed: NonNegativeInt = Field(7, le=2**31 - 1)
    """Seed of everything random: negatives, shuffling, initial weights, dropout."""


class PrepareSettings(Section):
    gap_minutes: PositiveInt = Field(30, le=720)
    """Silence that ends a session. Unit: minutes."""
    max_session_minutes: PositiveInt = Field(720, ge=1)
    """Longest session; what goes on longer continues in a new one. Unit: minutes."""
    late_days: NonNegativeInt = 3
    """How many days after its own day an event may still arrive; older ones are quarantined. Not on a first run."""
    max_quarantine_share: float = Field(0.2, ge=0, le=1)
    """Largest share of the rows of a run that may be refused; above it the job fails and no table changes."""
    max_user_day_events: PositiveInt = 1000
    """Bot rule: a user with more events than this on one day is no person; that day's rows are quarantined."""
    max_user_minute_events: PositiveInt = 120
    """Burst rule: a user with more events than this within a minute of the clock is none either; likewise."""
    max_user_events: PositiveInt = 1_000_000
    """User cap: events of one user id beyond this many, in time order, are quarantined. Shared ids have that many."""
    max_history: PositiveInt = 200
    """Events kept per user in `histories`, the newest ones."""
    max_purchased: PositiveInt = 500
    """Different items bought that are kept per user in `histories`, the newest ones; they are never recommended."""
    user_buckets: PositiveInt = 4
    """Groups of users that files of `events` and `histories` hold, one per half million users. Fixed for a lake."""
    split_rows: PositiveInt = 3_000_000
    """Raw rows that one task takes in, about; decides about memory, never about results."""
    allow_empty_day: bool = False
    """Accept an input that has no row of the run's own date."""
    min_day_share: float = Field(0.4, ge=0, le=1)
    """Fewer new rows of the run's date than this share of a usual day of the week before: half a delivery, refused."""
    catalogue: str | None = None
    """File (csv or parquet, {date} is the night) of items: item_id and, if known, category, brand, price, available."""
    catalogue_is_complete: bool = False
    """Items that the catalogue does not list are no longer available."""


class WindowSettings(Section):
    length: PositiveInt = Field(50, ge=2)
    """Positions in a window (L)."""
    stride: PositiveInt | None = None
    """Positions from one training window of a user to the next; null is `length`, less makes them overlap."""
    min_item_events: PositiveInt = 1
    """Events an item needs; rarer ones are 'unknown' to the model and never recommended by it."""
    held_out: Literal["last_items", "date", "sessions"] = "last_items"
    """What is held out: users' last two items, the items of the last two periods, or the steps of their sessions."""
    held_out_events: list[Kind] = Field(["view", "cart", "purchase", "favourite"], min_length=1)
    """Kinds of events that may be held out; [purchase] holds out what was bought last."""
    held_out_days: PositiveInt = 1
    """Days of the test period, which ends with the run's date, and of the validation period before it."""
    negatives: dict[Strategy, PositiveFloat] = Field({"popularity": 1.0}, min_length=1)
    """Shares of the laws of negatives: uniform, popularity, category (the target's), viewed (and never bought)."""
    popularity_power: float = Field(0.75, ge=0, le=2)
    """Exponent on the number of events, in the laws popularity and category and for shared negatives."""
    num_negatives: PositiveInt = 4
    """Negatives per target (K)."""
    files: PositiveInt = 4
    """Fewest files that hold the training windows, of about even size; at least `train.num_workers`."""
    file_windows: PositiveInt = 100_000
    """Windows per file, about: what a task holds in memory (some 150 MB at length 50), and more files beyond it."""
    row_group_rows: PositiveInt = 1024
    """Largest number of windows in a Parquet row group, the unit in which ranks share the training set."""
    keep_days: PositiveInt = 7
    """Training sets (run dates) kept in `windows`."""

    @property
    def step(self) -> int:
        return self.stride or self.length

    @field_validator("negatives", mode="before")
    @classmethod
    def one_word_is_the_whole_mixture(cls, value: object) -> object:
        return {value: 1.0} if isinstance(value, str) else value


class RecommendSettings(Section):
    top_n: PositiveInt = 10
    """Items per user (N)."""
    tile_users: PositiveInt = 64
    """Users scored together against the whole catalogue."""
    group_users: PositiveInt = 20_000
    """Users whose lists become one file: what a task holds in memory, and what a killed run need not score again."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where executors score; auto takes the GPU that Spark gave the task."""
    preselect: Literal["auto", "bfloat16", "float32"] = "auto"
    """Numbers of the first pass over the catalogue; auto takes the fastest there is. Lists are the same with either."""
    leave_out: dict[Kind, PositiveInt | None] = Field({"purchase": None})
    """Kinds of events after which an item is not offered again, and for how many days; null is for good."""
    popular_days: PositiveInt = 7
    """Days that the first two fallbacks count popularity over."""
    rerank_items: PositiveInt = 200
    """Best items by inner product that a model which scores pairs puts in a new order."""
    diversity: float = Field(0.0, ge=0, lt=1)
    """Weight of variety against score in a list (MMR); 0 is off."""
    diversity_by: Literal["vectors", "categories"] = "vectors"
    """What makes two items alike: the angle of their vectors, or the same category."""
    diversity_items: PositiveInt = 100
    """Best items that a varied list is chosen from."""
    reasons: Literal["none", "similar", "removal"] = "none"
    """because_item_id: the past item most alike, or the one without which the score falls most (slow)."""
    reason_items: PositiveInt = 10
    """Newest different items of the past among which the reason is sought."""
    carry_over: bool = False
    """Take over the last night's list of a user where the past, the model, the filters and the stock are the same."""
    keep_days: PositiveInt = 30
    """Nights (run dates) kept in `recommendations`."""
    max_ndcg_drop: float = Field(0.1, ge=0, le=1)
    """By what share of the champion's validation NDCG@10, on the same users, a candidate may be worse and be used."""
    min_popular_ratio: float = Field(0.5, ge=0)
    """Least ratio of a candidate's validation NDCG@10 to that of most-popular, on 100 users or more."""
    failed_candidate: Literal["refuse", "champion"] = "refuse"
    """What a candidate that fails leads to: no publication, or a night by the newest champion."""
    min_user_share: float = Field(0.5, ge=0)
    """Least number of users as a share of the last published night's."""
    max_fallback_share: float = Field(0.5, ge=0, le=1)
    """Largest share of rows that may come from fallbacks."""
    min_overlap: float = Field(0.0, ge=0, le=1)
    """Least share of a list that was in the user's last published list, on average; 0 is off."""
    min_coverage: float = Field(0.0, ge=0, le=1)
    """Least share of the items on offer that are in some list; 0 is off."""
    max_concentration: float = Field(0.9, ge=0, le=1)
    """Largest share of all rows that N items may hold, where 20 N items and 20 users or more could share them."""
    drift_nights: PositiveInt = 7
    """Published nights that the input is compared with."""
    max_drift: float = Field(0.25, ge=0)
    """Largest population stability index of the input against those nights."""
    max_new_users: float = Field(1.0, ge=0, le=1)
    """Largest share of the day's users who were never seen before; 1 is off."""
    max_new_items: float = Field(1.0, ge=0, le=1)
    """Largest share of the day's items that were never seen before; 1 is off."""


class EvaluateSettings(Section):
    top_k: list[PositiveInt] = Field([5, 10, 20], min_length=1)
    """Cut-offs of the metrics; 10 is always among them."""
    drawn_items: NonNegativeInt = 999
    """Random items to rank targets among, beside the ranking among all items; 0 leaves that out."""
    categories: NonNegativeInt = 10
    """Largest categories that have figures of their own."""
    tile_users: PositiveInt = 64
    """Users ranked together against the whole catalogue."""

    @field_validator("top_k", mode="after")
    @classmethod
    def ten_is_a_cut_off(cls, value: list[int]) -> list[int]:
        return sorted({GATE_K, *value})


class Settings(Section):
    """All settings, by stage."""

    lake: LakeSettings = LakeSettings()
    spark: SparkSettings = SparkSettings()
    run: RunSettings = RunSettings()
    prepare: PrepareSettings = PrepareSettings()
    window: WindowSettings = WindowSettings()
    train: TrainSettings = TrainSettings()
    recommend: RecommendSettings = RecommendSettings()
    evaluate: EvaluateSettings = EvaluateSettings()

    @model_validator(mode="after")
    def every_rank_gets_a_file(self) -> "Settings":
        if self.window.files < self.train.num_workers:
            raise ValueError(
                f"window.files={self.window.files} is less than train.num_workers={self.train.num_workers}; raise it"
            )
        return self

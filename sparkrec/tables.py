"""The tables of the lake: one object per table, its columns in order, what a row is. Queries rely on these names."""

from sparkrec.contract import Table, columns_of

PAD = 0
"""Item index and event code of an empty position."""
UNKNOWN = 1
"""Item index of a search, and of items too rare or too new for a model."""
FIRST_ITEM = 2
"""Lowest index of a real item."""

EVENT_CODES = {"view": 1, "cart": 2, "purchase": 3, "search": 4, "favourite": 5, "remove": 6}

EVENTS = Table(
    "events",
    "one thing a user did, clean",
    columns_of(
        ("user_id", "string", "who did it"),
        ("item_id", "string", "the item it was done to; null for a search only"),
        ("event_type", "string", "view, cart, purchase, search, favourite or remove"),
        ("event_ts", "timestamp", "when, an instant (shown in the session's zone)"),
        ("session_id", "string", "<user_id>@<first second of the session since 1970>"),
        ("price", "double", "price at that moment, in the source's currency"),
        ("category", "string", "category of the item as the event told it"),
        ("brand", "string", "brand of the item as the event told it"),
        ("query", "string", "words searched for"),
        ("run_date", "date", "date of the run that brought this event in"),
        ("user_bucket", "int", "group of users whose rows share files; hash of the user"),
        ("event_date", "date", "day of the event in the source's zone"),
    ),
    key=("user_id", "event_ts", "item_id", "event_type"),
    partition="event_date",
)

QUARANTINE = Table(
    "quarantine",
    "one raw row that was refused",
    columns_of(
        ("run_date", "date", "date of the run that refused it"),
        ("reason", "string", "why, the first reason that applies"),
        ("raw", "string", "the row: the line itself if it could not be parsed, else its columns as JSON"),
        ("source_file", "string", "file it came from; null for an event that an earlier run had taken in"),
        ("user_id", "string", "the user, where the row could be read that far"),
        ("event_date", "date", "day of the event in the source's zone, likewise"),
    ),
    partition="run_date",
)

ITEMS = Table(
    "items",
    "one item ever seen",
    columns_of(
        ("item_id", "string", "the source's id"),
        ("item_idx", "int", "position in the vocabulary, from 2, given once by (first run, id)"),
        ("first_seen", "date", "day of its first event"),
        ("last_seen", "date", "day of its newest event"),
        ("num_events", "bigint", "events of all kinds in the lake"),
        ("num_users", "bigint", "different users among them; beyond 512 an estimate (standard error 4.4 %)"),
        ("category", "string", "latest known category"),
        ("brand", "string", "latest known brand"),
        ("price", "double", "latest known price"),
        ("available", "boolean", "may be recommended"),
        ("category_us", "bigint", "when the category was told, in microseconds since 1970"),
        ("brand_us", "bigint", "when the brand was told"),
        ("price_us", "bigint", "when the price was told"),
        ("user_sample", "array<bigint>", "the 512 smallest hashes of its users: what num_users is told from"),
        ("attributes", "array<string>", "what the catalogue told last of it beside category, brand and price"),
    ),
    key=("item_id",),
)

ITEM_DAYS = Table(
    "item_days",
    "one item, one kind of event, one day",
    columns_of(
        ("item_id", "string", "the item"),
        ("event_type", "string", "the kind of event"),
        ("num_events", "bigint", "how often on that day"),
        ("event_date", "date", "the day, in the source's zone"),
    ),
    key=("event_date", "item_id", "event_type"),
    partition="event_date",
)

HISTORIES = Table(
    "histories",
    "one user's recent past, oldest first; the arrays run in parallel",
    columns_of(
        ("user_id", "string", "the user"),
        ("as_of", "date", "up to which run date the history reaches"),
        ("item_idxs", "array<int>", "items (items.item_idx); 1 for a search"),
        ("event_types", "array<tinyint>", "1 view, 2 cart, 3 purchase, 4 search, 5 favourite, 6 remove"),
        ("event_tss", "array<bigint>", "times in microseconds since 1970"),
        ("session_nos", "array<int>", "sessions of this history, counted from 1"),
        ("prices", "array<float>", "prices; null where unknown"),
        ("purchased", "array<int>", "items bought (items.item_idx), newest first, bounded"),
        ("first_event_ts", "timestamp", "first event in the lake"),
        ("last_event_ts", "timestamp", "newest event"),
        ("num_events", "bigint", "events in the lake, also those that the arrays no longer hold"),
        ("session_id", "string", "session of the newest event"),
        ("user_bucket", "int", "hash bucket of the user"),
    ),
    key=("user_id",),
    partition="user_bucket",
)

WINDOWS = Table(
    "windows",
    "one fixed-length window of a user's past: input positions, padded on the left, and what came next",
    columns_of(
        ("run_date", "date", "date of the training set"),
        ("user_id", "string", "the user"),
        ("window_no", "int", "0 test, 1 validation, from 2 on training windows, newest first"),
        ("window_id", "bigint", "62-bit hash of user and window_no"),
        ("user_idx", "int", "hash bucket of the user, from 1, for user embeddings"),
        ("item_idxs", "array<int>", "L items; 0 padding, 1 unknown or search"),
        ("event_types", "array<int>", "L event codes; 0 padding"),
        (
            "gap_buckets",
            "array<int>",
            "L times since the event before, 1 + log2(seconds + 1), at most 24; 0 padding",
        ),
        ("session_starts", "array<int>", "L flags, 1 where a session begins"),
        ("price_buckets", "array<int>", "L prices, 2 + floor(4 log2(price + 1)), at most 127; 1 unknown, 0 padding"),
        ("category_idxs", "array<int>", "L categories, 2 + hash of the name below 65,534; 1 unknown, 0 padding"),
        ("target_idxs", "array<int>", "L next items; 0 where nothing is to be learnt or found"),
        ("target_types", "array<int>", "L kinds of next events, with or without an item; 0 likewise"),
        (
            "negative_idxs",
            "array<int>",
            "L x K items, K per target; none of them the user's own, but those of `viewed` were viewed and not bought",
        ),
        ("seen_idxs", "array<int>", "validation and test: the items the user touched until the input ends"),
        ("relevant_idxs", "array<int>", "validation and test: the items to be found, in order of time"),
        ("relevant_types", "array<int>", "and the kinds of those events"),
        ("relevant_repeats", "array<int>", "and 1 where the user had touched the item before"),
        ("user_num_events", "int", "events of the user when the input ends, as kept in histories"),
        ("user_num_purchases", "int", "purchases among them"),
        ("user_mean_price", "float", "mean known price among them, 0 if none is known"),
        ("split", "string", "train, validation or test"),
    ),
    key=("run_date", "user_id", "window_no"),
    partition="run_date",
)

MODELS = Table(
    "models",
    "one trained model",
    columns_of(
        ("model_version", "string", "<run date>-<model>-<hash of settings, code, windows and seed>"),
        ("run_date", "date", "date of its training set"),
        ("model", "string", "architecture, a file in sparkrec/models"),
        ("path", "string", "folder with its weights"),
        ("vocabulary_lineage", "string", "id of the items table it was trained on"),
        ("vocabulary_size", "int", "indices it knows, padding and unknown included"),
        ("settings_hash", "string", "hash of the settings of run, prepare, window and train"),
        ("tables_read", "map<string,bigint>", "table versions it was trained from"),
        ("metrics", "map<string,double>", "held-out figures, <split>_[popular_]<metric>, full ranking"),
        ("status", "string", "candidate, champion (its recommendations are published) or retired"),
        ("trained_at", "timestamp", "when training ended"),
    ),
    key=("model_version",),
)

AUDIENCE = Table(
    "audience",
    "one user who must get a list",
    columns_of(
        ("user_id", "string", "who, also where no event of theirs is known"),
        ("segment", "string", "a name that rules may speak of; null for none"),
    ),
    key=("user_id",),
)

RULES = Table(
    "rules",
    "one rule on what may be offered",
    columns_of(
        ("rule", "string", "deny, allow, unavailable or cap"),
        ("item_id", "string", "the item it speaks of"),
        ("category", "string", "or the category"),
        ("segment", "string", "the users it holds for; null for everybody"),
        ("max_per_list", "int", "cap: most items of the category (of each, if none is named) in one list"),
        ("valid_from", "date", "first night; null for always"),
        ("valid_to", "date", "last night; null for ever"),
    ),
)

RECOMMENDATIONS = Table(
    "recommendations",
    "one suggestion",
    columns_of(
        ("run_date", "date", "the night it was made"),
        ("user_id", "string", "for whom"),
        ("rank", "int", "1 is best; 1..N without gaps"),
        ("item_id", "string", "the suggested item"),
        ("score", "double", "the model's, the higher the better, or events counted by a fallback"),
        ("source", "string", "model, or which fallback and why"),
        ("because_item_id", "string", "the past item that contributed most, where reasons are on"),
        (
            "purchase_probability",
            "double",
            "chance that the next event, if it is on the item, is a purchase; where learnt (train.heads)",
        ),
        ("model_version", "string", "the model of that night"),
        ("made_from", "bigint", "hash of all that the list follows from; null if a fallback is in it"),
    ),
    key=("run_date", "user_id", "rank"),
    partition="run_date",
)

METRICS = Table(
    "metrics",
    "one figure",
    columns_of(
        ("run_date", "date", "the night"),
        ("model_version", "string", "what was measured: a model, or what it is compared with: 'popular', 'majority' …"),
        (
            "protocol",
            "string",
            "how targets were held out and ranked; published and realised: lists as they were; purchase …: heads",
        ),
        ("slice", "string", "of whom or what: all, repeat, novel, users new, items tail, event view, category …"),
        (
            "metric",
            "string",
            "hr, recall, precision, ndcg, mrr, map; of lists novelty, diversity …; of heads accuracy, f1, brier …",
        ),
        ("k", "int", "cut-off"),
        ("against", "string", "the other model of a paired difference, else ''"),
        ("value", "double", "mean over cases: moments at which a list would have been shown"),
        ("low", "double", "lower end of the 95 % interval over users; null where there is none"),
        ("high", "double", "upper end"),
        ("num_users", "bigint", "users measured"),
    ),
    key=("run_date", "model_version", "protocol", "slice", "metric", "k", "against"),
    partition="run_date",
)

RUNS = Table(
    "runs",
    "one execution of one job",
    columns_of(
        ("run_id", "string", "<job>@<run date>@<start in microseconds>"),
        ("job", "string", "prepare, window, train, recommend or evaluate"),
        ("run_date", "date", "the date it ran for"),
        ("started_at", "timestamp", "start"),
        ("ended_at", "timestamp", "end"),
        ("status", "string", "complete or failed"),
        ("rows_in", "bigint", "rows read from the job's main input"),
        ("rows_out", "map<string,bigint>", "rows written, by table"),
        ("versions_read", "map<string,bigint>", "table versions read"),
        ("versions_written", "map<string,bigint>", "table versions written"),
        ("settings_hash", "string", "hash of all settings"),
        ("code_version", "string", "hash of the package's source"),
        ("message", "string", "what the job said of itself, or why it failed"),
        ("figures", "map<string,double>", "what it measured: recommend's checks, also of a night that was refused"),
    ),
    key=("run_id",),
)

INPUTS = (AUDIENCE, RULES)
"""Tables that users write, if they like; jobs only read them."""

ALL = (EVENTS, QUARANTINE, ITEMS, ITEM_DAYS, HISTORIES, WINDOWS, MODELS, RECOMMENDATIONS, METRICS, RUNS)

"""Look at a staged night before anybody else can, and say whether it may be published."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from sparkrec.config.settings import RecommendSettings
from sparkrec.errors import SparkrecError
from sparkrec.evaluate.drift import drift, shares
from sparkrec.evaluate.limits import limits_in_force, limits_of
from sparkrec.recommend.last_night import LastNight
from sparkrec.recommend.look import FAULTS
from sparkrec.recommend.offer import Offer
from sparkrec.recommend.score import MODEL

Figures = dict[str, float]
OVERLAP_USERS = 100_000
"""Lists of about so many users are compared with those of the last night."""
PARTS = ("read", "encode", "score", "reasons", "fill up", "rows", "write", "look")
"""What workers' CPU seconds are counted by."""
RULES_TOLD = 100
"""So many rules have a figure of their own, those of most items first."""
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Of the model's scores, which are told as score_p5, …"""


def figures_of_groups(
    told: Sequence[Mapping[str, Any]], refusals: Mapping[tuple[str, str], int], offer: Offer
) -> Figures:
    """Return what the groups' reports say together, see `look_at_group`; rows by source as 'source …'.

    `removed …` are pairs of a user and an item: of every rule the items it refuses times the users it holds for.
    """
    names = ("users", "rows", "carried", "reused", "one_by_one", *FAULTS)
    found = {name: float(sum(report[name] for report in told)) for name in names}
    found["scored"] = found["users"] - found["carried"] - found["reused"]
    sources: Counter[str] = Counter()
    for report in told:
        sources.update(report["by_source"])
    found |= {f"source {source}": float(num) for source, num in sources.items()}
    found["fallback_share"] = 1 - sources[MODEL] / max(1.0, found["rows"])
    by_segment = np.sum([report["users_by_segment"] for report in told], axis=0) if told else np.zeros(1)
    found |= {f"users {name}": float(num) for name, num in zip(offer.segments[1:], by_segment[1:], strict=True)}
    found["removed left out"] = float(sum(report["left_out_pairs"] for report in told))
    found["removed rule cap"] = float(sum(report["passed_over"] for report in told))
    for (reason, segment), num_items in refusals.items():
        users = by_segment[offer.segments.index(segment)]
        found[f"removed {reason}"] = found.get(f"removed {reason}", 0.0) + float(num_items * users)
    for part in PARTS:
        found[f"cpu_s {part}"] = sum(report["cpu"].get(part, 0.0) for report in told)
    return found | shares(report["input"] for report in told)


def figures_of_night(
    staged: DataFrame, last: LastNight | None, found: Figures, offer: Offer, settings: RecommendSettings
) -> Figures:
    """Return coverage of the items on offer, concentration on N of them, what has changed since the last night, and the
    limits that all this is held against.

    In   staged: user_id, item_id. A row is one suggestion. found: figures of the groups.
    """
    counts = staged.groupBy("item_id").count().toArrow().column("count").to_numpy()
    by_model = staged.where(F.col("source") == MODEL)
    scores = by_model.agg(F.percentile_approx("score", list(QUANTILES), 1000).alias("scores")).first()
    rows = max(1, int(counts.sum()))
    figures = {
        "offered": float(len(offer.item_idxs_I)),
        "coverage": len(counts) / max(1, len(offer.item_idxs_I)),
        "concentration": float(np.sort(counts)[-settings.top_n :].sum() / rows) if len(counts) else 0.0,
        **limits_in_force(settings),
    }
    if scores and scores["scores"]:
        told = zip(QUANTILES, scores["scores"], strict=True)
        figures |= {f"score_p{100 * share:.0f}": float(score) for share, score in told}
    if last:
        figures["user_share"] = found["users"] / max(1, last.users)
        figures |= drift(found, last.figures)
        figures |= _overlap(staged, last, int(found["users"]), settings.top_n)
    return figures


def _overlap(staged: DataFrame, last: LastNight, num_users: int, top_n: int) -> Figures:
    """Return which share of a list was in the user's last one, on average over users that had one."""
    one_in = -(-num_users // OVERLAP_USERS) or 1

    def lists(rows: DataFrame, name: str) -> DataFrame:
        chosen = rows.where(F.pmod(F.xxhash64("user_id"), F.lit(one_in)) == 0)
        return chosen.groupBy("user_id").agg(F.collect_set("item_id").alias(name))

    both = lists(staged, "now").join(lists(last.lists, "before"), "user_id", how="inner")  # one row per user_id
    seen = both.agg(
        F.avg(F.size(F.array_intersect("now", "before")) / F.least(F.size("before"), F.lit(top_n))).alias("overlap"),
        F.count("*").alias("users"),
    ).first()
    return {"overlap": float(seen["overlap"]), "overlap_users": float(seen["users"])} if seen and seen["users"] else {}


def faults_of_offer(offer: Offer, refusals: Mapping[tuple[str, str], int], top_n: int) -> list[str]:
    """Return what makes a night impossible before it is scored: there is too little to offer."""
    told = []
    for segment, refusal_I in zip(offer.segments, offer.refusal_SI, strict=True):
        num = int((refusal_I == 0).sum())
        if num < top_n:
            whom = f" for {segment}" if segment else ""
            why = ", ".join(f"{reason} {count:,}" for (reason, of), count in refusals.items() if of == segment)
            told.append(f"{num:,} items are on offer{whom} ({why or 'no item is known'}), recommend.top_n is {top_n}")
    return told


def faults_of(found: Figures, users_wanted: int, top_n: int) -> list[str]:
    """Return what nobody may publish: somebody lacks a proper list."""
    told = []
    if found["users"] != users_wanted or not users_wanted:
        told.append(f"{found['users']:,.0f} of {users_wanted:,} users have a list")
    if found["incomplete"]:
        told.append(
            f"{found['incomplete']:,.0f} lists are not {top_n} different items, ranks 1 to {top_n}"
            " (do caps, segments and what is left out leave that many?)"
        )
    for name, words in (
        ("odd_scores", "a score that is no number"),
        ("not_on_offer", "an item that is not on offer"),
        ("left_out", "an item that the user is not to be offered again"),
        ("over_cap", "more of a category than a cap allows"),
        ("out_of_order", "a better score than the rank before"),
    ):
        if found[name]:
            told.append(f"{found[name]:,.0f} rows have {words}")
    return told


def doubts_of(found: Figures, settings: RecommendSettings) -> list[str]:
    """Return what should not be published unless somebody says so."""
    return [limit.in_words() for limit in limits_of(found, settings) if not limit.is_kept]


def figures_of_rules(items_by_rule: Mapping[str, int]) -> Figures:
    """Return how many items every rule speaks of, as 'rule …', and how many rules speak of none."""
    most = sorted(items_by_rule.items(), key=lambda rule: (-rule[1], rule[0]))[:RULES_TOLD]
    idle = sum(not num for num in items_by_rule.values())
    return {**{f"rule {words}": float(num) for words, num in most}, "idle_rules": float(idle)}


def sentence_of(found: Figures, model_version: str, top_n: int) -> str:
    """Return what a published night is like, for people."""
    sources = ", ".join(
        f"{found[name]:,.0f} {name.removeprefix('source ')}" for name in sorted(found) if name.startswith("source ")
    )
    told = [f"{found['users']:,.0f} users x {top_n} items by {model_version} ({sources})"]
    told += [f"{found[name]:,.0f} users {words}" for name, words in _WORK if found[name]]
    removed = [
        f"{name.removeprefix('removed ')} {found[name]:,.0f}"
        for name in sorted(found)
        if name.startswith("removed ") and found[name]
    ]
    told += [f"not offered, pairs of user and item: {', '.join(removed)}"] if removed else []
    told += [f"{found['idle_rules']:,.0f} rules speak of no item there is"] if found.get("idle_rules") else []
    nobody = [name.removeprefix("users ") for name in sorted(found) if name.startswith("users ") and not found[name]]
    told += [f"no user is of {', '.join(nobody)}, of which rules speak"] if nobody else []
    told.append(f"{100 * found['coverage']:.1f} % of the items on offer are in a list")
    told += [f"{100 * found['overlap']:.0f} % of a list was in the last one"] if "overlap" in found else []
    if "ndcg_varied" in found:
        told.append(
            f"variety: NDCG@{top_n} {found['ndcg_plain']:.4f} -> {found['ndcg_varied']:.4f} on"
            f" {found['variety_users']:,.0f} held-out targets"
        )
    return "; ".join(told)


_WORK = (("carried", "carried over"), ("reused", "scored by an earlier run that did not publish"))


def judge(faults: Iterable[str], doubts: Iterable[str], where: str, force: bool) -> str:
    """Return a remark on doubts that were overruled, '' for none; raise where the night is not to be published."""
    faults, doubts = list(faults), list(doubts)
    if faults or (doubts and not force):
        hint = "" if faults else "; if that is as it should be, change the setting or publish with --force"
        raise SparkrecError(f"{where}: not published, earlier nights stand: {'; '.join([*faults, *doubts])}{hint}")
    return f"published by --force although {'; '.join(doubts)}; " if doubts else ""

"""From what the lake tells of a night to one page that needs nothing else, and to JSON."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

from jinja2 import Environment

from sparkrec.config.settings import GATE_K
from sparkrec.evaluate.contest import POPULAR
from sparkrec.evaluate.gains import METRICS
from sparkrec.evaluate.limits import Limit
from sparkrec.evaluate.night import PUBLISHED, REALISED
from sparkrec.evaluate.properties import PROPERTIES
from sparkrec.evaluate.protocols import protocol_of, statement_of
from sparkrec.evaluate.report import plots
from sparkrec.evaluate.report.gather import Night
from sparkrec.evaluate.report.heads import tables_of_heads
from sparkrec.evaluate.report.verdict import headline_of, is_well, verdict_of
from sparkrec.evaluate.slices import RULES

WORDS = {
    "hr": "HR", "recall": "recall", "precision": "precision", "ndcg": "NDCG", "mrr": "MRR", "map": "MAP",
    "novelty": "novelty", "popularity_share": "popular items", "diversity": "diversity",
    "coverage": "coverage", "gini": "Gini", "serendipity": "serendipity",
}  # fmt: skip
SHARES = ("popularity_share", "diversity", "coverage", "serendipity")
"""Figures shown in percent."""
SLICES_SHOWN = 50
MIB = 1 << 20
ENOUGH_USERS = 30
"""With fewer the interval's approximation is poor, and no difference is called clear."""


def as_page(night: Night) -> str:
    """Return HTML that needs no network."""
    environment = Environment(autoescape=True, trim_blocks=True)
    environment.filters |= {"moment": _moment, "price": _price, "share": _share}
    template = environment.from_string(files(__package__).joinpath("page.html.j2").read_text(encoding="utf-8"))
    return template.render(
        night=night,
        is_well=is_well(night),
        verdict=verdict_of(night),
        tiles=[(name, f"{num:,}") for name, num in _tiles(night).items()],
        statement=statement_of(night.settings.window).capitalize(),
        others=_others(night),
        headline=_headline(night),
        realised=_of_protocol(night, REALISED, ("hr", "ndcg", "precision", "recall", "serendipity")),
        properties=_of_protocol(night, PUBLISHED, (*PROPERTIES, "coverage", "gini")),
        heads=tables_of_heads(night),
        rules={name: words for name, words in RULES.items() if any(row["slice"] == name for row in night.metrics)},
        scores=_scores(night),
        sources=_sources(night),
        has_reasons=any(row["because_item_id"] for user in night.people for row in user["list"]),
        cost=_cost(night),
        sizes=[(name, f"{size / MIB:,.1f}") for name, size in night.sizes.items() if size],
        code=next((run["code_version"] for run in night.stages.values()), "unknown"),
        plots=_plots(night),
    )


def as_json(night: Night) -> str:
    """Return the same as JSON, numbers as they are."""
    told = asdict(night)
    del told["settings"]
    limits = [{**asdict(limit), "is_kept": limit.is_kept} for limit in night.limits]
    return json.dumps(told | {"limits": limits, "verdict": verdict_of(night)}, default=str, indent=1)


def _tiles(night: Night) -> dict[str, int]:
    prepare = night.stages.get("prepare", {})
    told = {"rows read": prepare.get("rows_in", 0), "rows refused": sum(night.refused_rows.values())}
    return {**told, **night.counts}


def _others(night: Night) -> list[str]:
    """Return who was compared with, most-popular first."""
    found = {version for _, _, version, _ in headline_of(night)} - {night.version}
    return sorted(found, key=lambda name: (name != POPULAR, name))


def _headline(night: Night) -> list[dict[str, Any]]:
    rows = headline_of(night)
    others = _others(night)
    told = []
    for metric in METRICS:
        for k in sorted({key[1] for key in rows}):
            ours = rows.get((metric, k, str(night.version), ""))
            if ours is None:
                continue
            columns = []
            for name in others:
                paired = rows.get((metric, k, str(night.version), name))
                difference = f"{paired['value']:+.4f} ({_ends(paired, '+.4f')})" if paired else "–"
                theirs = rows.get((metric, k, name, ""))
                value = f"{theirs['value']:.4f}" if theirs else "–"
                columns.append({"value": value, "difference": difference, "tone": _tone(paired)})
            told.append(
                {
                    "name": f"{WORDS[metric]}@{k}",
                    "is_first": k == GATE_K,
                    "ours": f"{ours['value']:.4f} ({_ends(ours, '.4f')})",
                    "others": columns,
                    "users": f"{ours['num_users']:,}",
                }
            )
    return told


def _of_protocol(night: Night, protocol: str, metrics: tuple[str, ...]) -> list[dict[str, str]]:
    cutoffs = sorted({row["k"] for row in night.metrics if row["protocol"] == protocol})
    k = GATE_K if GATE_K in cutoffs else cutoffs[-1] if cutoffs else 0
    rows = {
        row["metric"]: row
        for row in night.metrics
        if (row["protocol"], row["slice"], row["k"], row["against"]) == (protocol, "all", k, "")
    }
    return [
        {
            "name": f"{WORDS[metric]}@{k}",
            "value": _with_unit(metric, rows[metric]["value"]),
            "interval": ""
            if rows[metric]["low"] is None
            else " to ".join(_with_unit(metric, rows[metric][end]) for end in ("low", "high")),
            "model": rows[metric]["model_version"],
            "users": f"{rows[metric]['num_users']:,}",
        }
        for metric in metrics
        if metric in rows
    ]


def _tone(paired: Mapping[str, Any] | None) -> str:
    """Return whether a difference is clearly one, for better or for worse."""
    if paired is None or paired["low"] is None or paired["num_users"] < ENOUGH_USERS:
        return ""
    return "good" if paired["low"] > 0 else "bad" if paired["high"] < 0 else ""


def _ends(row: Mapping[str, Any], form: str) -> str:
    return "no interval" if row["low"] is None else f"{row['low']:{form}} to {row['high']:{form}}"


def _with_unit(metric: str, value: float) -> str:
    if metric == "novelty":
        return f"{value:.2f} bits"
    return f"{100 * value:.1f} %" if metric in SHARES else f"{value:.4f}"


def _scores(night: Night) -> str:
    figures = night.stages.get("recommend", {}).get("figures", {})
    shares = sorted((int(name.removeprefix("score_p")), name) for name in figures if name.startswith("score_p"))
    told = [f"{share} % score below {figures[name]:,.3f}" for share, name in shares]
    return f"Of the rows that the model scored {', '.join(told)}." if told else ""


def _sources(night: Night) -> list[tuple[str, str]]:
    figures = night.stages.get("recommend", {}).get("figures", {})
    told = [(name.removeprefix("source "), num) for name, num in figures.items() if name.startswith("source ")]
    return [(name, f"{num:,.0f}") for name, num in sorted(told, key=lambda pair: -pair[1])]


def _cost(night: Night) -> list[dict[str, str]]:
    return [
        {
            "stage": stage, "seconds": f"{run['seconds']:,.1f}", "rows_in": f"{run['rows_in']:,}",
            "rate": f"{run['rows_in'] / max(run['seconds'], 0.1):,.0f}",
            "rows_out": ", ".join(f"{name} {num:,}" for name, num in run["rows_out"].items()),
        }
        for stage, run in night.stages.items()
    ]  # fmt: skip


def _plots(night: Night) -> dict[str, str]:
    full = protocol_of(night.settings.window)
    ndcg = [
        row
        for row in night.metrics
        if (row["protocol"], row["metric"], row["k"], row["against"]) == (full, "ndcg", GATE_K, "")
    ]
    order = {name: place for place, name in enumerate(RULES)}
    ours = sorted(
        (row for row in ndcg if row["model_version"] == night.version),
        key=lambda row: (order.get(row["slice"], len(order)), row["slice"]),
    )
    popular = {row["slice"]: row["value"] for row in ndcg if row["model_version"] == POPULAR}
    seconds = {stage: run["seconds"] for stage, run in night.stages.items()}
    limit = next((limit.limit for limit in night.limits if limit.setting == "max_drift"), None)
    return {
        "refused": plots.bars(dict(night.refused_rows), "rows refused") if night.refused_rows else "",
        "nights": plots.nights(night.history) if night.history else "",
        "slices": plots.slices(ours[:SLICES_SHOWN], popular) if ours else "",
        "drift": plots.lines(night.drift, limit) if night.drift else "",
        "seconds": plots.bars(seconds, "seconds") if seconds else "",
    }


def _price(price: float | None) -> str:
    return "–" if price is None else f"{price:,.2f}"


def _share(value: float, limit: Limit, digits: int) -> str:
    """Return a figure or its limit in percent with so many digits at least; a stability index has no unit."""
    if limit.setting == "max_drift":
        return f"{value:.3f}"
    return f"{100 * value:.{digits}f} %" if digits else f"{100 * value:g} %"


def _moment(microseconds: int) -> str:
    return f"{datetime.fromtimestamp(microseconds / 1e6, UTC):%Y-%m-%d %H:%M}"

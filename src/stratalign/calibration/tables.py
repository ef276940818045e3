"""What the records of many worlds say of each instrument: hits against chance, and names where nothing is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scipy.stats import beta as beta_distribution
from scipy.stats import binom

from stratalign.diagnostics.naming import LEVEL as SIGNAL_LEVEL

LEVEL = 0.95


def share(count: int, total: int) -> dict[str, Any]:
    """`count` of `total` with the interval of Clopper and Pearson (1934), Biometrika 26(4), 404-413.

    It covers the truth in at least 95 %, whatever it is; [0, 1] of none."""
    outside = (1 - LEVEL) / 2
    low = 0.0 if count == 0 else float(beta_distribution.ppf(outside, count, total - count + 1))
    high = 1.0 if count == total else float(beta_distribution.ppf(1 - outside, count + 1, total - count))
    return {"count": count, "total": total, "low": low, "high": high}


def summarise(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """For each instrument: hits, near ones, wrong names and "cannot tell" of planted worlds; names in null worlds.

    There are two readings. A layer is named where it is surely the largest. An instrument points at a layer where there
    is any signal at all, sure of the largest or not: `pointed` counts where that was the planted one, `pointed_p` is
    the probability of so many among blind choices, `null_pointed` how often it points where nothing is. `chance` is
    that of a layer drawn blindly, and `near_chance` that of one within a layer of the planted ones.
    """
    planted = [record for record in records if record["planted"] is not None]
    nulls = [record for record in records if record["planted"] is None]
    names = list(dict.fromkeys(name for record in records for name in record["instruments"]))
    return {
        "planted": len(planted),
        "nulls": len(nulls),
        "damaged_nulls": sum(record["damaged"] is not None for record in nulls),
        "layers": [record["planted"] for record in planted],
        "chance": _mean([1 / len(record["layers"]) for record in planted]),
        "near_chance": _mean(
            [
                sum(abs(layer - record["planted"]) <= 1 for layer in record["layers"]) / len(record["layers"])
                for record in planted
            ]
        ),
        "instruments": {name: _row(name, planted, nulls) for name in names},
    }


def points_at(said: Mapping[str, Any]) -> Any:
    """The layer of the largest signal where there is a signal; else None."""
    return said["largest"] if said["signal_p"] <= SIGNAL_LEVEL else None


def as_markdown(summary: Mapping[str, Any]) -> str:
    """The summary as a table, with what it is of above it."""
    sound = summary["nulls"] - summary["damaged_nulls"]
    lines = [
        f"{summary['planted']} planted worlds (layers {', '.join(map(str, summary['layers']))}); {summary['nulls']} "
        f"null worlds, {sound} of the sound model and {summary['damaged_nulls']} of damaged ones. A name drawn blindly "
        f"hits in {_percent(summary['chance'])}, and within one layer in {_percent(summary['near_chance'])}.",
        "",
        "| instrument | points at it (95 %), p | within one layer | in null worlds | names it | another | "
        "cannot tell | names one in null worlds: sound | damaged |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in summary["instruments"].items():
        cells = [
            name,
            f"{_counted(row['pointed'])}, {_p(row['pointed_p'])}",
            str(row["pointed_near"]["count"]),
            "{count} of {total}".format(**row["null_pointed"]),
            str(row["exact"]["count"]),
            str(row["wrong"]),
            str(row["cannot_tell"]),
            *("{count} of {total}".format(**row[key]) for key in ("null_sound", "null_damaged")),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _row(
    instrument: str, planted: Sequence[Mapping[str, Any]], nulls: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    said = [(record["instruments"][instrument], record["planted"]) for record in planted]
    named = [(one["named"], truth) for one, truth in said if one["named"] is not None]
    silent = [
        (record["damaged"] is not None, record["instruments"][instrument]["named"] is not None)
        for record in nulls
    ]
    total = len(planted)
    pointed = [(points_at(one), truth) for one, truth in said]
    pointed = [(layer, truth) for layer, truth in pointed if layer is not None]
    hits = sum(layer == truth for layer, truth in pointed)
    chance = _mean([1 / len(record["layers"]) for record in planted])
    return {
        "pointed": share(hits, total),
        "pointed_near": share(sum(abs(layer - truth) <= 1 for layer, truth in pointed), total),
        "pointed_p": None if chance is None else float(binom.sf(hits - 1, total, chance)),
        "null_pointed": share(
            sum(points_at(record["instruments"][instrument]) is not None for record in nulls), len(nulls)
        ),
        "exact": share(sum(name == truth for name, truth in named), total),
        "near": share(sum(abs(name - truth) <= 1 for name, truth in named), total),
        "wrong": sum(name != truth for name, truth in named),
        "cannot_tell": total - len(named),
        "null": share(sum(spoke for _, spoke in silent), len(nulls)),
        "null_sound": share(*_of(silent, False)),
        "null_damaged": share(*_of(silent, True)),
    }


def _of(silent: Sequence[tuple[bool, bool]], damaged: bool) -> tuple[int, int]:
    spoke = [named for hurt, named in silent if hurt == damaged]
    return sum(spoke), len(spoke)


def _counted(one: Mapping[str, Any]) -> str:
    return "{count} of {total} [{low:.2f}, {high:.2f}]".format(**one)


def _p(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}" if value >= 0.01 else f"{value:.1g}"


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"

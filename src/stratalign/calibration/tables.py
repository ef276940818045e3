"""What the records of many worlds say of each instrument: hits against chance, and names where nothing is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scipy.stats import beta as beta_distribution

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

    `largest` counts where the largest signal lay in the planted layer, named or not. `chance` is that of a name drawn
    blindly among the layers, and `near_chance` that of one within a layer of the planted ones.
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


def as_markdown(summary: Mapping[str, Any]) -> str:
    """The summary as a table, with what it is of above it."""
    sound = summary["nulls"] - summary["damaged_nulls"]
    lines = [
        f"{summary['planted']} planted worlds (layers {', '.join(map(str, summary['layers']))}); {summary['nulls']} "
        f"null worlds, {sound} of the sound model and {summary['damaged_nulls']} of damaged ones. A name drawn blindly "
        f"hits in {_percent(summary['chance'])}, and within one layer in {_percent(summary['near_chance'])}.",
        "",
        "| instrument | planted layer named (95 %) | within one layer | another named | cannot tell | largest there | "
        "named in null worlds: sound | damaged |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, row in summary["instruments"].items():
        cells = [
            name,
            _counted(row["exact"]),
            _counted(row["near"]),
            str(row["wrong"]),
            str(row["cannot_tell"]),
            str(row["largest"]),
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
    return {
        "exact": share(sum(name == truth for name, truth in named), total),
        "near": share(sum(abs(name - truth) <= 1 for name, truth in named), total),
        "wrong": sum(name != truth for name, truth in named),
        "cannot_tell": total - len(named),
        "largest": sum(one["largest"] == truth for one, truth in said),
        "null": share(sum(spoke for _, spoke in silent), len(nulls)),
        "null_sound": share(*_of(silent, False)),
        "null_damaged": share(*_of(silent, True)),
    }


def _of(silent: Sequence[tuple[bool, bool]], damaged: bool) -> tuple[int, int]:
    spoke = [named for hurt, named in silent if hurt == damaged]
    return sum(spoke), len(spoke)


def _counted(one: Mapping[str, Any]) -> str:
    return "{count} of {total} [{low:.2f}, {high:.2f}]".format(**one)


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"

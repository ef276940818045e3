"""What the page shows of conditions tuned on validation: every candidate, the choice, what tuning does to the order.

Reads tuning.json as it is on disk; held-out numbers come from the results and choose nothing. Knows nothing of models
or pages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

from stratalign.reporting.comparisons.contrasts import BASE, Contrast
from stratalign.reporting.figures.rate_curves import RateCurve, RatePoint, rate_curves
from stratalign.reporting.figures.svg import Drawing
from stratalign.reporting.numbers import interval, listed, plain, signed
from stratalign.reporting.results import Results
from stratalign.reporting.tables.ranking import primary

Record = Mapping[str, Any]
DIGITS = 4
KEYS = ("learning_rate", "rank")


class CandidateRow(NamedTuple):
    """One candidate, in the words of the table; `behind` is its paired difference from the best."""

    condition: str
    learning_rate: str
    rank: str
    mean: str
    interval: str
    behind: str
    mark: str


class OrderRow(NamedTuple):
    """The order of conditions at one setting, and whom tuning turns round there."""

    setting: str
    order: str
    turned: str


@dataclass(frozen=True)
class TunedView:
    """`figures` by file name. `orders` are by validation; `held_out` says the same of the verdict's numbers."""

    rows: int
    clusters: int
    rule: str
    figures: Mapping[str, Drawing]
    choices: tuple[str, ...]
    warnings: tuple[str, ...]
    candidates: tuple[CandidateRow, ...]
    orders: tuple[OrderRow, ...]
    held_out: tuple[str, ...]


def tuned_view(results: Results) -> TunedView | None:
    """What tuning.json says, in the order of its conditions; None where nothing is tuned."""
    record = results.tuning
    conditions: Mapping[str, Record] = record.get("conditions") or {}
    if not conditions:
        return None
    return TunedView(
        rows=record["rows"],
        clusters=record["clusters"],
        rule=record["rule"],
        figures=_figures(conditions),
        choices=tuple(_choice(name, one) for name, one in conditions.items()),
        warnings=tuple(_edge(name, edge) for name, one in conditions.items() for edge in one["edges"]),
        candidates=tuple(
            _row(name, one, each) for name, one in conditions.items() for each in one["candidates"]
        ),
        orders=tuple(row for one in record["orders"] for row in _orders(one)),
        held_out=_held_out(results, list(conditions)),
    )


def _row(name: str, one: Record, each: Record) -> CandidateRow:
    marks = [mark for mark in ("best", "chosen") if one[mark] == each["candidate"]]
    behind = each["behind_best"]
    return CandidateRow(
        name,
        _value(each["learning_rate"]) if "learning_rate" in each else "",
        str(each["rank"]),
        plain(each["mean"], DIGITS),
        _within(each["low"], each["high"]),
        "" if behind is None else _difference(behind),
        ", ".join([*marks, *(["cannot be told from the best"] if each["candidate"] in one["tied"] else [])]),
    )


def _choice(name: str, one: Record) -> str:
    own = {each["candidate"]: each for each in one["candidates"]}
    chosen, best, second = own[one["chosen"]], own[one["best"]], one["second"]
    said = f"{name}: {_setting(chosen)}, {one['by']} {plain(chosen['mean'], DIGITS)}."
    if second is None:
        return f"{said} There was nothing else to choose from."
    gap = f"the second, {_setting(own[second['candidate']])}, differs by {_difference(second)}"
    if not one["tied"]:
        return f"{said} It is the best of {len(own)}; {gap}."
    count = len(one["tied"])
    others = "one other candidate" if count == 1 else f"{count} others"
    sure = "cannot tell" if second["verdict"] == "cannot tell" else "sure"
    return (
        f"{said} Of {len(own)}, {_setting(best)} has the best mean, but {others} cannot be told from it, and the "
        f"smallest of these is taken; {gap}: {sure}."
    )


def tuned_in_words(name: str, one: Record) -> str:
    """What was chosen for a condition, and whether it lies at an end of what was tried."""
    said = _choice(name, one)
    ends = ", ".join(f"{edge['key'].replace('_', ' ')} {_value(edge['value'])}" for edge in one["edges"])
    return f"{said} At the end of its grid: {ends}." if ends else said


def _edge(name: str, edge: Record) -> str:
    where = f" of {edge['block']}" if edge["block"] else ""
    word, more = ("highest", "higher") if edge["end"] == "highest" else ("lowest", "lower")
    key = edge["key"].replace("_", " ")
    return (
        f"{name}: the best {key}{where}, {_value(edge['value'])}, is the {word} tried. A better one may lie beyond: "
        f"add {more} values to the grid; what is trained already stays. But a lower validation loss is not a better "
        "model: keep the untuned condition beside it, and see which of the two answers better below."
    )


def _orders(found: Record) -> list[OrderRow]:
    """One line for each setting that all have tried, and one for the conditions as they were tuned."""
    after = found["tuned"]
    rows = [
        OrderRow(_setting(one["values"]), _order(one), _turned(one, after) or "none")
        for one in found["at_one"]
    ]
    return [*rows, OrderRow("each tuned", _order(after), "")] if rows else []


def _order(one: Record) -> str:
    """'full > local ~ mid': > where the next is surely behind, ~ where the interval has 0 in it."""
    names = [row["condition"] for row in one["order"]]
    sure = {(pair["ahead"], pair["of"]): pair["verdict"] == "behind" for pair in one["pairs"]}
    said = names[:1]
    for ahead, of in pairwise(names):
        said += [">" if sure[ahead, of] else "~", of]
    return " ".join(said)


def _turned(one: Record, after: Record) -> str:
    """The pairs that stand the other way round once tuned, and whether both ways are sure."""
    then = {(pair["ahead"], pair["of"]): pair for pair in after["pairs"]}
    words = []
    for pair in one["pairs"]:
        other = then.get((pair["of"], pair["ahead"]))
        if other is not None:
            both = "both sure" if pair["verdict"] == other["verdict"] == "behind" else "not sure"
            words.append(f"{pair['ahead']} and {pair['of']} ({both})")
    return listed(words)


def _held_out(results: Results, tuned: Sequence[str]) -> tuple[str, ...]:
    """Tuned conditions beside untuned ones of the same layers, by the verdict's measure."""
    measure = primary(results)
    runs = {run.condition: run for run in results.runs}
    eligible = [role.condition for role in results.roles if role.eligible]
    partner: dict[str, str] = {}
    for name in tuned:
        for other in eligible:
            same = other in runs and name in runs and _trains(runs[other]) == _trains(runs[name])
            if same and other not in tuned and name not in partner:
                partner[name] = other
    if measure is None or not partner:
        return ()
    against = {
        one.condition: one
        for one in results.comparisons
        if one.key == measure.key and one.seed is None and one.against == BASE
    }
    both = {name: other for name, other in partner.items() if {name, other} <= against.keys()}
    said = [
        f"{name} {_rate(against[name])}, untuned ({other}) {_rate(against[other])}."
        for name, other in both.items()
    ]
    if len(both) > 1:
        before = _ranked(both, {name: against[other] for name, other in both.items()})
        after = _ranked(both, against)
        change = (
            "Tuning leaves the order as it is"
            if before == after
            else f"Untuned the order is {', '.join(before)}"
        )
        said.append(f"By net win rate of {measure.dimension}: {', '.join(after)}. {change}.")
    return tuple(said)


def _trains(run: Any) -> tuple[Any, ...]:
    return run.layers, run.targets, run.labels


def _ranked(names: Mapping[str, str], against: Mapping[str, Contrast]) -> list[str]:
    return sorted(names, key=lambda name: -(against[name].net_win_rate or 0.0))


def _rate(one: Contrast) -> str:
    return f"{signed(one.net_win_rate, 2)} {interval(one.low, one.high, 2)}"


def _figures(conditions: Mapping[str, Record]) -> dict[str, Drawing]:
    """One figure for each thing that was measured, of conditions that tried rates alone or with ranks."""
    kinds: dict[tuple[str, str], list[RateCurve]] = {}
    for name, one in conditions.items():
        rank = next(each["rank"] for each in one["candidates"] if each["candidate"] == one["chosen"])
        points = [
            RatePoint(
                each["learning_rate"],
                each["mean"],
                each["low"],
                each["high"],
                each["candidate"] == one["chosen"],
            )
            for each in one["candidates"]
            if each["rank"] == rank and isinstance(each.get("learning_rate"), (int, float))
        ]
        if len(points) > 1:
            told = f"{one['by']} ({one['loss']})" if one["by"] == "loss" else one["by"]
            curve = RateCurve(name, rank, tuple(sorted(points)))
            kinds.setdefault((told, one["better"]), []).append(curve)
    drawn = [rate_curves(curves, f"{told} on validation") for (told, _), curves in kinds.items()]
    return {"tuning" if at == 1 else f"tuning-{at}": drawing for at, drawing in enumerate(drawn, 1)}


def _setting(values: Record) -> str:
    """'learning rate 0.00075, rank 8', of what was tried or of a candidate."""
    return ", ".join(f"{key.replace('_', ' ')} {_value(values[key])}" for key in KEYS if key in values)


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{block} {rate:g}" for block, rate in value.items())
    return f"{value:g}"


def _within(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"[{plain(low, DIGITS)}, {plain(high, DIGITS)}]"


def _difference(one: Record) -> str:
    return f"{signed(one['difference'], DIGITS)} {interval(one['low'], one['high'], DIGITS)}"

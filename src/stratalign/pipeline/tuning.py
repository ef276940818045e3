"""Which candidate a tuned condition becomes: the best on validation rows, and by how much.

Reads candidates' log-probabilities of validation rows and gives the content of tuning.json. Held-out rows, answers and
judges are unknown here. Knows nothing of how candidates are trained or what is done with the chosen one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stratalign import stats
from stratalign.blocks import Grid
from stratalign.losses import preference_loss
from stratalign.records import LogProbRecord
from stratalign.training import Run

Floats = NDArray[np.float64]
Records = Mapping[str, Sequence[LogProbRecord]]
"""Run -> its records of all validation rows, in one order."""

RULE = (
    "Best mean over validation rows and seeds. Of the candidates that cannot be told from it (the paired, clustered "
    "95 % interval of the difference has 0 in it), the smallest rank, then the smallest rate."
)
CRITERIA = {
    "loss": ("the condition's own loss", "lower"),
    "margin": ("log-ratio of chosen minus that of rejected, in nats", "higher"),
    "accuracy": ("share of rows with a margin above 0", "higher"),
}


@dataclass(frozen=True)
class Candidate:
    """One combination of the values to try: its runs, one for each seed."""

    name: str
    values: Mapping[str, Any]
    runs: tuple[Run, ...]

    @property
    def size(self) -> tuple[int, float]:
        """What decides between candidates that cannot be told apart: the rank, then the (sum of the) rates."""
        rate = self.values.get("learning_rate", 0.0)
        return self.runs[0].condition.rank, sum(rate.values()) if isinstance(rate, Mapping) else rate


@dataclass(frozen=True)
class Tuned:
    """A condition that is tuned, and its candidates in the order of the grid. `standing` are its runs as they would be
    without a choice, which only lend their names, layers and seeds."""

    condition: str
    grid: Grid
    candidates: tuple[Candidate, ...]
    standing: tuple[Run, ...]

    def become(self, name: str) -> tuple[Run, ...]:
        """The condition's runs once the candidate of this name is chosen."""
        chosen = next(one for one in self.candidates if one.name == name)
        return tuple(
            replace(own, condition=replace(run.condition, name=self.condition), settings=run.settings)
            for own, run in zip(self.standing, chosen.runs, strict=True)
        )


def choices(tuned: Sequence[Tuned], stored: Mapping[str, Any]) -> dict[str, str]:
    """Condition -> the chosen candidate, as far as tuning.json has it for these candidates and seeds."""
    known = stored.get("conditions", {})
    return {
        one.condition: known[one.condition]["chosen"]
        for one in tuned
        if one.condition in known and known[one.condition]["made_from"] == _made_from(one)
    }


def tune(tuned: Sequence[Tuned], records: Records) -> dict[str, Any]:
    """The content of tuning.json: every candidate's mean, the choice, and whether it changes the order of conditions.

    Args:
        tuned: the conditions and their candidates.
        records: those of every candidate's runs.
    """
    values = {one.condition: _values(one, records) for one in tuned}
    first = next(iter(records.values()))
    clusters = [row.cluster for row in first]
    chosen = {one.condition: _choose(one, values[one.condition], clusters) for one in tuned}
    return {
        "schema": 1,
        "rows": len(first),
        "clusters": len(set(clusters)),
        "rule": RULE,
        "conditions": chosen,
        "orders": _orders(tuned, values, {name: one["chosen"] for name, one in chosen.items()}, clusters),
    }


def row_values(run: Run, by: str, rows: Sequence[LogProbRecord]) -> Floats:
    """One number for each row [rows]: the run's own loss, its margin in nats, or whether that is above 0."""
    policy = torch.tensor([_pair(row.chosen, row.rejected) for row in rows], dtype=torch.float64)
    reference = torch.tensor([_pair(row.base_chosen, row.base_rejected) for row in rows], dtype=torch.float64)
    if by == "loss":
        tokens = torch.tensor(
            [_pair(row.tokens_chosen, row.tokens_rejected) for row in rows], dtype=torch.float64
        )
        found = preference_loss(policy, reference, tokens, run.settings.objective).loss
    else:
        chosen, rejected = (policy - reference).unbind(dim=1)
        found = chosen - rejected if by == "margin" else (chosen > rejected).double()
    values: Floats = found.numpy()
    return values


def _pair(chosen: float, rejected: float | None) -> list[float]:
    return [chosen] if rejected is None else [chosen, rejected]


def _values(one: Tuned, records: Records) -> dict[str, Floats]:
    """Candidate -> its value of every row, the mean over seeds."""
    return {
        each.name: np.mean([row_values(run, one.grid.by, records[run.id]) for run in each.runs], axis=0)
        for each in one.candidates
    }


def _made_from(one: Tuned) -> dict[str, Any]:
    return {
        "by": one.grid.by,
        "candidates": [each.name for each in one.candidates],
        "seeds": [run.seed for run in one.standing],
    }


def _choose(one: Tuned, values: Mapping[str, Floats], clusters: Sequence[str]) -> dict[str, Any]:
    measured, better = CRITERIA[one.grid.by]
    sign = 1.0 if better == "lower" else -1.0
    ordered = sorted(one.candidates, key=lambda each: (sign * float(values[each.name].mean()), each.size))
    best = ordered[0]
    behind = {each.name: _difference(values[each.name], values[best.name], clusters) for each in ordered[1:]}
    tied = [each for each in ordered[1:] if not _sure(behind[each.name])]
    chosen = min([best, *tied], key=lambda each: each.size)
    second = ordered[1].name if len(ordered) > 1 else None
    return {
        "by": one.grid.by,
        "measured": measured,
        "loss": one.standing[0].settings.loss,
        "better": better,
        "made_from": _made_from(one),
        "candidates": [
            {
                "candidate": each.name,
                **each.values,
                "rank": each.runs[0].condition.rank,
                "parameters": each.runs[0].condition.parameters,
                **_mean(values[each.name], clusters),
                "seeds": {str(run.seed): run.id for run in each.runs},
                "behind_best": behind.get(each.name),
            }
            for each in one.candidates
        ],
        "best": best.name,
        "second": None if second is None else {"candidate": second, **behind[second]},
        "tied": [each.name for each in tied],
        "chosen": chosen.name,
        "values": {**chosen.values, "rank": chosen.runs[0].condition.rank},
        "edges": _edges(one, best),
    }


def _edges(one: Tuned, best: Candidate) -> list[dict[str, Any]]:
    """Where the best value is the lowest or the highest of those tried, so that a better one may lie beyond."""
    found = []
    for key in one.grid.values:
        tried = [each.values[key] for each in one.candidates]
        parts = list(tried[0]) if isinstance(tried[0], Mapping) else [None]
        for block in parts:
            column = sorted({value if block is None else value[block] for value in tried})
            value = best.values[key] if block is None else best.values[key][block]
            if len(column) > 1 and value in (column[0], column[-1]):
                end = "lowest" if value == column[0] else "highest"
                found.append({"key": key, "block": block, "value": value, "end": end})
    return found


def _orders(
    tuned: Sequence[Tuned],
    values: Mapping[str, Mapping[str, Floats]],
    chosen: Mapping[str, str],
    clusters: Sequence[str],
) -> list[dict[str, Any]]:
    """The order of conditions at every one rate and rank that all have tried, and of the chosen candidates.

    Only conditions whose values mean the same stand in one order: the same criterion and, where that is a loss, the
    same loss with the same settings.
    """
    groups: dict[Any, list[Tuned]] = {}
    for one in tuned:
        objective = one.candidates[0].runs[0].settings.objective if one.grid.by == "loss" else None
        groups.setdefault((one.grid.by, objective), []).append(one)
    found = []
    for (by, _), group in groups.items():
        if len(group) < 2:
            continue
        lower = CRITERIA[by][1] == "lower"
        common = [
            values_of
            for values_of in (dict(each.values) for each in group[0].candidates)
            if all(_at(one, values_of) is not None for one in group)
        ]
        after = _order(
            {one.condition: values[one.condition][chosen[one.condition]] for one in group}, clusters, lower
        )
        found.append(
            {
                "by": by,
                "tuned": after,
                "at_one": [
                    {
                        "values": shared,
                        **_order(
                            {one.condition: values[one.condition][str(_at(one, shared))] for one in group},
                            clusters,
                            lower,
                        ),
                    }
                    for shared in common
                ],
            }
        )
    return found


def _at(one: Tuned, values: Mapping[str, Any]) -> str | None:
    return next((each.name for each in one.candidates if dict(each.values) == values), None)


def _order(rows: Mapping[str, Floats], clusters: Sequence[str], lower: bool) -> dict[str, Any]:
    """Conditions, the best first, with their means, and how much each is ahead of each after it."""
    sign = 1.0 if lower else -1.0
    order = sorted(rows, key=lambda name: sign * float(rows[name].mean()))
    return {
        "order": [{"condition": name, "mean": float(rows[name].mean())} for name in order],
        "pairs": [
            {"ahead": ahead, "of": of, **_difference(rows[of], rows[ahead], clusters)}
            for ahead, of in combinations(order, 2)
        ],
    }


def _difference(worse: Floats, best: Floats, clusters: Sequence[str]) -> dict[str, Any]:
    """The paired difference with its clustered 95 % interval, in the criterion's unit and direction."""
    found = stats.compare(worse, best, clusters)
    about = {"difference": found.mean_difference, "low": found.difference_low, "high": found.difference_high}
    return {**about, "verdict": "behind" if _sure(about) else "cannot tell"}


def _sure(about: Mapping[str, Any]) -> bool:
    low, high = about["low"], about["high"]
    return low is not None and high is not None and (low > 0 or high < 0)


def _mean(values: Floats, clusters: Sequence[str]) -> dict[str, Any]:
    found = stats.compare(values, np.zeros_like(values), clusters)
    return {"mean": found.mean_difference, "low": found.difference_low, "high": found.difference_high}

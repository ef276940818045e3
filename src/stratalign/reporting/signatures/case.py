"""What a signature is, and what its function is given: records and results, ready to be asked. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from stratalign.records import Score
from stratalign.reporting.comparisons.contrasts import BASE, Contrast
from stratalign.reporting.findings.evidence import Evidence
from stratalign.reporting.findings.runs import RunResult
from stratalign.reporting.inputs import StudyRecords
from stratalign.reporting.results import Results, evidence_of, that_decide

FEW_ANSWERS = 8
"""Shares of fewer answers than this say nothing."""


@dataclass(frozen=True)
class Signature:
    """One pattern that was seen: in what, what it may come from, what to look at, and what to type next.

    `next` names the study's folder as `{study}`, see `answer.commands`.
    """

    name: str
    title: str
    seen: str
    cause: str
    check: str
    next: str


@dataclass(frozen=True)
class Case:
    """One study; rows of each run are grouped once."""

    records: StudyRecords
    results: Results

    @property
    def recipe(self) -> Mapping[str, Any]:
        return self.records.recipe

    @cached_property
    def evidence(self) -> Evidence:
        return evidence_of(self.records, self.results)

    @cached_property
    def scores(self) -> Sequence[Score]:
        """Without repeats and further judges."""
        return that_decide(self.records).scores

    @cached_property
    def trained(self) -> list[RunResult]:
        """Runs of trained conditions that are no controls."""
        names = {role.condition for role in self.results.roles if role.eligible}
        return [run for run in self.results.runs if run.condition in names]

    @cached_property
    def candidates(self) -> list[str]:
        """The conditions of `trained`."""
        return list(dict.fromkeys(run.condition for run in self.trained))

    @cached_property
    def answers(self) -> dict[str, list[Mapping[str, Any]]]:
        """Run -> its answers."""
        return _grouped(self.records.responses)

    def share(self, run: str, holds: Callable[[Mapping[str, Any]], bool]) -> float | None:
        """Of how many of a run's answers this holds; None of too few."""
        rows = self.answers.get(run, [])
        return sum(map(holds, rows)) / len(rows) if len(rows) >= FEW_ANSWERS else None

    def conditions(self, runs: Iterable[str]) -> tuple[str, ...]:
        """The trained conditions of these runs."""
        names = set(runs)
        return tuple(dict.fromkeys(run.condition for run in self.trained if run.run in names))

    @cached_property
    def kinds(self) -> Mapping[str, int]:
        """How many rows of the preferences are text, messages or transcript."""
        return self.records.preferences.get("kinds") or {}

    @cached_property
    def lacks_template(self) -> bool:
        """Whether rows were given to the model without the chat template that its tokenizer has, or may have where an
        older study does not say. Rows of messages always have it."""
        if not self.kinds.keys() - {"messages"}:
            return False
        about = self.template or {"used": (self.recipe.get("preferences") or {}).get("template")}
        return about["used"] == "raw" and about.get("available", True) and not about.get("rendered_by")

    @property
    def template(self) -> Mapping[str, Any]:
        """Which template the rows got; empty of an older study."""
        return self.records.preferences.get("template") or {}

    @cached_property
    def steps(self) -> dict[str, list[Mapping[str, Any]]]:
        """Run -> its training steps, in order."""
        found = _grouped(self.records.training)
        return {run: sorted(rows, key=lambda row: int(row["step"])) for run, rows in found.items()}

    @cached_property
    def pairs(self) -> dict[str, list[Mapping[str, Any]]]:
        """Run -> log-probabilities of its held-out pairs; demonstrations are left out."""
        found = _grouped(self.records.logprobs)
        return {run: [row for row in rows if row.get("rejected") is not None] for run, rows in found.items()}

    def base_of(self, run: RunResult) -> str:
        """The run of the base with the same seed, or its only one."""
        own = [one for one in self.results.runs if one.condition == BASE]
        same = [one.run for one in own if one.seed == run.seed]
        return (same or [one.run for one in own] or [BASE])[0]

    def objective(self, condition: str) -> list[Contrast]:
        """The condition against base on what the preferences are meant to move."""
        return self.evidence.against_base(condition, self.evidence.objective)

    def gains(self, condition: str) -> bool:
        """Whether it surely does better than base on some of the objective."""
        return any(one.sure and one.gain > 0 for one in self.objective(condition))

    def measured(self, condition: str, dimension: str) -> Contrast | None:
        """The condition against base on one dimension of whichever protocol has it, over all seeds."""
        rows = (
            one
            for one in self.results.comparisons
            if one.condition == condition and one.dimension == dimension and one.seed is None and one.n
        )
        return next(rows, None)


def _grouped(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault(str(row["run"]), []).append(row)
    return found

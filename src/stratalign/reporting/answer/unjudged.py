"""The answer where nothing has judged: whether training took hold, and the command that gets a verdict. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stratalign.reporting.answer.commands import study_command
from stratalign.reporting.findings.took_hold import TookHold
from stratalign.reporting.inputs import StudyRecords
from stratalign.reporting.numbers import listed

OVERALL = "Overall"
JUDGE = {
    "judge.protocol": "likert-16",
    "judge.base_url": "http://127.0.0.1:8000/v1",
    "judge.model": "my-judge",
}
NAME_A_JUDGE = (
    "let a language model judge {them}: put its server's address and its name into the command below, which continues "
    "this study and trains nothing anew. Or name a scorer of your own (docs/scorers.md)."
)


def unjudged(records: StudyRecords, held: TookHold) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """Line, sentences and next command of a study whose answers nothing has judged."""
    scorers = _scorers(records)
    named = [str(name) for name in (records.recipe.get("preferences") or {}).get("objective") or [OVERALL]]
    if scorers:
        (who, dimensions), *_ = scorers
        line = (
            f"No verdict: {who} has scored the answers, but not on {listed(named)}, the recipe's objective."
        )
        how = (
            f"For a verdict by {who}, name one of its dimensions as the objective, as the command below does "
            f"({listed(dimensions, 'or')}), or name a judge (docs/judging.md)."
        )
        after = study_command({"preferences.objective": dimensions[:1]})
    else:
        line = "No verdict: the answers have not been judged."
        same = bool(held.unchanged) and {*held.above, *held.below, *held.unsure} <= {*held.unchanged}
        when, them = ("Once answers differ", "them") if same else ("For a verdict", "the answers")
        how = f"{when}, {NAME_A_JUDGE.format(them=them)}"
        other = [name for name in named if name.casefold() != OVERALL.casefold()]
        after = study_command({**JUDGE, **({"preferences.objective": [OVERALL]} if other else {})})
    return f"{line} {held.line}".rstrip(), (*held.words, how), (after,)


def _scorers(records: StudyRecords) -> list[tuple[str, Sequence[str]]]:
    """Who has scored answers on dimensions with a better direction, and on which."""
    found: list[tuple[str, Sequence[str]]] = []
    for judge in records.judges:
        if judge.get("kind") not in ("measures", "tasks", "people") and not judge.get("second"):
            dimensions = [str(one["name"]) for one in judge.get("dimensions") or () if _directed(one)]
            found += [(str(judge.get("judge")), dimensions)] if dimensions else []
    return found


def _directed(dimension: Mapping[str, Any]) -> bool:
    return dimension.get("better") in ("higher", "lower")

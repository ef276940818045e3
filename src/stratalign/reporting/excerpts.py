"""What the data and the answers looked like: counts of the rows, rows that were left out, a few answers side by side.

Text stays raw here, whoever wrote it: escaping is the template's. Pure; knows nothing of HTML.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from stratalign.reporting.results import Results

PROMPTS_SHOWN, LINES_SHOWN, PREVIEW = 5, 5, 280


class Fact(NamedTuple):
    name: str
    value: str


class BadRows(NamedTuple):
    reason: str
    rows: int
    lines: str


class Reply(NamedTuple):
    """One run's answer: what is always shown, and the whole text where that is more."""

    run: str
    preview: str
    whole: str | None
    tokens: int
    cut: bool


class Example(NamedTuple):
    prompt_id: str
    prompt: str
    replies: tuple[Reply, ...]


def data_facts(preferences: Mapping[str, Any]) -> tuple[Fact, ...]:
    """Counts of the preference rows, the clusters and the notes, under readable names."""
    facts = []
    for name in ("rows", "train", "validation", "held_out", "clusters", "notes"):
        value = preferences.get(name)
        if isinstance(value, Mapping):
            facts += [
                Fact(f"{name}: {key}".replace("_", " "), _readable(part)) for key, part in value.items()
            ]
        elif value is not None:
            facts.append(Fact(name.replace("_", " "), _readable(value)))
    return tuple(facts)


def rows_left_out(reasons: Any) -> tuple[BadRows, ...]:
    """Rows that were left out, by reason, with the first line numbers."""
    found = []
    for reason, entry in reasons.items() if isinstance(reasons, Mapping) else ():
        entry = entry if isinstance(entry, Mapping) else {"count": entry}
        lines = list(entry.get("lines") or ())
        count = int(entry.get("count") or 0)
        shown = ", ".join(str(line) for line in lines[:LINES_SHOWN])
        found.append(
            BadRows(str(reason), count, shown + (", …" if shown and count > len(lines[:LINES_SHOWN]) else ""))
        )
    return tuple(found)


def side_by_side(responses: Sequence[Mapping[str, Any]], results: Results) -> tuple[Example, ...]:
    """The first prompts in the order of the record; of a condition with several seeds, its first run."""
    shown: dict[str, str] = {}
    for run in results.runs:
        shown.setdefault(run.condition, run.run)
    runs = list(shown.values())
    answers = {(str(row["prompt_id"]), str(row["run"])): row for row in responses}
    complete = Counter(prompt for prompt, run in answers if run in runs)
    # Prompts that every run has answered come first: in a half-finished study the others cannot be compared.
    prompts = sorted(complete, key=lambda prompt: -complete[prompt])[:PROMPTS_SHOWN]
    return tuple(
        Example(
            prompt,
            str(next(answers[prompt, run] for run in runs if (prompt, run) in answers).get("prompt") or ""),
            tuple(_reply(run, answers[prompt, run]) for run in runs if (prompt, run) in answers),
        )
        for prompt in prompts
    )


def _readable(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    if isinstance(value, int):
        return f"{value:,}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _reply(run: str, row: Mapping[str, Any]) -> Reply:
    text = str(row.get("response") or "")
    long = len(text) > PREVIEW
    return Reply(
        run,
        text[:PREVIEW].rstrip() + " …" if long else text,
        text if long else None,
        int(row.get("tokens") or 0),
        row.get("finish") == "length",
    )

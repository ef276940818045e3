"""What the data and the answers looked like: counts of the rows, rows that were left out, a few answers side by side.

Text stays raw here, whoever wrote it: escaping is the template's. Pure; knows nothing of HTML.
"""

from __future__ import annotations

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
    """Counts of the preference rows, the parts of the split with their clusters, and the notes on kept rows."""
    rows, parts = preferences.get("rows") or {}, preferences.get("parts") or {}
    facts = [Fact(f"rows {name}", f"{count:,}") for name, count in rows.items()]
    facts += [
        Fact(name.replace("_", " "), f"{part['rows']:,} pairs in {part['clusters']:,} clusters")
        for name, part in parts.items()
    ]
    for note, entry in (preferences.get("notes") or {}).items():
        facts.append(Fact(f"note: {note}", f"{entry['count']:,} rows (line {_some(entry)})"))
    return tuple(facts)


def rows_left_out(reasons: Any) -> tuple[BadRows, ...]:
    """Rows that were left out, by reason, with the first line numbers."""
    entries = reasons.items() if isinstance(reasons, Mapping) else ()
    return tuple(BadRows(str(reason), int(entry["count"]), _some(entry)) for reason, entry in entries)


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


def _some(entry: Mapping[str, Any]) -> str:
    """The first line numbers of an entry, and whether there are more."""
    lines = list(entry.get("first_lines") or ())[:LINES_SHOWN]
    shown = ", ".join(str(line) for line in lines)
    return shown + (", …" if int(entry["count"]) > len(lines) else "")


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

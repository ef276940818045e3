"""What the data and the answers looked like: counts of the rows, rows that were left out, answers side by side.

Text stays raw here, whoever wrote it: escaping is the template's. Pure; knows nothing of HTML.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from stratalign.reporting.comparisons.contrasts import BASE, Measure
from stratalign.reporting.comparisons.grids import Grid
from stratalign.reporting.page.differences import Difference, largest_differences
from stratalign.reporting.results import Results

DIFFERING, UNCHOSEN, LINES_SHOWN = 18, 2, 5
PREVIEW, WHOLE, PROMPT = 280, 4_000, 3_000
CHARACTERS = 300_000
"""How much text all examples of a study may have together, so that a page stays one that people can send."""
CUT = "\n… (longer; responses.jsonl has all of it)"


class Fact(NamedTuple):
    name: str
    value: str


class BadRows(NamedTuple):
    reason: str
    rows: int
    lines: str


class Reply(NamedTuple):
    """One run's answer: what is always shown, and the whole text where that is more.

    `scores` are in the order of the grid's measures; `score` is the one that the example was chosen by.
    """

    run: str
    preview: str
    whole: str | None
    tokens: int
    cut: bool
    scores: tuple[float | None, ...]
    score: float | None


class Example(NamedTuple):
    """`chosen_for` is the dimension on which the answers differ most; None where nobody chose the prompt."""

    prompt_id: str
    prompt: str
    chosen_for: str | None
    replies: tuple[Reply, ...]


def data_facts(preferences: Mapping[str, Any]) -> tuple[Fact, ...]:
    """Counts of the preference rows, the parts of the split with their clusters, and the notes on kept rows."""
    rows, parts = preferences.get("rows") or {}, preferences.get("parts") or {}
    facts = [Fact(f"rows {name}", f"{count:,}") for name, count in rows.items()]
    kind = row_kind(preferences)
    facts += [
        Fact(name.replace("_", " "), f"{part['rows']:,} {kind} in {part['clusters']:,} clusters")
        for name, part in parts.items()
    ]
    for note, entry in (preferences.get("notes") or {}).items():
        facts.append(Fact(f"note: {note}", f"{entry['count']:,} rows (line {_some(entry)})"))
    return tuple(facts)


def row_kind(preferences: Mapping[str, Any]) -> str:
    """What the rows are called: pairs, demonstrations (nothing was rejected), or rows where both occur."""
    demonstrations = int(preferences.get("demonstrations") or 0)
    if not demonstrations:
        return "pairs"
    kept = int((preferences.get("rows") or {}).get("kept") or 0)
    return "demonstrations" if demonstrations >= kept else "rows"


def rows_left_out(reasons: Any) -> tuple[BadRows, ...]:
    """Rows that were left out, by reason, with the first line numbers."""
    entries = reasons.items() if isinstance(reasons, Mapping) else ()
    return tuple(BadRows(str(reason), int(entry["count"]), _some(entry)) for reason, entry in entries)


def side_by_side(
    responses: Sequence[Mapping[str, Any]], results: Results, grid: Grid, measures: Sequence[Measure]
) -> tuple[Example, ...]:
    """The prompts on which the scores of base and candidates differ most, then a few that nobody chose.

    Only prompts that every shown run has answered are compared; of a condition with several seeds its first run is
    shown. In a half-finished study, and where nothing was judged, only the first prompts of the record are there.

    Args:
        responses: the lines of responses.jsonl.
        results: of the study.
        grid: the scores of the judge that decides.
        measures: the dimensions to choose by, those that matter most first.
    """
    shown: dict[str, str] = {}
    for run in results.runs:
        shown.setdefault(run.condition, run.run)
    runs = list(shown.values())
    answers = {(str(row["prompt_id"]), str(row["run"])): row for row in responses if str(row["run"]) in runs}
    complete = Counter(prompt for prompt, _ in answers)
    most = max(complete.values(), default=0)
    whole = {prompt for prompt, count in complete.items() if count == most}
    controls = {role.condition for role in results.roles if role.condition != BASE and not role.eligible}
    compared = [run for condition, run in shown.items() if condition not in controls]
    found = largest_differences(grid, compared, measures, DIFFERING, whole)
    apart = {one.prompt_id: one for one in found}
    # Prompts that every run has answered come first: in a half-finished study the others cannot be compared.
    first = [
        prompt for prompt in sorted(complete, key=lambda prompt: -complete[prompt]) if prompt not in apart
    ]
    examples: list[Example] = []
    room = CHARACTERS
    for prompt in [*apart, *first[:UNCHOSEN]]:
        example = _example(
            prompt, [run for run in runs if (prompt, run) in answers], answers, grid, apart.get(prompt)
        )
        room -= len(example.prompt) + sum(len(reply.whole or reply.preview) for reply in example.replies)
        if room < 0 and examples:
            break
        examples.append(example)
    return tuple(examples)


def _example(
    prompt: str,
    runs: Sequence[str],
    answers: Mapping[tuple[str, str], Mapping[str, Any]],
    grid: Grid,
    chosen: Difference | None,
) -> Example:
    row = next((at for at, (name, _) in enumerate(grid.rows) if name == prompt), None)

    def scores(run: str) -> tuple[float | None, ...]:
        if row is None or run not in grid.values:
            return (None,) * len(grid.measures)
        return tuple(None if math.isnan(value) else float(value) for value in grid.values[run][row])

    at = None if chosen is None else grid.column(chosen.measure)
    text = str(answers[prompt, runs[0]].get("prompt") or "")
    return Example(
        prompt,
        _kept(text, PROMPT),
        chosen and chosen.measure.dimension,
        tuple(_reply(run, answers[prompt, run], scores(run), at) for run in runs),
    )


def _some(entry: Mapping[str, Any]) -> str:
    """The first line numbers of an entry, and whether there are more."""
    lines = list(entry.get("first_lines") or ())[:LINES_SHOWN]
    shown = ", ".join(str(line) for line in lines)
    return shown + (", …" if int(entry["count"]) > len(lines) else "")


def _reply(run: str, row: Mapping[str, Any], scores: tuple[float | None, ...], at: int | None) -> Reply:
    text = _kept(str(row.get("response") or ""), WHOLE)
    long = len(text) > PREVIEW
    return Reply(
        run,
        text[:PREVIEW].rstrip() + " …" if long else text,
        text if long else None,
        int(row.get("tokens") or 0),
        row.get("finish") == "length",
        scores,
        None if at is None else scores[at],
    )


def _kept(text: str, most: int) -> str:
    """The text without control characters; what is longer than `most` ends with a note."""
    kept = "".join(
        one for one in text[: most + 1] if one in "\n\t" or (ord(one) > 31 and not 127 <= ord(one) < 160)
    )
    return text if kept == text and len(text) <= most else kept[:most] + (CUT if len(text) > most else "")

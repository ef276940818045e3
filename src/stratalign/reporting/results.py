"""Records of one study -> its results: every run's means and every condition against base. Pure, and the same
bytes for the same recipe.

Knows nothing of files, pages, times, hosts or paths, so that an interrupted and resumed study, or one on another
machine, gives the same results.json.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from stratalign.records import SCHEMA, Score
from stratalign.reporting.contrasts import BASE, LEVEL, RESAMPLES, SEED, Contrast, Measure, compare_with_base
from stratalign.reporting.inputs import StudyRecords
from stratalign.reporting.progress import unfinished
from stratalign.reporting.runs import RunResult, mean_scores, ordered_runs, run_result


@dataclass(frozen=True)
class Study:
    """What was studied. `model` has name, model_type, layers, parameters; `counts` the rows and the splits' sizes."""

    model: dict[str, Any]
    source: str
    objective: tuple[str, ...]
    partition: dict[str, list[int]]
    counts: dict[str, int]


@dataclass(frozen=True)
class Results:
    """All numbers of one study. `why_no_comparison` is None where there are comparisons."""

    study: Study
    measures: tuple[Measure, ...]
    runs: tuple[RunResult, ...]
    comparisons: tuple[Contrast, ...]
    why_no_comparison: str | None
    missing: tuple[str, ...]


def summarise(records: StudyRecords) -> Results:
    """The results of one study, in the order of its recipe."""
    runs = ordered_runs(records)
    conditions = {run: condition for run, condition, _ in runs}
    measures = _measures(records)
    order = list(dict.fromkeys(condition for _, condition, _ in runs))
    compared = compare_with_base(records.scores, conditions, order, measures)
    by_run: dict[str, list[Score]] = defaultdict(list)
    for score in records.scores:
        by_run[score.run].append(score)
    return Results(
        study=_study(records),
        measures=tuple(measures),
        runs=tuple(run_result(records, *run, mean_scores(by_run[run[0]], measures)) for run in runs),
        comparisons=tuple(compared),
        why_no_comparison=None if compared else _why_none(records, order),
        missing=(
            *(note for note in records.missing if not note.startswith("timings.json")),
            *unfinished(records),
        ),
    )


def as_json(results: Results) -> dict[str, Any]:
    """The content of results.json."""
    return {
        "schema": SCHEMA,
        "bootstrap": {
            "resamples": RESAMPLES,
            "seed": SEED,
            "level": LEVEL,
            "interval": "percentile, clustered",
        },
        **asdict(results),
        "measures": [measure._asdict() for measure in results.measures],
    }


def public_name(value: object) -> str:
    """A model or source as text; of a path on someone's disk only the last part."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {public_name(part)}" for key, part in value.items() if part is not None)
    text = "" if value is None else str(value)
    if re.match(r"([/~\\]|\.\.?[/\\]|[A-Za-z]:[/\\])", text):
        return re.split(r"[/\\]", text.rstrip("/\\"))[-1]
    return text


def _measures(records: StudyRecords) -> list[Measure]:
    """What judges.json lists, in its order, then whatever else the scores have, by name."""
    listed = [
        Measure(
            str(judge.get("judge", "")),
            str(judge.get("protocol", "")),
            str(one.get("name", "")),
            str(one.get("unit") or ""),
            one.get("better") if one.get("better") in ("higher", "lower") else None,
            str(one.get("about") or ""),
        )
        for judge in records.judges
        for one in judge.get("dimensions") or ()
    ]
    known = {(measure.judge, measure.protocol, measure.dimension) for measure in listed}
    seen = {(score.judge, score.protocol, score.dimension) for score in records.scores}
    return listed + [Measure(*key, unit="", better=None, about="") for key in sorted(seen - known)]


def _study(records: StudyRecords) -> Study:
    model = records.manifest.get("model") or {}
    preferences = records.recipe.get("preferences") or {}
    rows, parts = records.preferences.get("rows") or {}, records.preferences.get("parts") or {}
    counts = {name: int(count) for name, count in rows.items()}
    counts |= {name: int(part["rows"]) for name, part in parts.items()}
    return Study(
        model={
            "name": public_name(model.get("name") or records.recipe.get("model")),
            **{name: model.get(name) for name in ("model_type", "layers", "parameters")},
        },
        source=public_name(preferences.get("source")),
        objective=tuple(str(name) for name in preferences.get("objective") or ()),
        partition={
            str(name): sorted(layers) for name, layers in (records.manifest.get("partition") or {}).items()
        },
        counts=counts,
    )


def _why_none(records: StudyRecords, order: Sequence[str]) -> str:
    if not records.scores:
        return "No answers have been judged yet."
    if BASE not in order:
        return "The study has no condition named base, and every comparison is against it."
    if not any(score.run.partition("@")[0] == BASE for score in records.scores):
        return "The answers of base have not been judged yet."
    return "No condition other than base has been judged yet."

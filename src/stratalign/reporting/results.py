"""Records of one study -> its results: every run's means, every condition against base and against the others, and
the conclusions. Pure, and the same bytes for the same recipe.

Knows nothing of files, pages, times, hosts or paths, so that an interrupted and resumed study, or one on another
machine, gives the same results.json.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from stratalign.records import SCHEMA, Score
from stratalign.reporting.comparing import compare_pairs, compare_with_base, score_table
from stratalign.reporting.conclusions import Conclusions, conclude
from stratalign.reporting.contrasts import ALPHA, BASE, LEVEL, RESAMPLES, SEED, Contrast, Measure
from stratalign.reporting.evidence import gather, objective_measures
from stratalign.reporting.families import correct_against_base, correct_pairs
from stratalign.reporting.inputs import StudyRecords
from stratalign.reporting.progress import unfinished
from stratalign.reporting.roles import Role, condition_roles
from stratalign.reporting.runs import RunResult, mean_scores, ordered_runs, run_result


@dataclass(frozen=True)
class Study:
    """What was studied. `model` has name, model_type, layers, parameters; `counts` the rows and the splits' sizes."""

    model: dict[str, Any]
    source: str
    objective: tuple[str, ...]
    partition: dict[str, list[int]]
    counts: dict[str, int]


class Judged(NamedTuple):
    """The judge and protocol that decide; whatever else was measured is shown beside it and decides nothing."""

    judge: str
    protocol: str


@dataclass(frozen=True)
class Results:
    """All numbers of one study, and what they say. `why_no_comparison` is None where there are comparisons.

    `comparisons` are against base, of every protocol; `pairs` between the other conditions, of the judged protocol
    on what the preferences are meant to move.
    """

    study: Study
    judged: Judged | None
    measures: tuple[Measure, ...]
    roles: tuple[Role, ...]
    runs: tuple[RunResult, ...]
    comparisons: tuple[Contrast, ...]
    pairs: tuple[Contrast, ...]
    conclusions: Conclusions
    why_no_comparison: str | None
    missing: tuple[str, ...]

    @property
    def protocols(self) -> tuple[Judged, ...]:
        """Every judge and protocol that has measures, the judged one first."""
        return tuple(dict.fromkeys(Judged(*measure.key[:2]) for measure in self.measures))


def summarise(records: StudyRecords) -> Results:
    """The results of one study, in the order of its recipe."""
    runs = ordered_runs(records)
    conditions = {run: condition for run, condition, _ in runs}
    measures = _measures(records)
    judged = Judged(*measures[0].key[:2]) if measures else None
    study = _study(records)
    order = list(dict.fromkeys(condition for _, condition, _ in runs))
    roles = condition_roles(records, order)
    table = score_table(records.scores, conditions)
    nulls = {role.condition for role in roles if role.null}
    compared = correct_against_base(compare_with_base(table, order, measures), judged, nulls)
    meant = objective_measures([one for one in measures if one.key[:2] == judged], study.objective)
    tested = [condition for condition in order if condition not in nulls]
    pairs = correct_pairs(compare_pairs(table, tested, meant))
    why_none = None if compared else _why_none(records, order)
    by_run: dict[str, list[Score]] = defaultdict(list)
    for score in records.scores:
        by_run[score.run].append(score)
    return Results(
        study=study,
        judged=judged,
        measures=tuple(measures),
        roles=roles,
        runs=tuple(run_result(records, *run, mean_scores(by_run[run[0]], measures)) for run in runs),
        comparisons=tuple(compared),
        pairs=tuple(pairs),
        conclusions=conclude(
            gather(roles, judged, measures, study.objective, compared, pairs),
            why_none or _why_not_judged(compared, judged),
        ),
        why_no_comparison=why_none,
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
        "test": {
            "p_value": "two-sided sign flips of clusters, of the net win rate",
            "draws": RESAMPLES,
            "seed": SEED,
            "correction": "Holm, within each family",
            "alpha": ALPHA,
        },
        **asdict(results),
        "judged": results.judged and results.judged._asdict(),
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


def _why_not_judged(compared: Sequence[Contrast], judged: Judged | None) -> str | None:
    """Why nothing is concluded although something was compared: the protocol that decides has no scores."""
    if judged is None or any(one.key[:2] == judged for one in compared):
        return None
    return f"No answers have been judged by {judged.protocol} yet."

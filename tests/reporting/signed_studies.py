"""Study folders whose every net win rate and p value can be worked out by hand: twelve prompts, each its own cluster.

The base scores 0 on every prompt. With twelve clusters all 4,096 flips are listed, so a condition above (or below)
on all of them has p = 2 / 4,096 = 0.00049.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fake_studies import judges, manifest, score

from stratalign.records import StudyFolder, write_json, write_scores, write_text
from stratalign.reporting import Results, read_study, summarise

PROMPTS = 12
ALTERNATING = (1, -1) * 6
"""Six wins and six losses: p = 1."""
MOSTLY_LOST = (-1,) * 10 + (1, 1)
"""Two wins of twelve: p = 2 x (1 + 12 + 66) / 4,096 = 0.039, too large where two tests or more are left."""

Values = int | Sequence[int]


def signed_study(
    folder: Path,
    values: Mapping[str, Mapping[str, Values]],
    recipe: str = "preferences: {objective: [Fluency]}\n",
    written: Mapping[str, Any] | None = None,
    **better: str | None,
) -> Results:
    """The results of a study in which each condition scores `values` (one for all prompts, or one for each).

    Args:
        folder: where the records are written.
        values: condition -> dimension -> scores; the base is added.
        recipe: recipe.yaml; the conditions are added where it names none.
        written: changes of the manifest's entries, by run.
        better: the judged dimensions and their directions; by default fluency and coherence, higher is better.
    """
    study, dimensions = StudyFolder(folder), better or {"fluency": "higher", "coherence": "higher"}
    found = manifest(["base", *values])
    for run, changes in (written or {}).items():
        found["runs"][run] |= changes
    write_json(study.manifest, found)
    listed = "" if "conditions" in recipe else f"conditions: [{', '.join(['base', *values])}]\n"
    write_text(study.recipe, recipe + listed)
    write_json(study.judges, judges(**dimensions))
    rows = []
    for condition, mine in {"base": {}, **values}.items():
        for dimension in dimensions:
            value = mine.get(dimension, 0)
            each = (value,) * PROMPTS if isinstance(value, int) else value
            rows += [score(condition, n, float(one), dimension) for n, one in enumerate(each)]
    write_scores(study.scores, rows)
    return summarise(read_study(folder))

"""What a study still lacks although its records are there: steps, proofs, answers, scores. Pure.

A finished study has nothing to say here; an interrupted one says which of its runs are behind, so that nobody
takes a part for the whole.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from stratalign.reporting.inputs import StudyRecords
from stratalign.reporting.numbers import listed


def unfinished(records: StudyRecords) -> tuple[str, ...]:
    """One sentence for each thing that some runs lack."""
    entries = {run: entry for run, entry in (records.manifest.get("runs") or {}).items() if entry}
    trained = {run: entry for run, entry in entries.items() if entry.get("layers")}
    steps = Counter(str(row["run"]) for row in records.training)
    planned = {
        run: sum(int(phase.get("steps") or 0) for phase in entry.get("phases") or ())
        for run, entry in trained.items()
    }
    notes = [
        f"{run} has {steps[run]} of its {planned[run] or 'planned'} steps."
        for run in sorted(trained)
        if steps[run] < max(planned[run], 1)
    ]
    unproven = sorted(run for run, entry in trained.items() if not entry.get("proof"))
    if unproven:
        notes.append(f"{listed(unproven)} {'has' if len(unproven) == 1 else 'have'} not been proven yet.")
    answered = Counter(str(row["run"]) for row in records.responses)
    notes += _behind("answers", {run: answered[run] for run in {*entries, *answered}})
    judged: dict[str, set[str]] = {run: set() for run in {*entries, *(score.run for score in records.scores)}}
    for score in records.scores:
        judged[score.run].add(score.prompt_id)
    notes += _behind("judged answers", {run: len(prompts) for run, prompts in judged.items()})
    return tuple(notes)


def _behind(what: str, counts: Mapping[str, int]) -> list[str]:
    """The runs that have fewer than the run that has most; silent where no run has any."""
    most = max(counts.values(), default=0)
    return [f"{run} has {counts[run]} of {most} {what}." for run in sorted(counts) if counts[run] < most]

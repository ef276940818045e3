"""Which answers are made together: batches of prompts under runs, remembered until all of them are done.

The rounding of a sum may depend on the batch that it is formed in, so an interrupted study repeats its batches as
they were. A group of prompts depends on the prompts alone; a batch is one group under all the runs that lack its
answers, or as many of them as fit. Runs added later make batches of their own. Their noise is the same as in a batch
with all, so their answers are, too, except where two tokens are so close that rounding decides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from stratalign.generation import Prompt
from stratalign.records import (
    BATCHES,
    RESPONSES,
    StudyFolder,
    keep_jsonl,
    read_jsonl,
    read_record,
    write_json,
)
from stratalign.training import Run

MOST_ANSWERS = 2048
"""Answers in a batch, unless one run has more: beyond this, wider batches cost memory and save nothing."""


class AnswerBatch(NamedTuple):
    """Answers of every one of `runs` to every one of `prompts`."""

    runs: tuple[Run, ...]
    prompts: tuple[Prompt, ...]

    def answers(self) -> Iterator[tuple[str, str]]:
        """(run, prompt) of every answer."""
        return ((run.id, prompt.prompt_id) for run in self.runs for prompt in self.prompts)


def answered(folder: StudyFolder) -> set[tuple[str, str]]:
    """(run, prompt) of the answers that are in responses.jsonl."""
    return {(row["run"], row["prompt_id"]) for row in read_jsonl(folder.responses, RESPONSES)}


def begin_batches(
    folder: StudyFolder, runs: Sequence[Run], groups: Sequence[Sequence[Prompt]]
) -> list[AnswerBatch]:
    """The batches that are still to be made, whole: answers that an interruption left of one are removed."""
    there = answered(folder)
    known = {run.id: run for run in runs}
    planned = [
        (number, [run for run in names if run in known])
        for number, names in _remembered(folder)
        if 0 <= number < len(groups)
    ]
    covered = {(number, run) for number, names in planned for run in names}
    for number, group in enumerate(groups):
        lacking = [
            run
            for run in known
            if (number, run) not in covered and any((run, prompt.prompt_id) not in there for prompt in group)
        ]
        width = max(1, MOST_ANSWERS // len(group))
        planned += [(number, lacking[i : i + width]) for i in range(0, len(lacking), width)]
    write_json(
        folder.batches,
        {"schema": 1, "batches": [{"group": number, "runs": names} for number, names in planned]},
    )
    batches = [AnswerBatch(tuple(known[run] for run in names), tuple(groups[i])) for i, names in planned]
    batches = [batch for batch in batches if not there.issuperset(batch.answers())]
    redo = {key for batch in batches for key in batch.answers()}
    if redo & there:
        keep_jsonl(folder.responses, lambda row: (row["run"], row["prompt_id"]) not in redo, RESPONSES)
    return batches


def end_batches(folder: StudyFolder) -> None:
    """Forget the batches: all of them are done."""
    folder.batches.unlink(missing_ok=True)


def _remembered(folder: StudyFolder) -> list[tuple[int, list[str]]]:
    """Number of the group, and runs, of the batches that were under way."""
    stored = read_record(folder.batches, BATCHES)
    return [(batch["group"], batch["runs"]) for batch in stored.get("batches", ())]

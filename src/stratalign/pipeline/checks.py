"""What a recipe asks for that its model, its conditions, its steps or its folder cannot give.

Each check raises a UserError that says what to change. Checks that belong to one part of a plan stand with that part.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stratalign.errors import UserError
from stratalign.judging import compares_with_base
from stratalign.models import ModelShape
from stratalign.recipe import Recipe
from stratalign.records import LOGPROBS, MANIFEST, RESPONSES, STEPS, read_jsonl, read_record, told
from stratalign.training import Run

if TYPE_CHECKING:
    from stratalign.pipeline.planned import Plan
MOST_VISITS = 10_000_000
"""Training rows times epochs: their order is planned in memory, at some 60 bytes each."""


def check_length(recipe: Recipe, shape: ModelShape) -> None:
    """Raise a UserError where sequences may be longer than those whose log-probability is their own."""
    if shape.longest is not None and recipe.training.max_length > shape.longest:
        raise UserError(
            f"training.max_length is {recipe.training.max_length}, but beyond {shape.longest} tokens the rotary "
            f"embedding of the model in {shape.folder} follows the longest sequence of a batch, so that a pair's "
            f"log-probability would depend on the others. Set training.max_length to {shape.longest} or less."
        )


def check_base_is_there(recipe: Recipe, runs: Sequence[Run]) -> None:
    """Raise a UserError where answers are to be shown beside base's and there is no base."""
    if compares_with_base(recipe.judge) and not any(run.condition.name == "base" for run in runs):
        raise UserError(
            f"The protocol {recipe.judge.protocol!r} shows each answer beside base's, but no condition is named base. "
            "Add base to conditions, or use another protocol."
        )


def check_visits(pairs: int, epochs: int) -> None:
    """Raise a UserError where the order of the pairs would not fit into memory."""
    if pairs * epochs > MOST_VISITS:
        raise UserError(
            f"training.epochs is {epochs:,}: with {pairs:,} training rows that is {pairs * epochs:,} rows to "
            f"train on in all, and at most {MOST_VISITS:,} are planned. Lower epochs."
        )


def check_warmup(run: Run, steps: int) -> None:
    """The first step of a warm-up has rate 0 and moves nothing; LoRA's A gets a gradient only once B has moved."""
    if run.settings.warmup > 0 and steps < 3:
        raise UserError(
            f"With training.warmup: {run.settings.warmup:g} the first of {steps} optimizer steps has a learning rate "
            f"of 0, and the rest are too few to train condition {run.condition.name!r}. Give more pairs or epochs, "
            "smaller batches, or training.warmup: 0."
        )


def check_rows(plan: Plan) -> None:
    """Raise a UserError where a line file of the study has rows of a run or a prompt that the study does not have."""
    folder = plan.folder
    runs = {run.id for run in (*plan.runs, *plan.candidates)}
    runs |= (read_record(folder.manifest, MANIFEST).get("runs") or {}).keys()
    held_out = {tree.row_id for tree in plan.held_out_trees}
    validation = {tree.row_id for tree in plan.validation_trees}
    for file, kind, prompts in (
        (folder.training, STEPS, None),
        (folder.validation, LOGPROBS, validation),
        (folder.logprobs, LOGPROBS, held_out),
        (folder.responses, RESPONSES, held_out),
    ):
        for row in read_jsonl(file, kind):
            if row["run"] not in runs:
                unknown = f"the run {row['run']!r}, which {folder.manifest.name} does not have"
            elif prompts is not None and row["prompt_id"] not in prompts:
                unknown = f"the prompt {row['prompt_id']!r}, which the preferences do not have there"
            else:
                continue
            raise UserError(
                f"{file} has a row of {unknown}. Restore the file, or delete that line: what it recorded is then made "
                "again."
            )


def check_writable(out: Path) -> None:
    """Raise a UserError unless `out` can be made and written to; leaves nothing behind."""
    with told(out):
        parent = next(path for path in [out, *out.absolute().parents] if path.exists())
    if not parent.is_dir():
        raise UserError(f"Cannot write to {out}: {parent} is a file. Name another folder with --out.")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise UserError(f"Cannot write to {parent}: permission denied. Name another folder with --out.")
    with told(parent), tempfile.TemporaryFile(dir=parent, buffering=0) as probe:
        probe.write(b"x" * 4096)

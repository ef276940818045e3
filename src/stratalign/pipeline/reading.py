"""From a recipe's preferences to what runs learn from and are asked: parts, trees, prompts, what ends an answer.

Knows nothing of conditions but which branches they learn from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from stratalign.errors import StudyFailure, UserError
from stratalign.generation import Prompt
from stratalign.models import ModelShape
from stratalign.pipeline.limits import check_answers, check_readable, limit_of, only_readable
from stratalign.preferences import (
    Asked,
    BadRow,
    Habits,
    Preference,
    Preferences,
    Refused,
    Split,
    Tree,
    as_text,
    check_bad,
    describe,
    describe_template,
    leaks,
    prepare_template,
    prompt_ids,
    settle_template,
    split,
    tokenize,
    too_many_bad,
    without_rejected,
    writes_the_date,
)
from stratalign.recipe import Recipe
from stratalign.records import StudyFolder, append_jsonl, told
from stratalign.training import Run


def with_template(
    recipe: Recipe, rows: Sequence[Preference | Asked], tokenizer: PreTrainedTokenizerBase, today: str | None
) -> tuple[Recipe, Habits | None]:
    """The recipe with `preferences.template` settled and, where the chat template writes a date, `preferences.date`;
    the tokenizer is made to render accordingly. And what the template does, None where nothing is rendered.

    Raises:
        UserError: the chat template cannot be used.
    """
    settings = settle_template(recipe.preferences, rows, tokenizer)
    habits = None
    if settings.template != "raw" or any(row.kind == "messages" for row in rows):
        if not writes_the_date(tokenizer, settings):
            today = None
        settings = settings.model_copy(update={"date": settings.date or today})
        habits = prepare_template(tokenizer, settings)
    return recipe.model_copy(update={"preferences": settings}), habits


def read_preferences(
    recipe: Recipe,
    found: Preferences,
    tokenizer: PreTrainedTokenizerBase,
    shape: ModelShape,
    folder: StudyFolder,
    habits: Habits | None = None,
) -> tuple[Split, dict[str, Tree], tuple[BadRow, ...], dict[str, Any]]:
    """The parts of the preferences, the trees of all their rows by name, bad rows, and an account of all this."""
    settings, training = recipe.preferences, recipe.training
    limit = limit_of(training.max_length, shape)
    tokenized = tokenize(found.rows, tokenizer, settings, limit, training.on_long)
    tokenized = only_readable(tokenized, found.rows, tokenizer, shape)
    bad = (*found.bad, *tokenized.bad)
    if too_many_bad(bad, found.total, settings):
        write_bad_rows(folder, bad)
    try:
        check_bad(bad, found.total, settings, folder.bad_rows, found.columns)
    except UserError as error:
        if limit == training.max_length or all(row.reason != "too long" for row in bad):
            raise
        raise UserError(
            f"{error} Too long are rows of more than {limit} tokens, which is how many positions the model has."
        ) from None
    trees = {tree.row_id: tree for tree in tokenized.trees}
    parts = split([row for row in found.rows if row.row_id in trees], settings)
    if not parts.held_out:
        raise UserError(
            "preferences.held_out is 0, but the proof and the verdict need held-out rows. Ask for at least 1."
        )
    if leaks(parts):
        raise StudyFailure(f"The split leaks the clusters {', '.join(leaks(parts)[:5])}. Please report this.")
    about = describe(parts, found, tokenized.bad)
    return parts, trees, bad, about | {"template": describe_template(settings, found.rows, tokenizer, habits)}


def needed_branches(
    runs: Sequence[Run], train: tuple[Tree, ...], validation: tuple[Tree, ...], held_out: tuple[Tree, ...]
) -> tuple[tuple[Tree, ...], tuple[Tree, ...], tuple[Tree, ...]]:
    """Trees of one batch have as many branches as each other, and no more than some condition learns from.

    Validation and held-out pairs keep both responses, so that preferences can be measured whatever was trained.

    Raises:
        UserError: labels are to be shuffled where nothing is rejected.
    """
    trained = [run for run in runs if run.condition.trains]
    shuffling = next((run.id for run in trained if run.condition.labels == "shuffled"), None)
    if any(len(tree.branches) == 1 for tree in (*train, *validation, *held_out)):
        if shuffling is not None:
            raise UserError(
                f"Condition {shuffling!r} shuffles labels, but the preferences hold demonstrations, which have no "
                "rejected response to exchange. Leave it out, or give pairs."
            )
        alone = [tuple(map(without_rejected, part)) for part in (train, validation, held_out)]
        return alone[0], alone[1], alone[2]
    if trained and shuffling is None and all(run.settings.loss == "sft" for run in trained):
        return tuple(map(without_rejected, train)), validation, held_out
    return train, validation, held_out


def prompts_of(
    recipe: Recipe, rows: Sequence[Preference], tokenizer: PreTrainedTokenizerBase, shape: ModelShape
) -> tuple[Prompt, ...]:
    """The rows' prompts, as text and as tokens.

    Raises:
        UserError: the model cannot read one, or has no positions for the longest answer to it.
    """
    prompts = []
    for row in rows:
        ids = prompt_ids(row, tokenizer, recipe.preferences)
        try:
            check_readable(ids, tokenizer, shape)
        except Refused as refusal:
            raise UserError(
                f"The prompt of line {row.line}, as generation gets it, has a {refusal}. Give the tokenizer and chat "
                "template that belong to the model."
            ) from None
        prompts.append(Prompt(row.row_id, row.cluster, as_text(row.prompt), tuple(ids)))
    check_answers(prompts, recipe.generation.max_new_tokens, shape)
    return tuple(prompts)


def stop_texts(recipe: Recipe, rows: Sequence[Preference | Asked]) -> tuple[str, ...]:
    """The texts that end an answer to these prompts."""
    if recipe.generation.stop != "auto":
        return tuple(recipe.generation.stop)
    kinds = Counter(row.kind for row in rows)
    return ("\n\nHuman:",) if kinds["transcript"] and recipe.preferences.template == "raw" else ()


def write_bad_rows(folder: StudyFolder, bad: Sequence[BadRow]) -> None:
    """Replace bad_rows.jsonl with these rows."""
    with told(folder.bad_rows):
        folder.bad_rows.unlink(missing_ok=True)
    append_jsonl(folder.bad_rows, bad)

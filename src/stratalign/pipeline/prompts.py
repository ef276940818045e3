"""The prompts that are answered: of the held-out rows, or of a source of their own that `generation.prompts` names."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any, NamedTuple

from transformers import PreTrainedTokenizerBase

from stratalign.errors import UserError
from stratalign.generation import Prompt
from stratalign.microworld import NAME, people, requests
from stratalign.pipeline.reading import prompts_of
from stratalign.preferences import (
    Asked,
    BadRow,
    Preference,
    PreferenceSettings,
    Refused,
    Split,
    check_bad,
    load_prompts,
    prompt_ids,
    source_digest,
)
from stratalign.preferences.dialogues import cluster_of, first_human_turn
from stratalign.recipe import Recipe


class Answered(NamedTuple):
    """The rows that are asked, their prompts, and an account of a source of their own (None without one)."""

    rows: tuple[Preference | Asked, ...]
    prompts: tuple[Prompt, ...]
    about: dict[str, Any] | None


def study_prompts(recipe: Recipe, parts: Split, tokenizer: PreTrainedTokenizerBase) -> Answered:
    """What every run of a study answers. A prompt of a cluster that is trained on or validated on is left out.

    Raises:
        UserError: the source of prompts cannot be read, too many of its rows are bad, or none is left.
    """
    source = recipe.generation.prompts
    if source is None:
        held_out = tuple(parts.held_out)
        return Answered(held_out, prompts_of(recipe, held_out, tokenizer), None)
    rows, bad = asked_rows(recipe.preferences, source)
    rows = tuple(replace(row, row_id=f"asked-{row.row_id}") for row in rows)  # none is called as a pair is
    total = len(rows) + len(bad)
    seen = {
        name
        for part in (parts.train, parts.validation)
        for row in part
        for name in (row.cluster, cluster_of(first_human_turn(row.prompt, row.kind)))
    }
    kept = [row for row in rows if not seen & _clusters(row)]
    usable: list[Asked] = []
    refused: list[BadRow] = []
    for number, row in enumerate(kept, start=1):
        try:
            prompt_ids(row, tokenizer, recipe.preferences)
        except Refused as refusal:
            refused.append(BadRow(number, row.row_id, refusal.reason, refusal.detail))
        else:
            usable.append(row)
    check_bad([*bad, *refused], total, _settings(recipe.preferences, source))
    if not usable:
        raise UserError(
            f"No prompt of generation.prompts, {source}, is left: {len(rows) - len(kept)} are of clusters that are "
            f"trained on, {len(bad) + len(refused)} cannot be used. Give other prompts."
        )
    about = {
        "source": source,
        "prompts": len(usable),
        "trained_on": len(rows) - len(kept),
        "bad": dict(Counter(row.reason for row in (*bad, *refused))),
    }
    return Answered(tuple(usable), prompts_of(recipe, usable, tokenizer), about)


def asked_rows(settings: PreferenceSettings, source: str) -> tuple[tuple[Asked, ...], tuple[BadRow, ...]]:
    """The prompts of a source, each text once, and the rows without one; `microworld` has its own requests.

    Raises:
        UserError: the source is missing, damaged, empty or cannot be reached.
    """
    if source == NAME:
        known = people()
        return tuple(
            Asked(key, one.text, "text", one.person, known[one.person].part)
            for key, one in requests().items()
        ), ()
    return load_prompts(_settings(settings, source))


def prompts_digest(recipe: Recipe) -> str | None:
    """What changes when the source of prompts does; None without one."""
    source = recipe.generation.prompts
    if source is None or source == NAME:
        return source
    return source_digest(_settings(recipe.preferences, source))


def _settings(settings: PreferenceSettings, source: str) -> PreferenceSettings:
    return settings.model_copy(update={"source": source, "subset": None, "revision": None, "split": "train"})


def _clusters(row: Asked) -> set[str]:
    """Its cluster in every way that a row of the preferences may name it."""
    return {row.cluster, cluster_of(row.cluster), cluster_of(first_human_turn(row.prompt, row.kind))}

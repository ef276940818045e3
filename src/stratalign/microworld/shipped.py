"""What ships with the micro-world: its base model, preference sets and recipes, as files of this package."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from stratalign.errors import unknown_name

NAME = "microworld"
FOLDER = Path(__file__).parent / "shipped"
BASE = FOLDER / "base"
STUDY = FOLDER / "study.yaml"
"""The recipe of the demo."""


class PreferenceSet(NamedTuple):
    """A shipped preference set: the dimension it is meant to move, and what it is."""

    objective: str
    about: str


PREFERENCE_SETS = {
    "fluency": PreferenceSet("grammar", "answers of the base whose grammar differs and little else"),
    "coherence": PreferenceSet("coherence", "answers of the base whose coherence differs and little else"),
    "factuality": PreferenceSet("claim_accuracy", "answers of the base whose claims differ in truth"),
    "mixed": PreferenceSet("overall", "the best and the worst answer of the base, all dimensions together"),
    "minimal": PreferenceSet(
        "grammar", "the same answer with and without mistakes, not sampled: for looking at displacement"
    ),
}


def preference_file(name: str) -> Path:
    """The file of a preference set.

    Raises:
        UserError: there is no such set.
    """
    if name not in PREFERENCE_SETS:
        raise unknown_name("preference set of the micro-world", name, PREFERENCE_SETS)
    return FOLDER / "preferences" / f"{name}.jsonl"


def shipped_set(source: str) -> str | None:
    """`fluency` for the source `microworld:fluency`; None for any other source."""
    world, colon, name = source.partition(":")
    return name if world == NAME and colon else None

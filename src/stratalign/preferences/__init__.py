"""Preference pairs: from a source to clustered rows, whole-cluster splits and token trees.

Reads and divides texts; knows nothing of models, and gets its tokenizer handed in.
"""

from stratalign.preferences.dialogues import Asked, Dialogue, Kind, Preference, Refused, as_text
from stratalign.preferences.pairing import Choice, Scored, best_pairs, worth
from stratalign.preferences.reading import (
    BadRow,
    Preferences,
    check_bad,
    left_out,
    load,
    load_prompts,
    too_many_bad,
)
from stratalign.preferences.rendering import Renderer, Tokenizer, as_messages
from stratalign.preferences.settings import PairsSettings, PreferenceSettings
from stratalign.preferences.sources import read_rows, source_digest
from stratalign.preferences.splits import Split, leaks, split
from stratalign.preferences.summary import describe
from stratalign.preferences.templates import (
    Habits,
    describe_template,
    prepare_template,
    settle_template,
    writes_the_date,
)
from stratalign.preferences.tokenizing import (
    Tokenized,
    exchange_ids,
    prompt_ids,
    tokenize,
)
from stratalign.preferences.trees import Branch, OnLong, Tree, fit, grow, without_rejected

__all__ = [
    "Asked",
    "BadRow",
    "Branch",
    "Choice",
    "Dialogue",
    "Habits",
    "Kind",
    "OnLong",
    "PairsSettings",
    "Preference",
    "PreferenceSettings",
    "Preferences",
    "Refused",
    "Renderer",
    "Scored",
    "Split",
    "Tokenized",
    "Tokenizer",
    "Tree",
    "as_messages",
    "as_text",
    "best_pairs",
    "check_bad",
    "describe",
    "describe_template",
    "exchange_ids",
    "fit",
    "grow",
    "leaks",
    "left_out",
    "load",
    "load_prompts",
    "prepare_template",
    "prompt_ids",
    "read_rows",
    "settle_template",
    "source_digest",
    "split",
    "tokenize",
    "too_many_bad",
    "without_rejected",
    "worth",
    "writes_the_date",
]

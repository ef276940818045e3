"""Preference pairs: from a source to clustered rows, whole-cluster splits and token trees.

Reads and divides texts; knows nothing of models, and gets its tokenizer handed in.
"""

from stratalign.preferences.dialogues import Dialogue, Kind, Preference, Refused
from stratalign.preferences.reading import BadRow, Preferences, check_bad, load
from stratalign.preferences.settings import PreferenceSettings
from stratalign.preferences.sources import read_rows, source_digest
from stratalign.preferences.splits import Split, leaks, split
from stratalign.preferences.summary import describe
from stratalign.preferences.tokenizing import Tokenized, Tokenizer, prompt_ids, tokenize
from stratalign.preferences.trees import Branch, OnLong, Tree, fit, grow, without_rejected

__all__ = [
    "BadRow",
    "Branch",
    "Dialogue",
    "Kind",
    "OnLong",
    "Preference",
    "PreferenceSettings",
    "Preferences",
    "Refused",
    "Split",
    "Tokenized",
    "Tokenizer",
    "Tree",
    "check_bad",
    "describe",
    "fit",
    "grow",
    "leaks",
    "load",
    "prompt_ids",
    "read_rows",
    "source_digest",
    "split",
    "tokenize",
    "without_rejected",
]

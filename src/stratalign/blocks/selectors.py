"""Choosing modules by a number for each of them, wherever the numbers come from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import numpy as np

from stratalign.errors import UserError, unknown_name
from stratalign.records import keyed_seed

Signals = Mapping[str, Mapping[str, float]]
"""Signal -> module -> a number, larger where training matters more: what a diagnosis leaves for selectors."""


def ranked(scores: Mapping[str, float]) -> list[str]:
    """Names from the largest number to the smallest; equal ones stay in the order given."""
    return sorted(scores, key=lambda name: -scores[name])


def hard_mask(scores: Mapping[str, float], size: int) -> frozenset[str]:
    """The `size` names with the largest numbers."""
    return frozenset(ranked(scores)[:size])


def share_size(share: float, names: int) -> int:
    """How many of `names` a share of them is: the nearest whole number, halves up."""
    return math.floor(share * names + 0.5)


def keep_share(scores: Mapping[str, float], keep: float) -> frozenset[str]:
    """The top share of the names, at least one."""
    return hard_mask(scores, max(1, share_size(keep, len(scores))))


def drop_share(scores: Mapping[str, float], drop: float) -> frozenset[str]:
    """All names but the bottom share, at least one."""
    return hard_mask(scores, max(1, len(scores) - share_size(drop, len(scores))))


def shuffled_within(scores: Mapping[str, float], groups: Mapping[str, str], seed: int) -> dict[str, float]:
    """The numbers dealt out anew, at random, among the names of each group.

    Any top share of them has as many names of every group as the same share of the numbers as they were: what is left
    of a choice by them is chance alone.

    Args:
        groups: name -> its group; names without one stay as they are.
    """
    found = dict(scores)
    for group in dict.fromkeys(groups.values()):
        names = [name for name in scores if groups.get(name) == group]
        order = np.random.default_rng(keyed_seed("shuffled ranking", seed, group)).permutation(len(names))
        found |= {name: scores[names[other]] for name, other in zip(names, order, strict=True)}
    return found


def scores_by(
    name: str, selection: Mapping[str, Any], records: Mapping[str, Signals], out: str | None = None
) -> Mapping[str, float]:
    """The numbers that a condition `{by: RECORD, ...}` is chosen by.

    Args:
        name: of the condition, for messages.
        selection: as the recipe writes it; `signal` names one of the record's, the first if not given.
        records: the records that are there, by the name that the recipe gives them.
        out: the study's folder, for the command that makes a record.

    Raises:
        UserError: the record is not there, has no numbers for modules, or has no such signal.
    """
    by = selection["by"]
    if by not in records:
        raise UserError(
            f"Condition {name!r} is chosen by the record {by}, which is not there yet. "
            f"Make it first: {diagnose_command(by, out)}"
        )
    signals = records[by]
    if not signals:
        raise UserError(
            f"The record {by} of condition {name!r} has no numbers for modules to be chosen by. Use that of "
            "another diagnosis, such as diagnostics/significance.json."
        )
    signal = selection.get("signal", next(iter(signals)))
    if signal not in signals:
        raise unknown_name(f"signal of the record {by}", signal, signals, f"Condition {name!r} names it.")
    return signals[signal]


def diagnose_command(by: str, out: str | None = None) -> str:
    """The command that makes a record of this name: in the study's folder that the name says, or in `out`."""
    said = PurePath(by).parent.parent
    folder = out if said == PurePath() else str(said)
    where = "" if folder is None else f" --out {folder}"
    return f"stratalign diagnose {record_kind(by)} RECIPE.yaml{where}"


def record_kind(by: str) -> str:
    """The kind of diagnosis that a record's name says, diagnostics/KIND.json or KIND@NAME.json."""
    return by.rsplit("/", 1)[-1].removesuffix(".json").partition("@")[0]

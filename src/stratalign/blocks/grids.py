"""Grids: the learning rates and ranks that a recipe asks to try for a condition, under `tune`.

Reads the form in a condition and the section for several conditions. Knows nothing of training, losses or data: a
combination of values is a mapping of training keys like any other override.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stratalign.errors import UserError, unknown_name

TUNED_KEYS = ("learning_rate", "rank")
"""What can be tuned: a loss on validation rows means the same whatever these are. Under another beta it does not."""
MOST_VALUES = 1_000
CRITERIA = ("loss", "margin", "accuracy")


@dataclass(frozen=True)
class Grid:
    """The values to try, of every combination of which one candidate is trained, and what decides between them.

    A value of `learning_rate` is a number, or one for each block: (("local", 1e-5), ("global", 5e-6)).
    """

    by: str
    values: Mapping[str, tuple[Any, ...]]

    @property
    def size(self) -> int:
        """How many combinations there are."""
        return math.prod(map(len, self.values.values()))

    def combinations(self) -> list[dict[str, Any]]:
        """Every combination as overrides of training keys."""
        return [
            {key: _plain(value) for key, value in zip(self.values, chosen, strict=True)}
            for chosen in itertools.product(*self.values.values())
        ]


def read_grid(path: str, written: object) -> Grid:
    """Read what stands under `path`, such as {learning_rate: [5e-6, 1e-5], rank: [8, 16], by: loss}.

    Raises:
        UserError: an unknown key, nothing to try, an empty list, or a value that is no learning rate or rank.
    """
    if not isinstance(written, Mapping):
        raise UserError(f"{path} must be a mapping such as {{learning_rate: [5e-6, 1e-5]}}, got {written!r}.")
    for key in written:
        if key not in (*TUNED_KEYS, "by"):
            known = (*(("conditions",) if path == "tune" else ()), *TUNED_KEYS, "by")
            raise unknown_name(f"key {path}", key, known)
    by = written.get("by", "loss")
    if by not in CRITERIA:
        raise unknown_name(f"value of {path}.by", by, CRITERIA)
    values: dict[str, tuple[Any, ...]] = {}
    rates = written.get("learning_rate")
    if isinstance(rates, Mapping):
        each = [
            [(block, rate) for rate in _rates(f"{path}.learning_rate.{block}", rates[block])]
            for block in rates
        ]
        if math.prod(map(len, each)) > MOST_VALUES:
            raise UserError(f"{path}.learning_rate has more than {MOST_VALUES:,} combinations. Take fewer.")
        values["learning_rate"] = tuple(itertools.product(*each))
    elif "learning_rate" in written:
        values["learning_rate"] = _rates(f"{path}.learning_rate", rates)
    if "rank" in written:
        values["rank"] = _ranks(f"{path}.rank", written["rank"])
    if not values or not all(values.values()):
        raise UserError(
            f"{path} gives nothing to try. Give lists of {' and '.join(TUNED_KEYS)}, or one of them."
        )
    return Grid(by, values)


def with_section(
    entries: Sequence[tuple[str, Mapping[str, Any]]], section: object
) -> list[tuple[str, dict[str, Any]]]:
    """Conditions with the recipe's section `tune` written into those that it names.

    Args:
        entries: names and settings, as the recipe has them.
        section: {conditions: [full, mid], learning_rate: [...], rank: [...]}, or None.

    Raises:
        UserError: the section names no condition, an unknown one, or one that has a grid of its own.
    """
    if section is None:
        return [(name, dict(settings)) for name, settings in entries]
    named = section.get("conditions") if isinstance(section, Mapping) else None
    if not isinstance(section, Mapping) or not isinstance(named, list) or not named:
        raise UserError(
            "`tune` must name conditions and give values to try, such as "
            f"{{conditions: [full, mid], learning_rate: [5e-6, 1e-5]}}, got {section!r}."
        )
    grid = {key: value for key, value in section.items() if key != "conditions"}
    read_grid("tune", grid)
    known = [name for name, _ in entries]
    for name in named:
        if name not in known:
            raise unknown_name("condition in tune.conditions", name, known)
    for name, settings in entries:
        if name in named and "tune" in settings:
            raise UserError(f"Both `tune` and conditions.{name}.tune give values to try. Keep one of them.")
    return [
        (name, {**settings, "tune": grid} if name in named else dict(settings)) for name, settings in entries
    ]


def _rates(path: str, written: object) -> tuple[float, ...]:
    rates = _listed(path, written)
    for rate in rates:
        if (
            isinstance(rate, bool)
            or not isinstance(rate, (int, float))
            or not (rate > 0 and math.isfinite(rate))
        ):
            raise UserError(f"{path} must hold finite numbers above 0, got {rate!r}.")
    return tuple(map(float, rates))


def _ranks(path: str, written: object) -> tuple[int, ...]:
    ranks = _listed(path, written)
    for rank in ranks:
        if isinstance(rank, bool) or not isinstance(rank, int) or rank < 1:
            raise UserError(f"{path} must hold whole numbers from 1, got {rank!r}.")
    return tuple(ranks)


def _listed(path: str, written: object) -> list[Any]:
    if not isinstance(written, list):
        raise UserError(f"{path} must be a list of values to try, got {written!r}.")
    if not written:
        raise UserError(f"{path} is an empty list: there is no value to try.")
    if len(set(map(str, written))) != len(written):
        raise UserError(f"{path} holds a value twice: {written}.")
    return written


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, tuple) else value

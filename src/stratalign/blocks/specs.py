"""Condition specs: what a recipe writes under `conditions`, lists of values turned into one condition each.

Reads the short and the long form. Knows nothing of layers, weights, losses or data: overrides of training keys
are carried along, and checked by whoever owns those keys.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stratalign.blocks.grids import Grid, read_grid, with_section
from stratalign.errors import UserError, unknown_name
from stratalign.records import SAFE_NAME

MOST_CONDITIONS = 1_000
WAYS = ("block", "blocks", "layers", "random", "phases", "by")
SHARES = ("keep", "drop", "parameters")
"""Of a record's modules, the top share that trains, or the bottom share that does not; or the share of full's adapter
parameters that the best modules may have. A list makes one condition each."""
BUDGETS = (*SHARES, "arithmetic")
EVEN, RANDOM = "even", "random"
PLACES = (EVEN, RANDOM)
"""Values of `by` that need no record: layers at even distances, and modules drawn at random."""
UNITS = ("module", "layer")
OF_BY = ("signal", "ranking", "unit", "draw", *BUDGETS)
"""Keys that only a condition with `by` has."""
EXTRAS = ("seed", "contiguous", "parameters_like", "labels", "sampling_seed", *OF_BY)
LABELS = ("given", "shuffled")
SHUFFLED = "shuffled"
"""The value of `ranking` that deals a record's numbers out at random among modules of each kind: the control."""
LIST_KEYS = ("targets", "betas")
"""Training keys whose value is itself a list: a list of lists makes one condition each."""


@dataclass(frozen=True)
class ConditionSpec:
    """One condition as the recipe writes it, value lists expanded: selection, and overrides of training keys.

    `tune` holds the values to try where the condition is to be tuned on validation.
    """

    name: str
    selection: Mapping[str, Any]
    overrides: Mapping[str, Any] = field(default_factory=dict)
    tune: Grid | None = None

    @property
    def labels(self) -> str:
        return str(self.selection.get("labels", "given"))

    def candidates(self) -> list[ConditionSpec]:
        """One condition for each combination of the values to try, named by them (`mid-0.00075-16`); none without."""
        combinations = self.tune.combinations() if self.tune else []
        return [
            ConditionSpec(_named(self.name, values.values()), self.selection, {**self.overrides, **values})
            for values in combinations
        ]


def draws_modules(selection: Mapping[str, Any]) -> bool:
    """Whether a condition's modules are drawn: among all, or as a record's ranking dealt out anew."""
    return selection.get("by") == RANDOM or selection.get("ranking") == SHUFFLED


def expand_conditions(
    written: object, override_keys: Sequence[str], tune: object = None
) -> list[ConditionSpec]:
    """Read `conditions` of a recipe: a list of names and one-key mappings, or a mapping of name to settings.

    Args:
        written: the recipe's `conditions`.
        override_keys: the training keys that a condition may give values of its own.
        tune: the recipe's section `tune`, None without one.

    Raises:
        UserError: an unsafe or repeated name (also when only the case differs, and of a candidate), an unknown key, or
            a condition without exactly one way of selecting layers.
    """
    specs: list[ConditionSpec] = []
    entries = _entries(written)
    _refuse_many(len(entries))
    for name, settings in with_section(entries, tune):
        for full_name, values in _sweep(name, settings):
            specs.append(_spec(full_name, values, override_keys))
        _refuse_many(len(specs))
    if not specs:
        raise UserError("`conditions` is empty. The paper's five are [base, full, local, mid, global].")
    _refuse_many(sum(1 + (0 if spec.tune is None else spec.tune.size) for spec in specs))
    seen: dict[str, str] = {}
    for one in [each for spec in specs for each in (spec, *spec.candidates())]:
        _check_name(one.name)
        other = seen.get(one.name.casefold())
        if other is not None:
            same = "twice" if other == one.name else f"beside {other!r}, which differs only in case"
            raise UserError(
                f"Condition {one.name!r} is named {same}. Names become folders: make them distinct."
            )
        seen[one.name.casefold()] = one.name
    return specs


def _entries(written: object) -> list[tuple[str, Mapping[str, Any]]]:
    if isinstance(written, Mapping):
        pairs: list[tuple[Any, Any]] = list(written.items())
    elif isinstance(written, (list, tuple)):
        pairs = []
        for item in written:
            pairs.extend(item.items() if isinstance(item, Mapping) else [(item, None)])
    else:
        raise UserError(f"`conditions` must be a list of names or a mapping, got {written!r}.")
    entries: list[tuple[str, Mapping[str, Any]]] = []
    for name, settings in pairs:
        if settings is not None and not isinstance(settings, Mapping):
            raise UserError(f"conditions.{name} must be a mapping such as {{block: mid}}, got {settings!r}.")
        if not isinstance(name, str) or not SAFE_NAME.fullmatch(name):
            raise UserError(
                f"{name!r} cannot name a condition: it becomes a folder. Use letters, digits and . _ - = +, "
                "starting with a letter or digit, at most 100 characters (quote names that YAML reads as numbers)."
            )
        entries.append((name, settings if settings else {"block": "none" if name == "base" else name}))
    return entries


def _sweep(name: str, settings: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """One condition for each combination of listed values; the values are appended to the name."""
    listed = {
        key: value
        for key, value in settings.items()
        if (key in (*BUDGETS, "seed", "draw") or key not in (*WAYS, *EXTRAS))
        and isinstance(value, list)
        and (key not in LIST_KEYS or (value and isinstance(value[0], list)))
    }
    if not listed:
        return [(name, settings)]
    for key, value in listed.items():
        if not value:
            raise UserError(f"conditions.{name}.{key} is an empty list: there is no value to try.")
    _refuse_many(math.prod(len(value) for value in listed.values()), f"conditions.{name}")
    return [
        (
            _named(name, values),
            {**settings, **dict(zip(listed, values, strict=True))},
        )
        for values in itertools.product(*listed.values())
    ]


def _refuse_many(count: int, who: str = "The recipe") -> None:
    if count > MOST_CONDITIONS:
        raise UserError(
            f"{who} asks for {count:,} conditions, those to be tuned counted once for every combination of values; a "
            f"study has at most {MOST_CONDITIONS:,}. Take fewer."
        )


def _named(name: str, values: Iterable[object]) -> str:
    return "-".join([name, *map(_value_name, values)])


def _value_name(value: object) -> str:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return "+".join(_value_name(item) for item in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _check_name(name: str) -> None:
    if not SAFE_NAME.fullmatch(name):
        raise UserError(
            f"{name!r}, made from a list of values, cannot name a folder. Write these conditions out."
        )


def _spec(name: str, settings: dict[str, Any], override_keys: Sequence[str]) -> ConditionSpec:
    _check_name(name)
    known = (*WAYS, *EXTRAS, "tune", *override_keys)
    for key in settings:
        if key not in known:
            raise unknown_name(f"key conditions.{name}", key, known)
    ways = [key for key in WAYS if key in settings]
    if len(ways) != 1:
        raise UserError(
            f"Condition {name!r} must select layers in exactly one way, got {', '.join(ways) or 'none'}. "
            f"Known: {', '.join(WAYS)}."
        )
    for key, owner in (("contiguous", "random"), *((key, "by") for key in OF_BY)):
        if key in settings and owner not in settings:
            raise UserError(
                f"conditions.{name}.{key} belongs to `{owner}`, which this condition does not use."
            )
    if "seed" in settings and not {"random", "ranking"} & set(settings) and settings.get("by") != RANDOM:
        raise UserError(
            f"conditions.{name}.seed belongs to `random` or `ranking`, which this condition does not use."
        )
    if "by" in settings:
        _check_by(name, settings)
    if settings.get("labels", "given") not in LABELS:
        raise unknown_name(f"value of conditions.{name}.labels", settings["labels"], LABELS)
    if not is_count(settings.get("sampling_seed", 0), least=0):
        raise UserError(
            f"conditions.{name}.sampling_seed must be a whole number from 0, got {settings['sampling_seed']!r}."
        )
    selection = {key: value for key, value in settings.items() if key in (*WAYS, *EXTRAS)}
    overrides = {key: value for key, value in settings.items() if key not in (*selection, "tune")}
    return ConditionSpec(name, selection, overrides, _grid(name, settings))


def _grid(name: str, settings: Mapping[str, Any]) -> Grid | None:
    if "tune" not in settings:
        return None
    grid = read_grid(f"conditions.{name}.tune", settings["tune"])
    twice = next((key for key in grid.values if key in settings), None)
    if twice is not None:
        raise UserError(f"conditions.{name} gives both {twice} and values of it to try. Keep one of them.")
    if "rank" in grid.values and "parameters_like" in settings:
        raise UserError(f"conditions.{name} gives both ranks to try and `parameters_like`. Keep one of them.")
    if settings.get("labels", "given") != "given":
        raise UserError(
            f"conditions.{name} has shuffled labels, so it has nothing to be tuned to. Give it the values of the "
            "condition that it is held against."
        )
    return grid


def _check_by(name: str, settings: Mapping[str, Any]) -> None:
    by = settings["by"]
    given = [key for key in SHARES if key in settings]
    if by in PLACES:
        _check_place(name, settings)
    elif not isinstance(by, str) or len(given) != 1:
        raise UserError(
            f"conditions.{name} is chosen by a record: name its file and either the share to keep or the one to drop, "
            "such as {by: diagnostics/significance.json, keep: 0.25}, or the share of full's parameters that it may "
            "have, such as {by: diagnostics/significance.json, parameters: 0.25}."
        )
    if "arithmetic" in settings and "drop" in settings:
        raise UserError(
            f"conditions.{name} gives both `drop` and `arithmetic`. Say how much is to be chosen with `keep` or "
            "`parameters` instead."
        )
    if settings.get("ranking", SHUFFLED) != SHUFFLED:
        raise unknown_name(f"value of conditions.{name}.ranking", settings["ranking"], [SHUFFLED])
    if settings.get("unit", UNITS[0]) not in UNITS:
        raise unknown_name(f"value of conditions.{name}.unit", settings["unit"], UNITS)
    for key in BUDGETS:
        share = settings.get(key, 0.5)
        if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 < share < 1:
            raise UserError(f"conditions.{name}.{key} must be a share between 0 and 1, got {share!r}.")


def _check_place(name: str, settings: Mapping[str, Any]) -> None:
    """A choice without a record has a budget of parameters, and nothing that a record would say."""
    by = settings["by"]
    foreign = [key for key in ("keep", "drop", "signal", "ranking") if key in settings]
    if foreign or "parameters" not in settings:
        raise UserError(
            f"conditions.{name} is chosen by {by}, which is no record: give it the share of full's parameters, such as "
            f"{{by: {by}, parameters: 0.25}}{f', and leave out {foreign[0]}' if foreign else ''}."
        )
    if by != RANDOM and "draw" in settings:
        raise UserError(
            f"conditions.{name}.draw belongs to `by: {RANDOM}`, which this condition does not use."
        )
    for key in ("draw", "seed"):
        if not is_count(settings.get(key, 0), least=0):
            raise UserError(f"conditions.{name}.{key} must be a whole number from 0, got {settings[key]!r}.")


def needs_record(spec: ConditionSpec) -> bool:
    """Whether a record says which modules the condition trains."""
    return "by" in spec.selection and spec.selection["by"] not in PLACES


def names_block(spec: ConditionSpec) -> bool:
    """Whether the condition cannot be resolved without the partition: it names a block of it."""
    parts = [part for part in spec.selection.get("phases") or () if isinstance(part, Mapping)]
    values = [
        part.get(key) for part in (spec.selection, *parts) for key in ("block", "parameters_like", "random")
    ]
    named = [value for value in values if isinstance(value, str) and value not in ("full", "none")]
    return bool(named) or any(part.get("blocks") for part in (spec.selection, *parts))


def is_count(value: object, least: int) -> bool:
    """Whether a recipe's value is a whole number of at least `least`; true and false are no numbers."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least

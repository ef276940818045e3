"""A user's own scorer: a function of prompts and responses, found by its dotted path.

    def score(prompts: list[str], responses: list[str]) -> list[float | None]

or, for several dimensions, a mapping of name to such a list. Its attribute `dimensions`, if it has one, says what
they are called and which direction is better. Whatever it gets wrong is told under its name.
"""

from __future__ import annotations

import inspect
import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from stratalign.dotted import call_function, import_function, returned_by
from stratalign.errors import UserError, unknown_name
from stratalign.records import Dimension, file_digest
from stratalign.scorers.scorer import Exchange, Scorer, Values
from stratalign.scorers.settings import ScorerSettings

ABOUT = "scored by the function {}"


def own_scorer(settings: ScorerSettings) -> Scorer:
    """The scorer of a function; imports its module.

    Its identity is the function's path and the bytes of the file that it stands in, so scores are made anew when
    that file changes; of what the file imports, nothing is known.

    Raises:
        UserError: there is no such function, or its attribute `dimensions` cannot be read.
    """
    path = str(settings.function)
    function = import_function("scorer", path)
    declared = _declared(function, path)

    def score(exchanges: Sequence[Exchange]) -> Values:
        prompts, responses = [one.asked for one in exchanges], [one.response for one in exchanges]
        advice = "; what it scored before is kept"
        returned = call_function("scorer", path, function, prompts, responses, advice=advice)
        with returned_by(function):
            return _checked(returned, path, len(exchanges), declared)

    identity = {"function": path, "source": _source_digest(function)}
    return Scorer(settings.called, identity, declared, score)


def _source_digest(function: Callable[..., Any]) -> str | None:
    """SHA-256 of the file that the function stands in; None for one that has no file."""
    try:
        file = inspect.getsourcefile(inspect.unwrap(function))
    except TypeError:  # an object that can be called
        file = inspect.getsourcefile(type(function))
    return file_digest(Path(file)) if file is not None and Path(file).is_file() else None


def _declared(function: Callable[..., Any], path: str) -> tuple[Dimension, ...] | None:
    """What `function.dimensions` says: a list of names, or a mapping of name to unit, better, about and category.

    Without it there is one dimension, called like the function, or those of the mapping that it returns.
    """
    given = getattr(function, "dimensions", None)
    if given is None:
        return None
    if isinstance(given, (list, tuple)) and all(isinstance(name, str) for name in given):
        given = {name: {} for name in given}
    if not isinstance(given, Mapping) or not given:
        raise UserError(
            f"{path}.dimensions must be a list of names, or a mapping such as "
            f"{{'politeness': {{'better': 'higher', 'unit': 'points'}}}}, got {given!r}."
        )
    return tuple(_dimension(name, settings, path) for name, settings in given.items())


def _dimension(name: object, given: object, path: str) -> Dimension:
    known = [field.name for field in fields(Dimension)][1:]
    if not isinstance(name, str) or not name.strip() or not isinstance(given, Mapping):
        raise UserError(
            f"{path}.dimensions: {name!r}: {given!r} is no dimension. Its keys: {', '.join(known)}."
        )
    for key in given:
        if key not in known:
            raise unknown_name(f"key in {path}.dimensions[{name!r}]", key, known)
    settings = {"unit": "", "better": "higher", "about": ABOUT.format(path), **given}
    if settings["better"] not in ("higher", "lower", None):
        raise UserError(
            f"{path}.dimensions[{name!r}]: better must be 'higher', 'lower' or None, got {settings['better']!r}."
        )
    return Dimension(name, **{key: value if value is None else str(value) for key, value in settings.items()})  # type: ignore[arg-type]


def _checked(returned: object, path: str, count: int, declared: tuple[Dimension, ...] | None) -> Values:
    """What a function returned, as finite numbers and None.

    Raises:
        UserError: it is of another type, has another length or other names, or holds something that is no number.
    """
    if not isinstance(returned, Mapping):
        only = declared[0].name if declared and len(declared) == 1 else path.rpartition(":")[2]
        if declared is not None and len(declared) > 1:
            names = ", ".join(dimension.name for dimension in declared)
            raise UserError(
                f"The scorer {path!r} declares the dimensions {names}, but returned {type(returned).__name__}. "
                "Return a mapping of each name to a list."
            )
        returned = {only: returned}
    if declared is not None and set(returned) != {dimension.name for dimension in declared}:
        raise UserError(
            f"The scorer {path!r} returned the dimensions {', '.join(map(str, returned)) or 'none'}, but declares "
            f"{', '.join(dimension.name for dimension in declared)}. Make them the same."
        )
    if not returned or not all(isinstance(name, str) and name.strip() for name in returned):
        raise UserError(
            f"The scorer {path!r} returned a mapping with the keys {list(returned)!r}; it must name its dimensions."
        )
    return {name: _numbers(values, f"{path!r} ({name})", count) for name, values in returned.items()}


def _numbers(values: object, who: str, count: int) -> list[float | None]:
    if hasattr(values, "tolist"):  # an array or a tensor
        values = values.tolist()
    if not isinstance(values, (list, tuple)):
        raise UserError(
            f"The scorer {who} returned {type(values).__name__}. Return a list with one number, or None, for each "
            "response."
        )
    if len(values) != count:
        raise UserError(
            f"The scorer {who} returned {len(values)} values for {count} responses. Return one for each."
        )
    found: list[float | None] = []
    for place, value in enumerate(values):
        if value is not None and not _finite(value):
            raise UserError(
                f"The scorer {who} returned {value!r} for response {place + 1} of {count}. Return a finite number, or "
                "None where there is no value."
            )
        found.append(None if value is None else float(value))
    return found


def _finite(value: object) -> bool:
    try:
        return isinstance(value, numbers.Real) and math.isfinite(value)
    except OverflowError:  # a whole number beyond any float
        return False

"""A user's own functions, which a recipe names as `module:function`: imported and called, with errors in their name.

Whatever such a function gets wrong is the user's error: it is told with the function's name and the line, without a
traceback.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stratalign.errors import UserError, visible

NO_CODE = "STRATALIGN_NO_CODE"
"""An environment variable: while it is set, and not empty, no code that a recipe names is imported."""

announced: set[str] = set()
"""What has been announced already, by name and file."""


def refuse_code(what: str) -> None:
    """Raise a UserError where the user allows no code that a recipe names.

    Args:
        what: what would run, such as "The scorer 'my_lab.scores:length'".
    """
    if os.environ.get(NO_CODE):
        raise UserError(
            f"{what} is code that this recipe would run, and --no-code (or {NO_CODE}) forbids it. Read the code, then "
            "run the command without it, or take it out of the recipe."
        )


def announce_code(what: str, file: Path | None) -> None:
    """Say on standard error, once, which code a recipe runs, before it is imported."""
    line = f"This recipe runs code: {what}, {file or 'whose file cannot be found'}"
    if line not in announced:
        announced.add(line)
        print(visible(line), file=sys.stderr)


def is_dotted(name: str) -> bool:
    """Whether `name` reads module:function."""
    module, colon, function = name.partition(":")
    return bool(colon) and all(part.isidentifier() for part in module.split(".")) and function.isidentifier()


def import_function(kind: str, name: str) -> Callable[..., Any]:
    """The function that `module:function` names; `kind` is what messages call it, such as "partition".

    Raises:
        UserError: there is no such module or function, the module fails when it is imported, or it is no function.
    """
    if not is_dotted(name):
        raise UserError(f"The {kind} {name!r} must read module:function, such as my_lab.parts:halves.")
    module, _, function = name.partition(":")
    refuse_code(f"The {kind} {name!r}")
    if module.partition(".")[0] in sys.stdlib_module_names:
        raise UserError(f"The {kind} {name!r} belongs to Python itself. Name a function of your own.")
    announce_code(f"{kind} {name}", _file_of(module))
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise UserError(f"Cannot import the {kind} {name!r}: {error}. Is its folder on PYTHONPATH?") from None
    except (Exception, SystemExit) as error:
        raise UserError(
            f"Cannot import the {kind} {name!r}: its module raises {_said(error)}. Fix it there."
        ) from error
    if not callable(found):
        raise UserError(f"The {kind} {name!r} is not a function but {type(found).__name__}.")
    if inspect.isbuiltin(found):
        raise UserError(f"The {kind} {name!r} is not written in Python. Name a function of your own.")
    called: Callable[..., Any] = found
    return called


def _file_of(module: str) -> Path | None:
    """Where a module lies, found without running any of its code: what its outermost package says."""
    outermost, *inner = module.split(".")
    try:
        found = importlib.util.find_spec(outermost)
    except (ImportError, ValueError):
        return None
    if found is None:
        return None
    for folder in found.submodule_search_locations or ():
        place = Path(folder, *inner)
        for file in (place.with_suffix(".py"), place / "__init__.py"):
            if file.is_file():
                return file
    return Path(found.origin) if found.origin else None


def call_function(
    kind: str, name: str, function: Callable[..., Any], *arguments: Any, advice: str = ""
) -> Any:
    """What the user's function returns.

    Args:
        kind: what messages call it.
        name: its `module:function`.
        function: the function.
        arguments: what it is called with.
        advice: what to do after an error, beside fixing the function.

    Raises:
        UserError: it raised something.
    """
    try:
        return function(*arguments)
    except (Exception, SystemExit) as error:
        raise UserError(f"The {kind} {name!r} raised {_said(error)}. Fix the function{advice}.") from error


@contextmanager
def returned_by(function: Callable[..., Any]) -> Iterator[None]:
    """Adds where `function` is defined to a user's error about what it returned."""
    try:
        yield
    except UserError as error:
        place = _defined_at(function)
        raise UserError(f"{error} The function is in {place}." if place else str(error)) from None


def _said(error: BaseException) -> str:
    """'ValueError: no such word (parts.py, line 3: raise ValueError(...))': the innermost line of the user's file."""
    said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename not in (__file__, importlib.__file__) and not frame.filename.startswith("<frozen ")
    ]
    if not frames:  # a syntax error, which says its line, or wrong arguments
        return said
    last = [frame for frame in frames if frame.filename == frames[0].filename][-1]
    return f"{said} ({Path(last.filename).name}, line {last.lineno}: {last.line})"


def _defined_at(function: Callable[..., Any]) -> str:
    try:
        file = inspect.getsourcefile(function)
        _, line = inspect.getsourcelines(function)
    except (TypeError, OSError):
        return ""  # an object that can be called, or a function without a file
    return f"{Path(str(file)).name}, line {line}"

"""Functions that a recipe names as `module:function`: the user's own. Knows nothing of what they are for."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from stratalign.errors import UserError


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
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise UserError(f"Cannot import the {kind} {name!r}: {error}. Is its folder on PYTHONPATH?") from None
    except Exception as error:
        raise UserError(
            f"Cannot import the {kind} {name!r}: its module raises {type(error).__name__}: {error}. Mend it there."
        ) from error
    if not callable(found):
        raise UserError(f"The {kind} {name!r} is no function but {type(found).__name__}.")
    called: Callable[..., Any] = found
    return called

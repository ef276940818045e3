"""Numbers of a recipe that are none: true where a number stands, nan and infinity. Pydantic lets them pass.

Goes through the settings as their classes declare them. Knows nothing of what a setting means.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

LARGEST = 2**63 - 1
_ENDLESS = ("nan", "inf", "infinity")


def unsound_numbers(settings: type[BaseModel], written: object, path: str = "") -> Iterator[str]:
    """A sentence for every value that stands where a number is wanted and is none."""
    if isinstance(written, Mapping):
        for name, field in settings.model_fields.items():
            if name in written:
                yield from _unsound(field.annotation, written[name], f"{path}.{name}" if path else name)


def _unsound(kind: Any, written: object, path: str) -> Iterator[str]:
    kinds = list(_alternatives(kind))
    for one in kinds:
        if isinstance(one, type) and issubclass(one, BaseModel):
            yield from unsound_numbers(one, written, path)
        elif get_origin(one) in (list, tuple) and isinstance(written, (list, tuple)):
            for place, part in enumerate(written):
                yield from _unsound(get_args(one)[0], part, f"{path}[{place}]")
        elif get_origin(one) is dict and isinstance(written, Mapping):
            for key, part in written.items():
                yield from _unsound(get_args(one)[1], part, f"{path}.{key}")
    if str in kinds or not {int, float} & set(kinds):
        return
    if isinstance(written, bool) and bool not in kinds:
        yield f"{path} must be a number, got {str(written).lower()}."
    elif isinstance(written, (float, str)) and str(written).strip(" +-").lower() in _ENDLESS:
        yield f"{path} must be a finite number, got {written}."
    elif isinstance(written, int) and abs(written) > LARGEST:
        yield f"{path} must be a number of at most 64 bits."


def _alternatives(kind: Any) -> Iterator[Any]:
    """The kinds of a union, one after the other; of any other kind itself."""
    if get_origin(kind) in (Union, UnionType):
        for one in get_args(kind):
            yield from _alternatives(one)
    elif get_origin(kind) is Annotated:
        yield from _alternatives(get_args(kind)[0])
    elif get_origin(kind) is not Literal:
        yield kind

"""YAML as people mean it: no key twice, 1e-5 is a number, and a file that asks for more memory or time than a file
written by hand needs is an error. Knows nothing of what a file says."""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from stratalign.errors import UserError

LARGEST_FILE = 1_000_000
MOST_VALUES = 20_000
DEEPEST = 50
_LARGEST_INT = 2**63 - 1


class StrictLoader(yaml.SafeLoader):
    """YAML without silent surprises: a key given twice is an error, and 1e-5 is a number; at most `MOST_VALUES` values,
    those that aliases repeat counted again, in at most `DEEPEST` levels."""

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self._counts: list[int] = []  # of the nodes being composed, the values in them so far
        self._sizes: dict[int, int] = {}  # node -> the values in it

    def compose_node(self, parent: Any, index: Any) -> Any:
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        repeats = self.check_event(yaml.AliasEvent)
        if len(self._counts) == DEEPEST:
            raise yaml.composer.ComposerError(
                None, None, f"more than {DEEPEST} levels of lists and mappings", mark
            )
        self._counts.append(1)
        node = super().compose_node(parent, index)
        count = self._counts.pop()
        if not repeats:
            self._sizes[id(node)] = count
        elif id(node) in self._sizes:
            count = self._sizes[id(node)]
        else:
            raise yaml.composer.ComposerError(None, None, "an alias of what it stands in", mark)
        if self._counts:
            self._counts[-1] += count
            if self._counts[-1] > MOST_VALUES:
                raise yaml.composer.ComposerError(None, None, f"more than {MOST_VALUES:,} values", mark)
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key!r} cannot be a key", key_node.start_mark
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} is given twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def _checked(what: str, construct: Any) -> Any:
    """A constructor of scalars whose failures are errors of YAML; a whole number must fit into 64 bits."""

    def constructed(loader: StrictLoader, node: Any) -> Any:
        try:
            value = construct(loader, node)
            sound = not isinstance(value, int) or abs(value) <= _LARGEST_INT
        except (ValueError, OverflowError):
            sound = False
        if not sound:
            raise yaml.constructor.ConstructorError(
                None, None, f"{str(node.value)[:40]!r} is not a {what}", node.start_mark
            )
        return value

    return constructed


for _tag, _what, _construct in (
    ("int", "whole number of at most 64 bits", yaml.SafeLoader.construct_yaml_int),
    ("float", "number", yaml.SafeLoader.construct_yaml_float),
    ("timestamp", "date", yaml.SafeLoader.construct_yaml_timestamp),
):
    StrictLoader.add_constructor(f"tag:yaml.org,2002:{_tag}", _checked(_what, _construct))

# YAML 1.1 reads 1e-5 as text, because it has no dot; everyone in this field means the number
StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(?:\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def read_mapping(file: Path, what: str, *, keys: str, missing: str) -> dict[Any, Any]:
    """A YAML file that holds a mapping.

    Args:
        file: where it is.
        what: what it is, such as "recipe".
        keys: some of its keys, for whoever gives something else.
        missing: what to do where it does not exist.

    Raises:
        UserError: the file cannot be read, is too large, or is no YAML mapping.
    """
    try:
        with file.open("rb") as opened:
            stored = opened.read(LARGEST_FILE + 1)
        if len(stored) > LARGEST_FILE:
            raise UserError(
                f"{file} is larger than {LARGEST_FILE:,} bytes, which no {what} is. Check the path."
            )
        written = yaml.load(stored.decode("utf-8"), Loader=StrictLoader)
    except FileNotFoundError:
        raise UserError(f"The {what} {file} does not exist. {missing}") from None
    except OSError as error:
        raise UserError(
            f"Cannot read the {what} {file}: {error.strerror or error}. Check the path."
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{file} is not YAML: {' '.join(str(error).split())}. Correct it there.") from None
    if not isinstance(written, dict):
        raise UserError(f"{file} must be a mapping of keys such as {keys}, got {type(written).__name__}.")
    return written

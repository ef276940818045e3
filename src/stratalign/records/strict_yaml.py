"""YAML as people mean it: no key twice, and 1e-5 is a number. Knows nothing of what a file says."""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from stratalign.errors import UserError


class StrictLoader(yaml.SafeLoader):
    """YAML without silent surprises: a key given twice is an error, and 1e-5 is a number."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
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
        UserError: the file cannot be read, or is no YAML mapping.
    """
    try:
        written = yaml.load(file.read_text(encoding="utf-8"), Loader=StrictLoader)
    except FileNotFoundError:
        raise UserError(f"The {what} {file} does not exist. {missing}") from None
    except OSError as error:
        raise UserError(
            f"Cannot read the {what} {file}: {error.strerror or error}. Check the path."
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{file} is not YAML: {' '.join(str(error).split())}. Mend it there.") from None
    if not isinstance(written, dict):
        raise UserError(f"{file} must be a mapping of keys such as {keys}, got {type(written).__name__}.")
    return written

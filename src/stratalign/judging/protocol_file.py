"""A judging protocol as a YAML file: its keys, its placeholders, and what is wrong with a file that is not one.

Knows how a protocol is written and checked, not how its messages are built or its replies are read.
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from stratalign.errors import UserError
from stratalign.records import SAFE_NAME, read_mapping

PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")
ITEM_TEXTS = {"single": ("response",), "pairwise": ("first", "second")}
ANCHOR_TEXTS = ("anchor_prompt", "anchor_response")
RESERVED = ("microworld", "text")
"""Protocols without a language model; a file cannot take their names."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class DimensionEntry(_Strict):
    """One dimension as the judge is told it; the category is for reports, the judge does not see it."""

    name: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,63}$")
    about: str = Field(min_length=1)
    category: str | None = Field(None, min_length=1)


class AnchorCase(_Strict):
    """An example that would get the anchor's score on every dimension."""

    prompt: str = Field(min_length=1)
    response: str = Field(min_length=1)


class ProtocolFile(_Strict):
    """The keys of a protocol's YAML. `system` and `user` are the two messages, with placeholders in braces."""

    id: str
    kind: Literal["single", "pairwise"] = "single"
    scale: list[int] = Field([1, 5], min_length=2, max_length=2)
    anchor: int | None = None
    anchor_case: AnchorCase | None = None
    max_tokens: int = Field(2048, ge=16, le=100_000)
    shuffle_dimensions: bool = False
    dimensions: list[DimensionEntry] = Field(min_length=1, max_length=64)
    system: str = Field(min_length=1)
    user: str = Field(min_length=1)

    @field_validator("id")
    @classmethod
    def _safe_id(cls, value: str) -> str:
        if not SAFE_NAME.fullmatch(value) or value in RESERVED:
            raise ValueError(
                f"{value!r} cannot be an id: use letters, digits and . _ - (not {' or '.join(RESERVED)}, "
                "which need no judge)"
            )
        return value

    @field_validator("dimensions")
    @classmethod
    def _distinct_names(cls, value: list[DimensionEntry]) -> list[DimensionEntry]:
        names = [entry.name.casefold() for entry in value]
        doubles = sorted({entry.name for entry in value if names.count(entry.name.casefold()) > 1})
        if doubles:
            raise ValueError(f"a dimension is listed twice: {', '.join(doubles)}")
        return value

    @model_validator(mode="after")
    def _checked_scale(self) -> ProtocolFile:
        low, high = self.scale
        if not low < high <= low + 100:
            raise ValueError(f"scale must be [lowest, highest] with at most 101 steps, got {self.scale}")
        if self.kind == "pairwise" and self.scale != [-1, 1]:
            raise ValueError(
                "a pairwise protocol has scale: [-1, 1] (1 first is better, 0 tie, -1 second is better), "
                f"got {self.scale}"
            )
        if self.anchor is not None and not low <= self.anchor <= high:
            raise ValueError(f"anchor must lie in the scale {self.scale}, got {self.anchor}")
        if self.anchor_case is not None and (self.anchor is None or self.kind == "pairwise"):
            raise ValueError("anchor_case needs an anchor and kind: single")
        return self

    @model_validator(mode="after")
    def _checked_placeholders(self) -> ProtocolFile:
        texts = ITEM_TEXTS[self.kind]
        anchors = ANCHOR_TEXTS if self.anchor_case else ()
        known = {
            "system": ("dimensions", *anchors),
            "user": ("dimensions", *anchors, "nonce", "prompt", *texts),
        }
        found = {message: PLACEHOLDER.findall(getattr(self, message)) for message in known}
        for message, names in found.items():
            for name in names:
                if name not in known[message]:
                    raise ValueError(_misplaced(message, name, known, self.kind))
        counts = {name: found["system"].count(name) + found["user"].count(name) for name in known["user"]}
        for name in (*texts, "dimensions"):
            if counts[name] != 1:
                raise ValueError(
                    f"{{{name}}} must stand in the messages exactly once, got {counts[name]} times"
                )
        if counts["prompt"] > 1:
            raise ValueError("{prompt} may stand in the messages only once")
        return self


def _misplaced(message: str, name: str, known: dict[str, tuple[str, ...]], kind: str) -> str:
    """Why a placeholder cannot stand where it does."""
    allowed = ", ".join(f"{{{one}}}" for one in known[message])
    if name in known["user"]:
        return f"{message}: {{{name}}} belongs into user; the text that is judged never enters the system message"
    if name in ANCHOR_TEXTS:
        return f"{message}: {{{name}}} needs the key anchor_case"
    near = difflib.get_close_matches(name, known[message], n=1, cutoff=0.5)
    guess = f" Did you mean {{{near[0]}}}?" if near else ""
    return f"{message}: unknown placeholder {{{name}}}.{guess} Known in a {kind} protocol: {allowed}"


def read_protocol_file(path: Path) -> ProtocolFile:
    """Read and check a protocol's YAML.

    Raises:
        UserError: the file is missing, is no YAML mapping, has an unknown key or a value that is not allowed.
    """
    written = read_mapping(path, "protocol file", keys="id and dimensions", missing="Check the path.")
    try:
        return ProtocolFile.model_validate(written)
    except ValidationError as error:
        raise _explained(error, path, written) from None


def _explained(error: ValidationError, path: Path, written: dict[str, Any]) -> UserError:
    """Pydantic's findings in our words: the place, what is wrong, what we got."""
    lines = []
    for found in error.errors():
        place = _place(found["loc"], written)
        if found["type"] == "extra_forbidden":
            known = _keys_at(found["loc"])
            near = difflib.get_close_matches(str(found["loc"][-1]), known, n=1, cutoff=0.5)
            guess = f" Did you mean {near[0]!r}?" if near else ""
            lines.append(f"Unknown key {place}.{guess} Known: {', '.join(known)}.")
        elif found["type"] == "missing":
            lines.append(f"{place} is missing.")
        elif found["type"] == "value_error":
            lines.append(": ".join(filter(None, [place, found["msg"].removeprefix("Value error, ")])) + ".")
        else:
            lines.append(f"{place}: {found['msg']}, got {found['input']!r:.60}.")
    return UserError(f"The protocol {path} has a mistake. {' '.join(lines)}")


def _place(location: tuple[int | str, ...], written: dict[str, Any]) -> str:
    """Where a finding is, in the words of the file: dimensions are counted from 1, and named where they have names."""
    if len(location) < 2 or location[0] != "dimensions":
        return ".".join(str(part) for part in location)
    entry = written["dimensions"][location[1]]
    name = f" ({entry['name']})" if isinstance(entry, dict) and isinstance(entry.get("name"), str) else ""
    return f"dimension {int(location[1]) + 1}{name}{''.join(f': {part}' for part in location[2:])}"


def _keys_at(location: tuple[int | str, ...]) -> list[str]:
    models: dict[object, type[BaseModel]] = {"dimensions": DimensionEntry, "anchor_case": AnchorCase}
    return list((models.get(location[0], ProtocolFile) if len(location) > 1 else ProtocolFile).model_fields)

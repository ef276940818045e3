"""What a language-model judge is asked, and how its reply is read: a protocol, loaded from YAML.

Messages are a pure function of the protocol and the texts, so that the same question has the same key in every store.
Knows nothing of servers, of stores, or of which run wrote a response.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Literal, TypedDict

from stratalign.errors import UserError, unknown_name
from stratalign.judging.parsing import InvalidReply, read_reply
from stratalign.judging.protocol_file import PLACEHOLDER, ProtocolFile, read_protocol_file
from stratalign.records import Dimension, digest

__all__ = [
    "InvalidReply",
    "Item",
    "JudgeProtocol",
    "Message",
    "ResponseMode",
    "load_protocol",
    "packaged_protocols",
]

FORM = 1
"""Enters every protocol's hash; raised when the same file builds other messages or reads replies otherwise."""

PACKAGED = Path(__file__).with_name("protocols")
WRAPPER = 'Put that array into one JSON object under the single key "scores": {"scores": [...]}.'

ResponseMode = Literal["none", "json_object", "json_schema"]


class Message(TypedDict):
    """One message of a chat."""

    role: Literal["system", "user"]
    content: str


@dataclass(frozen=True)
class Item:
    """What is judged: one response, or two in the order in which a pairwise protocol shows them."""

    prompt: str
    responses: tuple[str, ...]


@dataclass(frozen=True)
class JudgeProtocol:
    """How a language model judges.

    `hash` covers all that the file says, comments and layout aside. `anchor` is the score of a response that is as
    good as what all are measured against; `anchor_case` is an example of one, whose own scores can be checked.
    """

    id: str
    hash: str
    kind: Literal["single", "pairwise"]
    dimensions: tuple[Dimension, ...]
    max_tokens: int
    scale: tuple[int, int]
    anchor: int | None
    anchor_case: Item | None
    shuffle_dimensions: bool
    system: str
    user: str

    def messages(self, item: Item, mode: ResponseMode = "none") -> list[Message]:
        """One system and one user message; the texts of `item` stand in the user message alone, unchanged.

        With a `mode` that makes the server write an object, a last sentence asks for {"scores": [...]}.

        Raises:
            ValueError: the item has not as many responses as the protocol shows.
        """
        slots = ("response",) if self.kind == "single" else ("first", "second")
        if len(item.responses) != len(slots):
            raise ValueError(f"{self.id} shows {len(slots)} response(s), got {len(item.responses)}.")
        texts = {
            "prompt": item.prompt,
            **dict(zip(slots, item.responses, strict=True)),
            "dimensions": self._told_dimensions(item),
            "nonce": _nonce(self.hash, item),
        }
        if self.anchor_case is not None:
            texts["anchor_prompt"], texts["anchor_response"] = (
                self.anchor_case.prompt,
                self.anchor_case.responses[0],
            )
        user = _filled(self.user, texts) + ("" if mode == "none" else f"\n\n{WRAPPER}")
        return [
            {"role": "system", "content": _filled(self.system, texts)},
            {"role": "user", "content": user},
        ]

    def allows(self, scores: Mapping[str, Any]) -> bool:
        """Whether these are exactly the dimensions, each with an integer of the scale."""
        low, high = self.scale
        return set(scores) == {one.name for one in self.dimensions} and all(
            type(value) is int and low <= value <= high for value in scores.values()
        )

    def response_format(self, mode: ResponseMode) -> dict[str, Any] | None:
        """The request's `response_format`; None leaves the server's output free, which is the default.

        Raises:
            UserError: there is no such mode.
        """
        if mode == "none":
            return None
        if mode == "json_object":
            return {"type": "json_object"}
        if mode != "json_schema":
            raise unknown_name("response mode", mode, ("none", "json_object", "json_schema"))
        entry = {
            "dimension": {"type": "string", "enum": self.names},
            "score": {"type": "integer", "enum": list(range(self.scale[0], self.scale[1] + 1))},
            "reason": {"type": "string"},
        }
        schema = _strict_object({"scores": {"type": "array", "items": _strict_object(entry)}})
        return {"type": "json_schema", "json_schema": {"name": "scores", "strict": True, "schema": schema}}

    def read(self, reply: str, item: Item | None = None) -> dict[str, int]:
        """Exactly the protocol's dimensions, each with its score.

        With `item`, a reply that merely copies an array out of the texts that were shown is refused as well.

        Raises:
            InvalidReply: the reply is anything else than exactly valid; the message is the reason.
        """
        shown = () if item is None else (item.prompt, *item.responses)
        return read_reply(reply, self.names, self.scale, shown)

    @property
    def names(self) -> list[str]:
        """The dimensions' names, in the protocol's order."""
        return [dimension.name for dimension in self.dimensions]

    def _told_dimensions(self, item: Item) -> str:
        """The dimensions as JSON, in the protocol's order or in one drawn from the item."""
        told = [{"dimension": one.name, "definition": one.about} for one in self.dimensions]
        if self.shuffle_dimensions:
            told.sort(key=lambda one: digest([self.hash, one["dimension"], item.prompt, *item.responses]))
        return "[\n" + ",\n".join(json.dumps(one, ensure_ascii=False) for one in told) + "\n]"


def load_protocol(name_or_path: str) -> JudgeProtocol:
    """A packaged protocol by its id, or a user's own by the path of its YAML file.

    Raises:
        UserError: there is no such protocol, its file has a mistake, or it takes the id of a packaged one and is
            another.
    """
    known = packaged_protocols()
    if name_or_path in known:
        return _protocol(read_protocol_file(PACKAGED / f"{name_or_path}.yaml"))
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        raise unknown_name(
            "judging protocol", name_or_path, known, "For your own, give the path of its .yaml file."
        )
    protocol = _protocol(read_protocol_file(path))
    if protocol.id in known and protocol.hash != load_protocol(protocol.id).hash:
        raise UserError(
            f"The protocol {path} has the id {protocol.id!r}, which is a packaged protocol with another text. "
            "Scores of two protocols must not look alike: give yours an id of its own."
        )
    return protocol


def packaged_protocols() -> list[str]:
    """The ids of the protocols that come with the package."""
    return sorted(path.stem for path in PACKAGED.glob("*.yaml"))


def _protocol(file: ProtocolFile) -> JudgeProtocol:
    # A key that is written out with its default value says the same as one that is left out.
    content = file.model_dump(mode="json", exclude_defaults=True)
    unit = "points" if file.kind == "single" else "wins"
    case = file.anchor_case
    return JudgeProtocol(
        id=file.id,
        hash=digest({"form": FORM, "protocol": content}),
        kind=file.kind,
        dimensions=tuple(
            Dimension(entry.name, unit, "higher", entry.about, entry.category) for entry in file.dimensions
        ),
        max_tokens=file.max_tokens,
        scale=(file.scale[0], file.scale[1]),
        anchor=file.anchor,
        anchor_case=None if case is None else Item(case.prompt, (case.response,)),
        shuffle_dimensions=file.shuffle_dimensions,
        system=file.system,
        user=file.user,
    )


def _filled(template: str, texts: Mapping[str, str]) -> str:
    """`template` with its placeholders filled in one pass: braces within a text that is filled in stay text."""
    return PLACEHOLDER.sub(lambda found: texts[found[1]], template)


def _nonce(protocol_hash: str, item: Item) -> str:
    """Sixteen hexadecimal digits that follow from the texts and stand in none of them."""
    texts = (item.prompt, *item.responses)
    candidates = (digest([protocol_hash, attempt, *texts])[:16] for attempt in count())
    return next(nonce for nonce in candidates if not any(nonce in text for text in texts))


def _strict_object(properties: dict[str, Any]) -> dict[str, Any]:
    """An object schema as strict servers want it: every key required, no other allowed."""
    names: Sequence[str] = list(properties)
    return {"type": "object", "properties": properties, "required": names, "additionalProperties": False}

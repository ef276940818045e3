"""What the judge core needs of a protocol: the messages for an item, and a reply to integers or a refusal of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypedDict

from stratalign.records import Dimension


class Message(TypedDict):
    """One message of a chat."""

    role: Literal["system", "user"]
    content: str


@dataclass(frozen=True)
class Item:
    """What is judged: a prompt with one response, or with two in the order shown."""

    prompt: str
    responses: tuple[str, ...]


class InvalidReply(ValueError):  # noqa: N818 - it is the reply that is wrong, not the program
    """A reply that breaks the protocol; the message is the reason."""


@dataclass(frozen=True)
class JudgeProtocol:
    """How a language model judges: prompt, dimensions, and what counts as a reply."""

    id: str
    hash: str
    kind: Literal["single", "pairwise"]
    dimensions: tuple[Dimension, ...]
    max_tokens: int
    scale: tuple[int, int]
    anchor: int | None

    def messages(self, item: Item) -> list[Message]:
        """The chat that asks for a judgement of `item`."""
        raise NotImplementedError

    def response_format(self, mode: Literal["none", "json_object", "json_schema"]) -> dict[str, Any] | None:
        """The request's `response_format` under a JSON mode."""
        raise NotImplementedError

    def read(self, reply: str) -> dict[str, int]:
        """Exactly the dimensions, each an integer of the scale.

        Raises:
            InvalidReply: the reply is anything else.
        """
        raise NotImplementedError

"""What identifies a judgement: a hash of everything that may change it, and nothing else.

Not in it: the API key; who wrote the answer; `max_tokens`, which can only cut a reply, and a cut reply is never
valid; the limits, tries and waits.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from stratalign.errors import UserError
from stratalign.judging.profiles import profile_of
from stratalign.judging.protocol import Item, JudgeProtocol, Message
from stratalign.judging.settings import JudgeSettings
from stratalign.records import digest, keyed_seed


@dataclass(frozen=True)
class Row:
    """One answer to judge. `variant` tells rows of one run and prompt apart, such as the order of a pair."""

    run: str
    prompt_id: str
    item: Item
    variant: str = ""


class Asked(NamedTuple):
    """One judgement that a row asks for; rows with the same text ask for the same key."""

    row: int
    repeat: int
    key: str


def host_of(settings: JudgeSettings) -> str:
    """The server's host and port, without scheme and path.

    Raises:
        UserError: the settings name no server or no model.
    """
    if settings.base_url is None or not settings.model:
        raise UserError(
            "A language model as judge needs judge.base_url and judge.model, such as http://127.0.0.1:8000/v1 and "
            "the name that this server lists."
        )
    return urlsplit(settings.base_url).netloc


def api_key(settings: JudgeSettings) -> str:
    """The key that the environment holds for the settings' server; empty for a server that needs none.

    Raises:
        UserError: no server or model is named, the server needs a key and the environment holds none, or what it holds
            cannot be sent.
    """
    host, key = host_of(settings), os.environ.get(settings.api_key_env, "").strip()
    if profile_of(settings).needs_key and not key:
        raise UserError(
            f"The server {host} needs a key: put it into the environment variable {settings.api_key_env}, or name the "
            "variable that holds it in judge.api_key_env."
        )
    if not (key.isascii() and key.isprintable()):
        raise UserError(
            f"The environment variable {settings.api_key_env} holds characters that no key can have, such as a line "
            "break or a letter with an accent. Set it to the key alone."
        )
    return key


def identity(settings: JudgeSettings, protocol: JudgeProtocol) -> dict[str, Any]:
    """What all judgements of one judge share: protocol, model, host, sampling and response mode."""
    return {
        "protocol": protocol.id,
        "hash": protocol.hash,
        "host": host_of(settings),
        "model": settings.model,
        "parameters": {
            "temperature": settings.temperature,
            "extra_body": {**profile_of(settings).body(settings.model or ""), **settings.extra_body},
        },
        "response_format": settings.response_format,
    }


def messages_of(settings: JudgeSettings, protocol: JudgeProtocol, item: Item) -> list[Message]:
    """The protocol's messages; characters that are no valid text (lone surrogates) become question marks."""
    return [
        {"role": message["role"], "content": encodable(message["content"])}
        for message in protocol.messages(item, settings.response_format)
    ]


def encodable(text: str) -> str:
    """`text` with every lone surrogate replaced by a question mark: neither JSON nor sqlite takes one."""
    return text.encode("utf-8", "replace").decode("utf-8")


def judgements_of(settings: JudgeSettings, protocol: JudgeProtocol, rows: Sequence[Row]) -> Iterator[Asked]:
    """Every judgement that the rows ask for, in their order; a row may ask for several repeats."""
    shared = identity(settings, protocol)
    for number, row in enumerate(rows):
        messages = messages_of(settings, protocol, row.item)
        first = key_of(shared, messages, 0)
        yield Asked(number, 0, first)
        if settings.repeats > 1 and keyed_seed("repeat", first) < settings.repeat_share * 2**63:
            for repeat in range(1, settings.repeats):
                yield Asked(number, repeat, key_of(shared, messages, repeat))


def key_of(shared: dict[str, Any], messages: Sequence[Message], repeat: int) -> str:
    """SHA-256 of the canonical JSON of what a judgement depends on; `shared` as `identity` gives it."""
    return digest({**shared, "messages": list(messages), "repeat": repeat})

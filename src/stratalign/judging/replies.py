"""From a server's answer to a judgement: the same for calls and batches. Knows no network and no store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from stratalign.judging.keys import encodable
from stratalign.judging.profiles import Meaning
from stratalign.judging.protocol import InvalidReply, Item, JudgeProtocol

State = Literal["ok", "invalid", "truncated", "blocked", "failed", "pending"]


@dataclass(frozen=True)
class Reply:
    """What a model said. `tokens_*` are None where the server does not count."""

    text: str
    finish: str | None
    model: str | None
    fingerprint: str | None
    tokens_in: int | None
    tokens_out: int | None
    refused: bool = False


@dataclass(frozen=True)
class Trouble:
    """A call without a reply: what that means, why, and how long the server asks to wait, in seconds."""

    meaning: Meaning
    reason: str
    retry_after: float | None = None


@dataclass(frozen=True)
class Verdict:
    """What a reply is worth: its state, the scores if that is "ok", else the reason."""

    state: State
    scores: dict[str, int] | None = None
    reason: str | None = None


def read_completion(body: object) -> Reply | Trouble:
    """The reply in a chat completion; a body that is none is trouble that may pass."""
    # Longer than what is kept of it: a key is searched for before the reason is cut.
    trouble = Trouble("retry", f"the answer is no chat completion: {encodable(str(body))[:2000]!r}")
    if not isinstance(body, dict):
        return trouble
    try:
        choice = body["choices"][0]
        message = choice["message"]
        refusal = message.get("refusal")
        usage = body.get("usage") or {}
        return Reply(
            text=encodable(_content(message) or refusal or ""),
            finish=_text(choice.get("finish_reason")),
            model=_text(body.get("model")),
            fingerprint=_text(body.get("system_fingerprint")),
            tokens_in=_count(usage.get("prompt_tokens")),
            tokens_out=_count(usage.get("completion_tokens")),
            refused=bool(refusal),
        )
    except ValueError as error:
        return Trouble("retry", str(error))
    except (AttributeError, IndexError, KeyError, TypeError):
        return trouble


def judge_reply(protocol: JudgeProtocol, reply: Reply, item: Item | None) -> Verdict:
    """Whether the reply is a judgement of `item`. Only the whole reply counts: nothing is picked from a broken one."""
    if reply.refused or reply.finish == "content_filter":
        return Verdict("blocked", reason="the server's moderation withheld the reply")
    if reply.finish == "length":
        return Verdict("truncated", reason="the reply was cut at its longest length")
    try:
        scores = protocol.read(reply.text, item)
    except InvalidReply as error:
        return Verdict("invalid", reason=encodable(str(error)))
    except (ValueError, RecursionError) as error:
        # A hostile reply can break a JSON parser: brackets too deep, numbers too long.
        return Verdict("invalid", reason=f"the reply cannot be read ({type(error).__name__})")
    if not protocol.allows(scores):
        return Verdict("invalid", reason="the protocol's reader gave other scores than its dimensions")
    return Verdict("ok", scores)


def _content(message: dict[str, Any]) -> Any:
    """A message's content; where it is a list of text parts, their texts joined.

    Raises:
        ValueError: a part is not text.
    """
    content = message.get("content")
    if not isinstance(content, list):
        return content
    for part in content:
        if part["type"] != "text":
            raise ValueError(
                f"the reply has a part of type {encodable(str(part['type']))[:40]!r}; only text is read"
            )
    return "".join(part["text"] for part in content)


def _text(value: object) -> str | None:
    return encodable(value) if isinstance(value, str) else None


def _count(value: object) -> int | None:
    return value if type(value) is int and value >= 0 else None

"""One call of an OpenAI-compatible server: messages in, a reply or a trouble out. Knows no store and no protocol.

The key is read from the environment here and leaves only as a header: every text that comes back is searched for it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import openai

from stratalign.judging.connection import Connection, Redirected, Refused, within
from stratalign.judging.keys import api_key, encodable, identity
from stratalign.judging.limits import retry_after
from stratalign.judging.profiles import meaning, profile_of
from stratalign.judging.protocol import JudgeProtocol, Message
from stratalign.judging.replies import Reply, Trouble, read_completion
from stratalign.judging.secrets import Secret
from stratalign.judging.settings import JudgeSettings

LONGEST_REASON = 300
"""Characters of a server's error that are kept."""


class Client:
    """A connection to the settings' server.

    Raises:
        UserError: no server or model is named, or the server needs a key and the environment holds none.
    """

    def __init__(self, settings: JudgeSettings) -> None:
        self.settings = settings
        self.profile = profile_of(settings)
        key = api_key(settings)
        self._secret = Secret(key)
        # Tries are counted by the loop, so the library makes none of its own; what it reads from the environment
        # for OpenAI (organisation, project) is no other server's business.
        self.sdk = openai.AsyncOpenAI(
            api_key=key or "none",
            base_url=settings.base_url,
            max_retries=0,
            timeout=settings.timeout,
            http_client=Connection(),
        )
        if self.profile.name != "openai":
            self.sdk.organization = None
            self.sdk.project = None

    async def ask(self, request: dict[str, Any]) -> Reply | Trouble:
        """Send one request, as `request_for` makes it. Never raises for what a server or a network does."""
        try:
            # The typed method costs half as much processor time again and tells us no more.
            # It has no time limit of its own: `within` counts the time.
            call = self.sdk.post("/chat/completions", body=request, cast_to=object, options={"timeout": None})
            return self.clean(read_completion(await within(self.settings.timeout, call)))
        except (asyncio.TimeoutError, openai.APITimeoutError):
            return Trouble("retry", f"no answer within {self.settings.timeout:g} s")
        except Refused as error:  # some versions of the library let it through, others wrap it
            return self.refused(error)
        except openai.OpenAIError as error:
            return self.trouble(error)
        except (ValueError, RecursionError):
            # The library parses what calls itself JSON, and lets the parser's error through.
            return Trouble(
                "retry", "the answer is no JSON: does judge.base_url name the API, such as .../v1?"
            )

    def trouble(self, error: openai.OpenAIError) -> Trouble:
        """What an error of the library means."""
        if not isinstance(error, openai.APIStatusError):
            cause = error.__cause__
            if isinstance(cause, Refused):
                return self.refused(cause)
            return Trouble(
                "retry", self.redacted(f"{error}: {cause}" if cause else f"{error}")[:LONGEST_REASON]
            )
        found = self.trouble_of(error.status_code, error.body)
        return Trouble(found.meaning, found.reason, retry_after(error.response.headers, time.time()))

    def refused(self, error: Refused) -> Trouble:
        """What an answer means that is not taken."""
        reason = self.redacted(f"the server's answer is not taken: {error}")[:LONGEST_REASON]
        return Trouble("stop" if isinstance(error, Redirected) else "failed", reason)

    def trouble_of(self, status: int, body: object) -> Trouble:
        """What an error answer means, given its status and its body."""
        error = body.get("error", body) if isinstance(body, dict) else body
        fields = error if isinstance(error, dict) else {"message": error}
        codes = tuple(str(fields[name]) for name in ("code", "type") if fields.get(name))
        message = str(fields.get("message") or "")
        told = self.redacted(f"HTTP {status} {' '.join(dict.fromkeys(codes))}: {' '.join(message.split())}")
        return Trouble(meaning(self.profile, status, codes, message), told[:LONGEST_REASON])

    def redacted(self, text: str) -> str:
        """`text` without the key and its parts."""
        return encodable(self._secret.hidden(text))

    async def close(self) -> None:
        """Close the connections."""
        await self.sdk.close()

    def clean(self, answer: Reply | Trouble) -> Reply | Trouble:
        """An answer without the key in any of its texts."""
        if isinstance(answer, Trouble):
            return replace(answer, reason=self.redacted(answer.reason)[:LONGEST_REASON])
        fields = vars(answer)
        texts: dict[str, Any] = {
            name: self.redacted(value) for name, value in fields.items() if isinstance(value, str)
        }
        return replace(answer, **texts)


def request_for(
    settings: JudgeSettings, protocol: JudgeProtocol, messages: Sequence[Message], max_tokens: int
) -> dict[str, Any]:
    """The body of a request for one judgement."""
    shared = identity(settings, protocol)["parameters"]
    request: dict[str, Any] = {"model": settings.model, "messages": list(messages)}
    if shared["temperature"] is not None:
        request["temperature"] = shared["temperature"]
    request[profile_of(settings).length] = max_tokens
    response_format = protocol.response_format(settings.response_format)
    if response_format is not None:
        request["response_format"] = response_format
    return {**request, **shared["extra_body"]}

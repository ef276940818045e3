"""What a server's errors mean and what it must be told, server by server. Knows no network.

DashScope: its error codes and rate limits (alibabacloud.com/help/en/model-studio/error-code and /rate-limit).
OpenAI: platform.openai.com/docs/guides/error-codes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

from stratalign.judging.settings import JudgeSettings

Meaning = Literal["retry", "slow", "blocked", "stop", "failed"]
"""retry: a passing error; slow: too many calls; blocked: moderation refused this text, and will again;
stop: no call can succeed (key, balance, address); failed: this request cannot succeed."""


class Profile(NamedTuple):
    """One kind of server.

    `blocked` and `stop` are error codes, in lower case, that mean so under any status; `body` gives the fields that
    a model needs in each request; `length` is the field that bounds a reply.
    """

    name: str
    needs_key: bool
    blocked: frozenset[str]
    stop: frozenset[str]
    body: Callable[[str], dict[str, Any]]
    length: str = "max_tokens"


def profile_of(settings: JudgeSettings) -> Profile:
    """The profile that the settings name, or the one that their address tells; an unknown host is `plain`."""
    if settings.profile != "auto":
        return PROFILES[settings.profile]
    host = urlsplit(settings.base_url or "").hostname or ""
    for domain, name in _DOMAINS.items():
        if host == domain or host.endswith("." + domain):
            return PROFILES[name]
    return PROFILES["plain"]


def meaning(profile: Profile, status: int, codes: tuple[str, ...], message: str) -> Meaning:
    """What an error answer means.

    Args:
        profile: of the server.
        status: of HTTP.
        codes: what the answer gives as code and as type.
        message: its text.
    """
    named = {code.casefold() for code in codes}
    if named & profile.blocked:
        return "blocked"
    if named & profile.stop:
        return "stop"
    if status == 403 and ("moderation" in message.casefold() or "flagged" in message.casefold()):
        return "blocked"  # routers in front of several providers answer so
    if status in (401, 402, 403, 404):
        return "stop"
    if status == 429:
        return "slow"
    return "retry" if status in (408, 409, 425) or status >= 500 else "failed"


def _nothing(_model: str) -> dict[str, Any]:
    return {}


def _no_thinking(model: str) -> dict[str, Any]:
    """Hybrid Qwen models think unless told not to, and a call that does not stream is then refused."""
    name = model.casefold()
    hybrid = name.startswith(("qwen3", "qwen-plus", "qwen-turbo", "qwen-flash"))
    fixed = any(word in name for word in ("thinking", "instruct", "coder"))
    return {"enable_thinking": False} if hybrid and not fixed else {}


_NO_MONEY = {"insufficient_quota", "insufficient_balance", "billing_hard_limit_reached", "billing_not_active"}
_FILTERED = {"content_filter", "content_policy_violation", "responsibleaipolicyviolation"}
_DOMAINS = {"aliyuncs.com": "dashscope", "openai.com": "openai"}

PROFILES: dict[str, Profile] = {
    "dashscope": Profile(
        "dashscope",
        needs_key=True,
        blocked=frozenset({"data_inspection_failed", "datainspectionfailed"}),
        # "insufficient_quota" is not among them: here it is the limit of tokens per minute.
        stop=frozenset(
            {
                "arrearage",
                "prepaidbilloverdue",
                "postpaidbilloverdue",
                "commoditynotpurchased",
                "allocationquota.freetieronly",
                "invalid_api_key",
                "invalidapikey",
            }
        ),
        body=_no_thinking,
    ),
    "openai": Profile(
        "openai",
        needs_key=True,
        blocked=frozenset({*_FILTERED, "invalid_prompt"}),
        stop=frozenset({*_NO_MONEY, "account_deactivated", "access_terminated", "invalid_api_key"}),
        body=_nothing,
        length="max_completion_tokens",  # the older name is refused by its reasoning models
    ),
    # vLLM, Ollama, llama.cpp, `transformers serve`, and every server that we do not know.
    "plain": Profile(
        "plain",
        needs_key=False,
        blocked=frozenset({*_FILTERED, "data_inspection_failed"}),
        stop=frozenset(_NO_MONEY),
        body=_nothing,
    ),
}

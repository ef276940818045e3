"""Judge settings: which protocol scores the answers, and how a language model is asked. Every default is ours."""

from __future__ import annotations

from datetime import date
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from stratalign.judging.request_fields import check_fields, check_variable

AskAgain = Literal["invalid", "truncated", "blocked", "failed"]


class Price(BaseModel):
    """What a judge's tokens cost, as its provider's price list said on `date`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: float = Field(ge=0, description="for a million tokens of the prompt")
    output: float = Field(ge=0, description="for a million tokens of the reply")
    currency: str = Field("USD", min_length=1, description="shown beside amounts, never converted")
    date: str = Field(
        min_length=4, description="the day on which you looked the price up, such as 2026-11-03"
    )

    @field_validator("date", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        """YAML reads an unquoted day as a date."""
        return value.isoformat() if isinstance(value, date) else value


class LabelTable(BaseModel):
    """A table that somebody filled in, and the key that was written with it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    table: str
    key: str


class OtherJudge(BaseModel):
    """A further model that judges a share of the prompts by the same protocol, so that judges can be compared.

    What it does not set is as the first judge has it, but for price, max_cost and extra_body, which are a model's own.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    base_url: str = Field(description="its server; may be the first judge's")
    model: str = Field(min_length=1, description="its name there")
    share: float = Field(0.1, gt=0, le=1, description="of the prompts, all answers to each")
    api_key_env: str | None = None
    profile: Literal["auto", "dashscope", "openai", "plain"] | None = None
    temperature: float | None = Field(None, ge=0)
    max_tokens: int | None = Field(None, ge=1)
    response_format: Literal["none", "json_object", "json_schema"] | None = None
    extra_body: dict[str, Any] = Field(default_factory=dict)
    concurrency: int | None = Field(None, ge=1)
    requests_per_minute: float | None = Field(None, gt=0)
    tokens_per_minute: float | None = Field(None, gt=0)
    price: Price | None = None
    max_cost: float | None = Field(None, ge=0)

    _variable = field_validator("api_key_env")(check_variable)
    _fields = field_validator("extra_body", mode="before")(check_fields)

    def beside(self, first: JudgeSettings) -> JudgeSettings:
        """The whole settings of this judge in a study whose first judge is `first`.

        Raises:
            pydantic.ValidationError: together they are no valid settings.
        """
        own = {name: getattr(self, name) for name in self.model_fields_set - {"share"}}
        shared = {
            name: getattr(first, name)
            for name in type(first).model_fields
            if name not in ("others", "labels", "price", "max_cost", "extra_body", "repeats")
        }
        return JudgeSettings.model_validate({**shared, **own})


class JudgeSettings(BaseModel):
    """Who scores. `text` needs no model: measures of the answers' text and of recorded log-probabilities."""

    # An address may be refused because it holds a key, which the message must then not repeat.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    protocol: str = Field(
        "text",
        description=(
            "text: measures that need no judge, always made; microworld: its exact verifiers as well; likert-16, "
            "hardened, pairwise or a YAML file: asked of a language model"
        ),
    )
    base_url: str | None = Field(
        None, description="an OpenAI-compatible server, such as http://127.0.0.1:8000/v1"
    )
    model: str | None = Field(
        None,
        description="the judge's name at that server; a dated snapshot where there is one (paper: Qwen3-Max)",
    )
    api_key_env: str = Field(
        "JUDGE_API_KEY", description="the environment variable that holds the key; ends in KEY or TOKEN"
    )
    profile: Literal["auto", "dashscope", "openai", "plain"] = Field(
        "auto",
        description="what the server's errors mean and whether it needs a key; auto: by its address",
    )
    temperature: float | None = Field(0.0, ge=0, description="null sends none, for models that take none")
    max_tokens: int | None = Field(
        None,
        ge=1,
        description="longest reply; null: the protocol's. A cut reply gets twice as much, once",
    )
    response_format: Literal["none", "json_object", "json_schema"] = Field(
        "none", description="a JSON mode of the server; none leaves the prompt as published"
    )
    extra_body: dict[str, Any] = Field(
        default_factory=dict,
        description="further fields of the request, part of what identifies a judgement",
    )
    concurrency: int = Field(16, ge=1, description="most calls at one time")
    requests_per_minute: float | None = Field(
        None, gt=0, description="null: no limit; spread over the seconds of the minute"
    )
    tokens_per_minute: float | None = Field(
        None, gt=0, description="of prompts and replies together; null: no limit"
    )
    repeats: int = Field(1, ge=1, description="how often a text is judged, for agreement with itself")
    repeat_share: float = Field(
        0.05, ge=0, le=1, description="share of the texts that `repeats` counts for, drawn by text"
    )
    timeout: float = Field(120.0, gt=0, description="seconds for one whole call")
    tries: int = Field(6, ge=1, description="calls for one text that end in a passing error")
    invalid_tries: int = Field(3, ge=1, description="replies for one text that break the protocol")
    backoff: float = Field(
        1.0, ge=0, description="seconds before a call is repeated, doubling up to a minute"
    )
    deadline: float = Field(
        900.0, gt=0, description="seconds in which one text must be judged, waiting included"
    )
    max_failures: int = Field(25, ge=1, description="texts failing in a row that end the run")
    ask_again: list[AskAgain] = Field(
        ["invalid", "truncated", "failed"],
        description="states that a later run asks again; moderation decides the same way twice",
    )
    price: Price | None = Field(None, description="for estimates and max_cost")
    max_cost: float | None = Field(
        None, ge=0, description="most that this judge may cost in one store, earlier runs included"
    )
    completion_window: str = Field("24h", description="of batches, as the server spells it")
    others: list[OtherJudge] = Field(
        default_factory=list, description="further models that judge a share, for agreement"
    )
    labels: list[LabelTable] = Field(
        default_factory=list,
        description="tables that people filled in, {table, key} each, for agreement",
    )

    _variable = field_validator("api_key_env")(check_variable)
    _fields = field_validator("extra_body", mode="before")(check_fields)

    @field_validator("base_url")
    @classmethod
    def _plain_address(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            parts = urlsplit(value)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:  # a port that is no number, or a broken IPv6 address
            usable = False
        if not usable:
            raise ValueError("base_url must be an address such as http://127.0.0.1:8000/v1")
        if parts.username or parts.password or parts.query or parts.fragment:
            # The value is not repeated: it may hold a secret.
            raise ValueError("base_url must not hold a key or query; put the key into judge.api_key_env")
        return value

    @model_validator(mode="after")
    def _priced(self) -> JudgeSettings:
        if self.max_cost is not None and self.price is None:
            raise ValueError("max_cost needs judge.price: {input, output, currency, date} per million tokens")
        return self

"""What the recipe's `preferences` section may say. Knows nothing of files, tokens or models."""

from __future__ import annotations

import datetime
import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from stratalign.errors import unknown_name
from stratalign.microworld import PREFERENCE_SETS, shipped_set

Format = Literal["auto", "text", "messages", "transcript"]
Template = Literal["auto", "raw", "chat"]

RESERVED_ARGUMENTS = {
    *("conversation", "messages", "tools", "documents", "chat_template", "add_generation_prompt", "padding"),
    *("continue_final_message", "tokenize", "truncation", "max_length", "return_tensors", "return_dict"),
    *("tokenizer_kwargs", "return_assistant_tokens_mask", "strftime_now", "sanitize_control_tokens"),
}
"""What `chat_template_kwargs` may not hold: it says what is rendered and how."""

COLUMNS = (
    *("prompt", "chosen", "rejected", "system", "tools", "cluster", "part"),
    *("response", "completion", "label", "messages", "conversations"),
    *("question", "instruction", "input", "history", "output", "context"),
    *("chosen_response", "rejected_response", "response1", "response2", "overall_preference"),
    *("response_0", "response_1", "better_response_id", "kto_tag"),
    *("image", "images", "video", "videos", "audio", "audios", "chat_template_kwargs"),
)
"""Columns that have a meaning to us: what `columns` may map."""


class PreferenceSettings(BaseModel):
    """Where the pairs or demonstrations come from, what shape they have and how they are split."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str = Field(
        min_length=1,
        description="A .jsonl, .json, .csv, .tsv (each also with .gz) or .parquet file, a folder written by datasets' "
        "save_to_disk, a dataset's hub id (owner/name), or a set of the micro-world such as microworld:fluency. "
        "(paper: Anthropic/hh-rlhf)",
    )
    subset: str | None = Field(
        None, description="The configuration of a hub dataset, where it has several. For hub ids only."
    )
    split: str = Field(
        "train",
        description="The split of a hub dataset or of a folder of splits to read; a file has none.",
    )
    revision: str | None = Field(
        None,
        description="The branch, tag or commit of a hub dataset; pin it to be repeatable. For hub ids only.",
    )
    train: Annotated[int, Field(ge=1)] | Literal["all"] = Field(
        10_000,
        description="Pairs to train on, or `all` that remain after the held-out and validation pairs. "
        "(paper: 10,000)",
    )
    validation: int = Field(200, ge=0, description="Pairs for tuning and stopping; never for the verdict.")
    held_out: int = Field(
        1000,
        ge=0,
        description="Pairs that only the verdict sees. (paper: 1,000)",
    )
    seed: int = Field(42, description="Decides which clusters of pairs go where. (paper: 42, for data)")
    objective: list[str] = Field(
        ["Overall"],
        min_length=1,
        description="The judged dimensions that these preferences are meant to move; a loss elsewhere is the "
        "alignment tax.",
    )
    max_bad: float = Field(
        0.05, ge=0, le=1, description="The largest share of unusable rows that is accepted, 0 to 1."
    )
    format: Format = Field(
        "auto",
        description="The rows' form: text (prompt, chosen, rejected), messages (lists of role and content), "
        "transcript (chosen and rejected each hold the whole Human/Assistant dialogue), or auto: told from "
        "each row. Rows for the loss sft may have a response in place of chosen and rejected.",
    )
    columns: dict[str, str | None] = Field(
        {},
        description="Columns of other names, ours first: {prompt: query, chosen: good, rejected: bad}. null leaves a "
        "column out, such as {system: null}. `plan` names the columns that are not read.",
    )
    template: Template = Field(
        "auto",
        description="chat: texts and transcripts are turned into messages and rendered with the tokenizer's chat "
        "template, as messages always are. raw: they are tokenised as they are. auto: chat if the tokenizer has a chat "
        "template and the prompts do not contain its special tokens already, else raw; `plan` says which.",
    )
    chat_template: str | None = Field(
        None,
        min_length=1,
        description="Another chat template than the tokenizer's default: the name of one that it has, or a .jinja "
        "file.",
    )
    chat_template_kwargs: dict[str, Any] = Field(
        {},
        description="Arguments of the chat template, in training, answers and log-probabilities alike, such as "
        "{enable_thinking: false}.",
    )
    date: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")] | None = Field(
        None,
        description="The date that a chat template writes into a conversation, as 2026-12-31. The day on which the "
        "study began if not given; only for templates that ask for it.",
    )

    @field_validator("chat_template_kwargs")
    @classmethod
    def _free_arguments(cls, value: dict[str, Any]) -> dict[str, Any]:
        taken = sorted(value.keys() & RESERVED_ARGUMENTS)
        if taken:
            raise ValueError(
                f"{', '.join(taken)} cannot be set: stratalign sets it itself, or it is not an argument"
            )
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError, RecursionError):
            raise ValueError("the values must be what JSON can hold") from None
        return value

    @field_validator("date")
    @classmethod
    def _a_day(cls, value: str | None) -> str | None:
        if value is not None:
            datetime.date.fromisoformat(value)
        return value

    @field_validator("date", mode="before")
    @classmethod
    def _written_as_yaml(cls, value: Any) -> Any:
        """YAML reads 2026-12-31 as a date."""
        return value.isoformat() if type(value) is datetime.date else value

    @field_validator("columns")
    @classmethod
    def _known_columns(cls, value: dict[str, str | None]) -> dict[str, str | None]:
        unknown = next((name for name in value if name not in COLUMNS), None)
        if unknown is not None:
            raise ValueError(
                str(
                    unknown_name("column", unknown, COLUMNS, "The names of your own columns go on the right.")
                )
            )
        return value

    @model_validator(mode="before")
    @classmethod
    def _whole_shipped_set(cls, given: Any) -> Any:
        """A set of the micro-world is used whole, for the dimension that it is meant to move, unless said otherwise."""
        name = shipped_set(str(given.get("source"))) if isinstance(given, dict) else None
        if name not in PREFERENCE_SETS:
            return given
        objective = [PREFERENCE_SETS[name].objective]
        return {"train": "all", "validation": 96, "held_out": 384, "objective": objective, **given}


class PairsSettings(BaseModel):
    """How `stratalign pairs` makes preferences from the base's own answers; no other verb reads it. All ours."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    target: str | None = Field(
        None,
        description="The dimension to prefer by, of the judge or of a scorer. `stratalign pairs` needs it.",
    )
    prefer: Literal["better", "higher", "lower"] = Field(
        "better",
        description="better: the better value of the target, as its judge says. higher or lower: where it says "
        "nothing, or the opposite is wanted.",
    )
    off_target: list[str] | Literal["others"] = Field(
        "others",
        description="Dimensions in which both answers should be alike. others: those of the same judge and unit, but "
        "not overall, which is their mean; with target overall, none.",
    )
    off_target_weight: float = Field(
        0.5, ge=0, description="What a pair loses for each unit of an absolute gap off target."
    )
    units: Literal["raw", "sd"] = Field(
        "raw",
        description="raw: gaps in the units of the scores. sd: in standard deviations of each dimension over all "
        "answers; for scores of different units.",
    )
    min_gap: float = Field(0.0, ge=0, description="The least gap in the target; a tie never is a pair.")
    per_prompt: int = Field(
        1, ge=1, description="Most pairs of one prompt. An answer stands in one of them at most."
    )
    prompts: str | None = Field(
        None,
        min_length=1,
        description="A source of prompts: a file with a column `prompt`, a data set, or microworld. Those of "
        "preferences.source if not given.",
    )
    answers: int = Field(8, ge=2, description="Answers to sample for each prompt.")
    temperature: float = Field(
        1.0, gt=0, description="Of the sampling; 0 would give the same answer each time."
    )
    seed: int = Field(42, description="Key of the sampling noise.")

"""What the recipe's `preferences` section may say. Knows nothing of files, tokens or models."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from stratalign.microworld import PREFERENCE_SETS, shipped_set

Format = Literal["auto", "text", "messages", "transcript"]
Template = Literal["raw", "chat"]


class PreferenceSettings(BaseModel):
    """Where the pairs or demonstrations come from, what shape they have and how they are split."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str = Field(
        min_length=1,
        description="A .jsonl, .jsonl.gz or .parquet file, a folder written by datasets' save_to_disk, "
        "a dataset's hub id (owner/name), or a set of the micro-world such as microworld:fluency.",
    )
    subset: str | None = Field(
        None, description="The configuration of a hub dataset, where it has several. For hub ids only."
    )
    split: str = Field(
        "train",
        description="The split of a hub dataset or of a folder of splits to read; a file has none. (ours)",
    )
    revision: str | None = Field(
        None,
        description="The branch, tag or commit of a hub dataset; pin it to be repeatable. For hub ids only.",
    )
    train: Annotated[int, Field(ge=1)] | Literal["all"] = Field(
        10_000,
        description="Pairs to train on, or `all` that remain after the held-out and validation pairs. "
        "10,000 is the paper's.",
    )
    validation: int = Field(
        200, ge=0, description="Pairs for tuning and stopping; never for the verdict. (ours)"
    )
    held_out: int = Field(
        1000,
        ge=0,
        description="Pairs that only the verdict sees. 1,000 is the paper's number of test prompts.",
    )
    seed: int = Field(42, description="Decides which clusters of pairs go where. 42 is the paper's.")
    objective: list[str] = Field(
        ["Overall"],
        min_length=1,
        description="The judged dimensions that these preferences are meant to move; a loss elsewhere is the "
        "alignment tax. (ours)",
    )
    max_bad: float = Field(
        0.05, ge=0, le=1, description="The largest share of unusable rows that is accepted, 0 to 1. (ours)"
    )
    format: Format = Field(
        "auto",
        description="The rows' form: text (prompt, chosen, rejected), messages (lists of role and content), "
        "transcript (chosen and rejected each hold the whole Human/Assistant dialogue), or auto: told from "
        "each row. Rows for the loss sft may have a response in place of chosen and rejected. (ours)",
    )
    template: Template = Field(
        "raw",
        description="raw: texts and transcripts are tokenised as they are. chat: they are turned into messages "
        "and rendered with the model's chat template. Messages always are. (ours)",
    )

    @model_validator(mode="before")
    @classmethod
    def _whole_shipped_set(cls, given: Any) -> Any:
        """A set of the micro-world is used whole, for the dimension that it is meant to move, unless said otherwise."""
        name = shipped_set(str(given.get("source"))) if isinstance(given, dict) else None
        if name not in PREFERENCE_SETS:
            return given
        objective = [PREFERENCE_SETS[name].objective]
        return {"train": "all", "validation": 96, "held_out": 384, "objective": objective, **given}

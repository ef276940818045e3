"""Generation settings. The paper gives none of them; all defaults are ours."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class GenerationSettings(BaseModel):
    """How the answers that are compared come about; the same for every run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_new_tokens: int = Field(512, ge=1)
    temperature: float = Field(0.7, ge=0, description="0 takes the likeliest token")
    seed: int = Field(42, description="key of the sampling noise, common to all conditions")
    batch_size: int = Field(16, ge=1, description="prompts decoded together, each under all runs")
    stop: list[str] | Literal["auto"] = Field(
        "auto", description="texts that end an answer; auto: the next human turn of a transcript"
    )

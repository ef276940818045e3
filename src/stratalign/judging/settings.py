"""Judge settings: which protocol scores the answers."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class JudgeSettings(BaseModel):
    """Who scores. `text` needs no model: measures of the answers' text and of recorded log-probabilities."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    protocol: str = Field(
        "text",
        description="text: measures that need no judge, always made; microworld: its exact verifiers as well (ours)",
    )

"""Scorer settings: which of the user's own scorers score the answers, beside the judge."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from stratalign.dotted import is_dotted
from stratalign.records import SAFE_NAME

KINDS: dict[str, tuple[str, ...]] = {
    "reward": ("name", "revision", "batch_size", "max_length", "lower"),
    "function": ("name",),
    "tasks": ("include_path", "limit", "shots", "batch_size"),
}
"""What a scorer may be, and which other keys belong to it."""

LM_EVAL = "lm-eval"
"""The judge's name in scores of tasks."""


class ScorerSettings(BaseModel):
    """One scorer: a reward model, a function of the user's, or tasks of the lm-evaluation-harness."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reward: str | None = Field(
        None, min_length=1, description="a sequence classification model: hub id or local folder"
    )
    function: str | None = Field(
        None, description="module:function, called with lists of prompts and responses"
    )
    tasks: list[str] | None = Field(None, min_length=1, description="names of lm-eval tasks, groups or tags")
    name: str | None = Field(
        None,
        description="what the scores are called; the model's folder or the function if not given",
    )
    revision: str | None = Field(None, description="branch, tag or commit of a reward model's hub id")
    batch_size: int = Field(8, ge=1, description="texts in one pass")
    max_length: int | None = Field(
        None, ge=2, description="longer texts get no reward; as many tokens as the model knows if not given"
    )
    lower: list[str] = Field([], description="labels of the reward model of which less is better")
    include_path: str | None = Field(None, description="a folder with task files of your own")
    limit: int | None = Field(None, ge=1, description="items of each task, from its first on")
    shots: int | None = Field(
        None, ge=0, description="examples before each item; the task's own number if not given"
    )

    @model_validator(mode="after")
    def _of_one_kind(self) -> ScorerSettings:
        kinds = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(kinds) != 1:
            raise ValueError(
                f"a scorer names exactly one of {', '.join(KINDS)}, got {', '.join(kinds) or 'none'}"
            )
        alien = sorted(self.model_fields_set - {*kinds, *KINDS[kinds[0]]} - self._left_empty())
        if alien:
            raise ValueError(
                f"{', '.join(alien)} cannot be set for a scorer of kind {kinds[0]}; its keys are "
                f"{', '.join((kinds[0], *KINDS[kinds[0]]))}"
            )
        if self.function is not None and not is_dotted(self.function):
            raise ValueError(
                f"function must read module:function, such as my_scores:score, got {self.function!r}"
            )
        if self.tasks is None and not SAFE_NAME.fullmatch(self.called):
            raise ValueError(
                f"{self.called!r} cannot name a scorer: it becomes a file. Give it a `name` of letters, digits and "
                ". _ - = +"
            )
        return self

    @property
    def kind(self) -> str:
        return next(kind for kind in KINDS if getattr(self, kind) is not None)

    @property
    def called(self) -> str:
        """The judge's name in the table of scores, which is also that of its file."""
        if self.tasks is not None:
            return LM_EVAL
        if self.name is not None:
            return self.name
        if self.function is not None:
            return self.function.replace(":", ".")
        return str(self.reward).rstrip("/").rpartition("/")[2]

    def as_written(self) -> dict[str, Any]:
        """The keys that this kind of scorer has."""
        return {key: getattr(self, key) for key in (self.kind, *KINDS[self.kind])}

    def _left_empty(self) -> set[str]:
        """Keys that were given their default, as a recipe with every default written out does."""
        fields = type(self).model_fields
        return {key for key in self.model_fields_set if getattr(self, key) == fields[key].default}

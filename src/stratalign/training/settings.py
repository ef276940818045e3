"""Training settings, and what a condition may override.

Where Table 5 of Hierarchical Alignment v2 gives a value, the description names it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from stratalign.blocks import DEFAULT_TARGETS
from stratalign.losses import LOSSES, Objective

SHARED_KEYS = (
    "batch_size",
    "gradient_accumulation",
    "epochs",
    "max_length",
    "on_long",
    "precision",
    "checkpointing",
    "reference",
    "checkpoint_every",
)
"""Settings that all conditions of a study share, because they see the same batches in the same pass."""

LOSS_KEYS = tuple(field.name for field in fields(Objective) if field.name != "loss")
"""Settings that belong to losses; each loss reads some of them, and the others must keep their defaults."""


class TrainingSettings(BaseModel):
    """How every condition trains, unless it says otherwise."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    learning_rate: float | dict[str, float] = Field(
        1e-5, description="peak rate; or one for each block trained (paper: 1e-5)"
    )
    schedule: Literal["linear", "cosine", "constant"] = Field("linear", description="decay over all steps")
    warmup: float = Field(0, ge=0, description="steps, or a share of all steps when below 1")
    clip: float | None = Field(1.0, gt=0, description="largest gradient norm of a run; null: no clipping")
    weight_decay: float = Field(0.01, ge=0, description="AdamW's (paper: 0.01)")
    betas: tuple[float, float] = Field(
        (0.9, 0.999), description="AdamW's beta_1 and beta_2 (paper: 0.9, 0.999)"
    )
    beta: float = Field(
        0.1,
        gt=0,
        allow_inf_nan=False,
        description="beta of the loss (paper: 0.1); simpo and sigmoid_norm take means over tokens and want larger "
        "values, such as 2",
    )
    loss: str = Field(
        "sigmoid",
        description="sigmoid is DPO (paper: DPO); `stratalign list losses` says them all; sft trains on chosen alone",
    )
    label_smoothing: float = Field(
        0.0,
        ge=0,
        lt=0.5,
        description="for sigmoid and robust: share of pairs whose labels are taken to be exchanged",
    )
    simpo_gamma: float = Field(
        0.5, ge=0, allow_inf_nan=False, description="for simpo: the margin that it asks for"
    )
    nll: float = Field(
        0.0,
        ge=0,
        allow_inf_nan=False,
        description="weight of the chosen response's negative log-likelihood per token beside a preference loss",
    )
    batch_size: int = Field(
        6, ge=1, description="pairs in a micro-batch, over all devices together (paper: 6)"
    )
    gradient_accumulation: int = Field(4, ge=1, description="micro-batches in an optimizer step (paper: 4)")
    epochs: int = Field(1, ge=1, description="passes over the training pairs (paper: 1)")
    rank: int = Field(16, ge=1, description="LoRA's rank (paper: 16)")
    alpha: float = Field(
        32,
        gt=0,
        description="LoRA's alpha (paper: 32); a condition that changes rank alone keeps alpha / rank",
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="LoRA dropout; 0 as stock TRL sets it (paper: 0.05)")
    targets: list[str] = Field(
        list(DEFAULT_TARGETS),
        description="modules with adapters, by name (paper: q_proj, k_proj, v_proj, o_proj); attention: its "
        "projections, whatever their names (as these four are taken where a model has other names); linear: all",
    )
    max_length: int = Field(2048, ge=2, description="tokens of prompt and response together (paper: 2048)")
    on_long: Literal["drop", "truncate"] = Field("drop", description="longer pairs: drop and count, or cut")
    precision: Literal["auto", "float32", "bfloat16", "float64"] = Field(
        "auto", description="of the base; auto is bfloat16 on a GPU, float32 on a CPU (paper: bfloat16)"
    )
    checkpointing: bool | Literal["auto"] = Field(
        "auto", description="recompute activations; auto: only where memory needs it (paper: always)"
    )
    reference: Literal["auto", "pass", "stored"] = Field(
        "auto",
        description="reference log-probabilities: from every base pass, or computed once and stored for other "
        "studies; auto: stored from three epochs on",
    )
    checkpoint_every: int | Literal["auto"] = Field(
        "auto", description="steps between checkpoints; auto keeps them under 1 % of the time"
    )

    @field_validator("targets", mode="before")
    @classmethod
    def _listed(cls, written: object) -> object:
        """One name may stand without a list."""
        return [written] if isinstance(written, str) else written

    @model_validator(mode="after")
    def _check(self) -> TrainingSettings:
        rates = self.learning_rate.values() if isinstance(self.learning_rate, dict) else [self.learning_rate]
        if not all(0 < rate < float("inf") for rate in rates):
            raise ValueError(f"learning_rate must be a finite number above 0, got {self.learning_rate}")
        if self.loss not in LOSSES:
            raise ValueError(f"unknown loss {self.loss!r}; known: {', '.join(LOSSES)}")
        for key in LOSS_KEYS:
            value, default = getattr(self, key), type(self).model_fields[key].default
            if key not in LOSSES[self.loss].reads and value != default:
                raise ValueError(
                    f"the loss {self.loss} does not use {key}, got {value:g}: leave it out, or, where it is inherited, "
                    f"set it back with {key}: {default:g}"
                )
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas must lie in [0, 1), got {self.betas}")
        if self.checkpoint_every != "auto" and self.checkpoint_every < 1:
            raise ValueError(f"checkpoint_every must be at least 1 or auto, got {self.checkpoint_every}")
        return self

    @property
    def objective(self) -> Objective:
        """The loss and its settings."""
        return Objective(self.loss, **{key: getattr(self, key) for key in LOSS_KEYS})

    def overridden(self, overrides: Mapping[str, Any]) -> TrainingSettings:
        """These settings with a condition's overrides; `rank` alone keeps alpha / rank."""
        values = dict(overrides)
        if "alpha" not in values and isinstance(values.get("rank"), int) and values["rank"] > 0:
            values["alpha"] = self.alpha * values["rank"] / self.rank
        return TrainingSettings.model_validate(self.model_dump() | values)


OVERRIDE_KEYS = tuple(key for key in TrainingSettings.model_fields if key not in SHARED_KEYS)

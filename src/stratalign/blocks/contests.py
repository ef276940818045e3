"""Selectors at equal budget: the catalogue, and the conditions that a recipe's `selectors` section stands for."""

from __future__ import annotations

from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from stratalign.blocks.specs import EVEN, RANDOM, SHUFFLED, UNITS
from stratalign.errors import unknown_name


class Selector(NamedTuple):
    """What a selector chooses by: a record's file in the study's folder and its signal, or `even`; what that is, and
    the paper that it comes from."""

    by: str
    signal: str | None
    about: str
    source: str


SELECTORS = {
    "gradients": Selector(
        "diagnostics/gradients.json",
        "norm",
        "norm of the mean gradient",
        "Aletheia, arXiv:2604.15351, by layer",
    ),
    "auto_rgn": Selector(
        "diagnostics/gradients.json",
        "relative",
        "norm of the mean gradient over the weight's",
        "Surgical Fine-Tuning (Auto-RGN), arXiv:2210.11466",
    ),
    "snr": Selector(
        "diagnostics/weights.json",
        "snr",
        "signal-to-noise ratio of the weight's singular values; sees no data",
        "Spectrum, arXiv:2406.06623v1",
    ),
    "significance": Selector(
        "diagnostics/significance.json",
        "score",
        "learned score of a trained adapter's updates",
        "ILA, arXiv:2410.17875v3",
    ),
    "profile": Selector(
        "diagnostics/profile.json",
        "share",
        "share of full's gain that training a window of layers recovers",
        "layer contribution, arXiv:2607.01232",
    ),
    EVEN: Selector(
        EVEN, None, "layers at even distances; looks at nothing", "none: what a choice has to beat"
    ),
}
"""Every selector by its name in a recipe."""

DRAWS = 5
"""The fewest random draws that a comparison takes: better than all of five happens by chance in one of six cases."""


class SelectorsSettings(BaseModel):
    """Selectors compared at equal budget; none by default."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    by: list[str] = Field(
        [],
        description=f"selectors to compare, of {', '.join(SELECTORS)}; each becomes a condition of that name",
    )
    parameters: float = Field(
        0.25, gt=0, lt=1, description="share of full's adapter parameters that each may have"
    )
    arithmetic: float | None = Field(
        None, gt=0, lt=1, description="share of full's arithmetic of a step that each may take, beside"
    )
    unit: str = Field(
        "module", description="what is chosen: module, or layer for whole ones by their mean score"
    )
    random: int = Field(
        DRAWS, ge=DRAWS, le=1000, description="random draws of as many parameters, to hold them against"
    )
    same_kinds: int = Field(
        0,
        ge=0,
        le=1000,
        description="for each selector with a record, further draws of as many modules of the kinds that it chose; 0 "
        f"or at least {DRAWS}",
    )
    seed: int = Field(0, ge=0, description="of the random draws")

    @field_validator("by")
    @classmethod
    def _known(cls, value: list[str]) -> list[str]:
        for name in value:
            if name not in SELECTORS:
                raise ValueError(str(unknown_name("selector", name, SELECTORS)))
        if len(set(value)) != len(value):
            raise ValueError("a selector is named twice")
        return value

    @model_validator(mode="after")
    def _known_unit(self) -> SelectorsSettings:
        if self.unit not in UNITS:
            raise ValueError(str(unknown_name("unit", self.unit, UNITS)))
        return self

    @model_validator(mode="after")
    def _enough_of_the_same_kinds(self) -> SelectorsSettings:
        if self.same_kinds and self.unit == "layer":
            raise ValueError("same_kinds is for single modules: whole layers have all kinds; leave it out")
        if 0 < self.same_kinds < DRAWS:
            raise ValueError(f"same_kinds is 0 or at least {DRAWS}, got {self.same_kinds}")
        return self

    @property
    def draws(self) -> tuple[str, ...]:
        """The names of the random draws' conditions."""
        return tuple(f"{RANDOM}-{draw + 1}" for draw in range(self.random)) if self.by else ()


def draws_of_kinds(settings: SelectorsSettings, name: str) -> tuple[str, ...]:
    """The names of the draws that have one selector's own kinds of modules; none for one without a record."""
    if name not in settings.by or SELECTORS[name].signal is None:
        return ()
    return tuple(f"{name}-kinds-{draw + 1}" for draw in range(settings.same_kinds))


def selector_conditions(settings: SelectorsSettings, targets: list[str]) -> dict[str, dict[str, Any] | None]:
    """The conditions that the section stands for, as a recipe would write them: base, full, one for each selector, the
    random draws, and those of each selector's own kinds. None where no selector is named.

    Args:
        targets: what `full` trains; all of these conditions choose among the same kinds of modules.
    """
    if not settings.by:
        return {}
    budget: dict[str, Any] = {"parameters": settings.parameters}
    if settings.arithmetic is not None:
        budget["arithmetic"] = settings.arithmetic
    common = budget | {"unit": settings.unit, "targets": targets}
    found: dict[str, dict[str, Any] | None] = {"base": None, "full": None}
    for name in settings.by:
        chosen = SELECTORS[name]
        signal = {} if chosen.signal is None else {"signal": chosen.signal}
        found[name] = {"by": chosen.by, **signal, **common}
    for draw, name in enumerate(settings.draws):
        found[name] = {"by": RANDOM, "seed": settings.seed, "draw": draw, **common}
    for name in settings.by:
        for draw, own in enumerate(draws_of_kinds(settings, name)):
            found[own] = {**(found[name] or {}), "ranking": SHUFFLED, "seed": settings.seed + draw}
    return found

"""The layer profile's conditions: windows of consecutive layers at every depth, random draws of as many layers beside
them, and blocks whose boundaries are moved. Pure arithmetic on layer numbers.

How many there are follows from the model's depth, so that a recipe names the settings alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from stratalign.blocks.partitions import Blocks
from stratalign.errors import UserError
from stratalign.records import keyed_seed

Kind = Literal["window", "draw", "shifted", "needed"]

RANDOM_DRAWS = 5
"""Unless the recipe says how many, or there are fewer."""


class ProfileSettings(BaseModel):
    """Which windows of layers train, and how many random draws stand beside them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    window: int = Field(3, ge=1, description="layers in a window; 1 trains single layers")
    stride: int = Field(1, ge=1, description="layers from one window to the next, at most `window`")
    random: int | None = Field(
        None,
        ge=0,
        le=1000,
        description="sets of as many layers drawn from all; null is 5, or as many as there are",
    )
    seed: int = Field(0, ge=0, description="of the draws")

    @model_validator(mode="after")
    def _without_gaps(self) -> ProfileSettings:
        if self.stride > self.window:
            raise ValueError(
                f"a stride of {self.stride} leaves out layers between windows of {self.window}; give a stride of at "
                "most the window"
            )
        if self.window == 1 and self.random:
            raise ValueError(
                "beside windows of one layer a random draw would be one of the windows; leave `random` out"
            )
        return self


class BoundarySettings(BaseModel):
    """By how many layers the partition's inner boundaries are moved, up and down."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    shift: list[int] = Field([1, 2], max_length=100, description="layers; each is tried up (+) and down (-)")

    @field_validator("shift")
    @classmethod
    def _distinct(cls, value: list[int]) -> list[int]:
        if not value or len(set(value)) != len(value) or min(value) < 1:
            raise ValueError(
                f"shifts must be distinct whole numbers from 1, each tried up and down, got {value}"
            )
        return value


@dataclass(frozen=True)
class Added:
    """A condition that a recipe asks for without writing it out; `settings` are what `conditions` would say of it.

    A shifted one has the block that it is of, and by how many layers its boundaries were moved.
    """

    name: str
    kind: Kind
    settings: Mapping[str, Any]
    layers: tuple[int, ...]
    block: str | None = None
    shift: int = 0


def added_conditions(
    profile: ProfileSettings | None, boundaries: BoundarySettings | None, n_layers: int, blocks: Blocks
) -> list[Added]:
    """All conditions that the two sections ask for, in the order to report them.

    `base` and `full` (kind "needed") come first, since every share needs them; a recipe that writes them has them
    already.

    Raises:
        UserError: the model has too few layers for the windows, the draws or the shifts.
    """
    if profile is None and boundaries is None:
        return []
    found = [
        Added("base", "needed", {"block": "none"}, ()),
        Added("full", "needed", {"block": "full"}, tuple(range(n_layers))),
    ]
    if profile is not None:
        found += [_added(_window_name(layers), "window", layers) for layers in windows(n_layers, profile)]
        found += [
            _added(f"random-layers-{number}", "draw", layers)
            for number, layers in enumerate(random_draws(n_layers, profile), 1)
        ]
    if boundaries is not None:
        for shift in boundaries.shift:
            for by in (shift, -shift):
                for name, layers in shifted_blocks(blocks, by).items():
                    found.append(
                        Added(f"{name}{by:+d}", "shifted", {"layers": list(layers)}, tuple(layers), name, by)
                    )
    return found


def windows(n_layers: int, settings: ProfileSettings) -> list[range]:
    """Windows of consecutive layers from the bottom up; where the stride does not end at the top, one more does.

    Raises:
        UserError: a window is larger than the model.
    """
    size = settings.window
    if size > n_layers:
        raise UserError(
            f"profile.window is {size}, but the model has {n_layers} layers. Give at most {n_layers}."
        )
    top = n_layers - size
    starts = [*range(0, top, settings.stride), top]
    return [range(start, start + size) for start in starts]


def random_draws(n_layers: int, settings: ProfileSettings) -> list[tuple[int, ...]]:
    """Sets of as many layers as a window has, drawn from all; all different, and none of consecutive layers, so that
    there are none beside windows of one layer.

    Raises:
        UserError: there are not as many such sets.
    """
    size = settings.window
    there = math.comb(n_layers, size) - (n_layers - size + 1)
    wanted = min(RANDOM_DRAWS, there) if settings.random is None else settings.random
    if wanted > there:
        raise UserError(
            f"profile.random asks for {wanted} sets of {size} layers that are no window, but {n_layers} layers have "
            f"{there} of them. Give profile.random: {there} or less."
        )
    generator = np.random.default_rng(keyed_seed("profile draws", settings.seed))
    found: list[tuple[int, ...]] = []
    while len(found) < wanted:
        drawn = tuple(sorted(int(one) for one in generator.choice(n_layers, size=size, replace=False)))
        if drawn[-1] - drawn[0] > size - 1 and drawn not in found:
            found.append(drawn)
    return found


def shifted_blocks(blocks: Blocks, by: int) -> Blocks:
    """The partition with every inner boundary moved by `by` layers, up where it is above 0.

    Raises:
        UserError: there is no inner boundary, a block is not of consecutive layers, blocks leave gaps, or a block
            would lose all its layers.
    """
    ordered = sorted(blocks.items(), key=lambda item: item[1][0])
    joined = [layer for _, layers in ordered for layer in layers]
    if len(ordered) < 2 or joined != list(range(joined[0], joined[-1] + 1)):
        raise UserError(
            "boundaries moves the boundaries between blocks: it takes a partition of two or more blocks of consecutive "
            "layers, one after the other. Leave `boundaries` out, or change the partition."
        )
    edges = [joined[0], *(layers[0] + by for _, layers in ordered[1:]), joined[-1] + 1]
    moved = {}
    for (name, layers), start, stop in zip(ordered, edges, edges[1:], strict=False):
        if start >= stop:
            raise UserError(
                f"boundaries.shift of {abs(by)} leaves block {name!r} of {len(layers)} "
                f"layer{'' if len(layers) == 1 else 's'} with none. Give smaller shifts."
            )
        moved[name] = range(start, stop)
    return {name: moved[name] for name in blocks}


def _added(name: str, kind: Kind, layers: Sequence[int]) -> Added:
    return Added(name, kind, {"layers": list(layers)}, tuple(layers))


def _window_name(layers: range) -> str:
    return f"window-{layers[0]}" if len(layers) == 1 else f"window-{layers[0]}-{layers[-1]}"

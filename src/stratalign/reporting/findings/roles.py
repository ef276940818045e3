"""What each condition is for: the base, a candidate, or a control, told from the manifest and the recipe. Pure.

Where a record is missing, less is told: a condition of which nothing is known counts as trained.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from stratalign.blocks import draws_modules
from stratalign.reporting.comparisons.contrasts import BASE
from stratalign.reporting.inputs import StudyRecords
from stratalign.reporting.numbers import listed, several

Kind = Literal[
    "base",
    "trained",
    "base again",
    "shuffled labels",
    "random layers",
    "equal parameters",
    "window",
    "draw",
    "shifted",
]
NULL_KINDS = ("base again", "shuffled labels")
CONTROL_KINDS = ("random layers", "equal parameters")
ASIDE_KINDS = ("window", "draw", "shifted")
ALIKE = 0.1
"""Two numbers of parameters count as equal within this share: a rank is a whole number, so they rarely match."""


@dataclass(frozen=True)
class Role:
    """What one condition is for. `about` says what a control is, `held_against` which trained conditions it is
    there to be compared with; `alike` are those of them that have as many layers, or parameters, as it has."""

    condition: str
    kind: Kind
    about: str = ""
    held_against: tuple[str, ...] = ()
    alike: tuple[str, ...] = ()

    @property
    def eligible(self) -> bool:
        """Whether it can win: trained, and no control."""
        return self.kind == "trained"

    @property
    def null(self) -> bool:
        """Whether it should move nothing."""
        return self.kind in NULL_KINDS

    @property
    def control(self) -> bool:
        """Whether it trains as candidates do, and is there for them to be held against."""
        return self.kind in CONTROL_KINDS

    @property
    def aside(self) -> bool:
        """Whether it belongs to the layer profile or the shifted boundaries, which have a section and tests of their
        own: dozens of windows would take the power from the comparison that the study is about."""
        return self.kind in ASIDE_KINDS


class _Known(NamedTuple):
    """What is known of a condition: its entry in the recipe, and of the manifest what does not depend on the seed."""

    settings: Mapping[str, Any]
    layers: tuple[int, ...] | None
    parameters: int | None
    labels: str


def condition_roles(records: StudyRecords, order: Sequence[str]) -> tuple[Role, ...]:
    """The role of every condition of `order`."""
    known = {condition: _known(condition, records) for condition in order}
    kinds = {condition: _kind(condition, one) for condition, one in known.items()}
    for added in records.added:
        if added.name in kinds and added.kind != "needed":
            kinds[added.name] = added.kind
    for condition, one in known.items():
        smaller = [
            c for c in order if kinds[c] == "trained" and len(known[c].layers or ()) < len(one.layers or ())
        ]
        own_rank = one.settings.get("block") == "full" and "rank" in one.settings
        if kinds[condition] == "trained" and own_rank and _alike(one, known, smaller):
            kinds[condition] = "equal parameters"
    trained = {condition: one for condition, one in known.items() if kinds[condition] == "trained"}
    partition = records.manifest.get("partition") or {}
    return tuple(
        Role(condition, kinds[condition], *_described(kinds[condition], one, trained, partition))
        for condition, one in known.items()
    )


def _known(condition: str, records: StudyRecords) -> _Known:
    runs = (records.manifest.get("runs") or {}).items()
    entries = [
        entry
        for run, entry in runs
        if isinstance(entry, Mapping) and entry.get("condition", run) == condition
    ]
    entry = entries[0] if entries else {}
    settings = _settings(condition, records.recipe)
    layers = entry.get("layers")
    return _Known(
        settings,
        None if layers is None else tuple(sorted(layers)),
        entry.get("parameters"),
        str(entry.get("labels") or settings.get("labels") or "given"),
    )


def _settings(condition: str, recipe: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the recipe writes of a condition, in its short or its long form. A condition that a list of values made
    (`tuned-5e-06`) has the settings of the name it begins with."""
    written = recipe.get("conditions")
    items: list[tuple[Any, Any]] = []
    if isinstance(written, Mapping):
        items = list(written.items())
    elif isinstance(written, list):
        for item in written:
            items += item.items() if isinstance(item, Mapping) else [(item, None)]
    names = [str(name) for name, _ in items if condition == str(name) or condition.startswith(f"{name}-")]
    found = (
        next((value for name, value in items if str(name) == max(names, key=len)), None) if names else None
    )
    if isinstance(found, Mapping) and found:
        return found
    return {"block": "none" if condition == BASE else condition}


def _kind(condition: str, one: _Known) -> Kind:
    if condition == BASE:
        return "base"
    if one.layers == () or (one.layers is None and one.settings.get("block") == "none"):
        return "base again"
    if one.labels == "shuffled":
        return "shuffled labels"
    if "random" in one.settings or draws_modules(one.settings):
        return "random layers"
    return "equal parameters" if "parameters_like" in one.settings else "trained"


def _described(
    kind: Kind, one: _Known, trained: Mapping[str, _Known], partition: Mapping[str, Sequence[int]]
) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """What a control is, in words, the trained conditions to hold it against, and those of them that are alike."""
    if kind == "base again":
        return "the base, sampled anew", (), ()
    if kind == "shuffled labels":
        return "trained on shuffled labels", (), ()
    if kind == "random layers":
        if draws_modules(one.settings):
            of_kinds = "of the same kinds, " if "ranking" in one.settings else ""
            alike = _alike(one, trained, list(trained))
            chosen = {key: value for key, value in one.settings.items() if key not in ("ranking", "seed")}
            alike = [name for name in alike if trained[name].settings == chosen] or alike
            as_many = f", about as many parameters as {several(alike)}" if alike else ""
            return f"modules {of_kinds}drawn at random{as_many}", tuple(alike), tuple(alike)
        asked = one.settings.get("random")
        alike = _trains(asked, trained, partition) or [
            name
            for name, other in trained.items()
            if one.layers and len(other.layers or ()) == len(one.layers)
        ]
        as_many = f", as many as {listed(alike)}" if alike else ""
        count = len(one.layers) if one.layers else "some"
        return (
            f"{count} layer{'' if count == 1 else 's'} drawn at random{as_many}",
            tuple(alike),
            tuple(alike),
        )
    if kind == "equal parameters":
        alike = _alike(one, trained, list(trained)) or _trains(
            one.settings.get("parameters_like"), trained, partition
        )
        full = [
            name
            for name, other in trained.items()
            if (other.layers == one.layers if one.layers else other.settings.get("block") == "full")
        ]
        about = f"about as many parameters as {listed(alike)}" if alike else "a rank of its own"
        about = f"all layers, {about}" if one.settings.get("block") == "full" else about
        return about, tuple(dict.fromkeys([*alike, *full])), tuple(alike)
    return "", (), ()


def _trains(
    block: object, trained: Mapping[str, _Known], partition: Mapping[str, Sequence[int]]
) -> list[str]:
    """The trained conditions that train exactly this block."""
    layers = tuple(sorted(partition.get(str(block)) or ()))
    return [
        name
        for name, one in trained.items()
        if (one.layers == layers if one.layers and layers else one.settings.get("block") == block)
    ]


def _alike(one: _Known, known: Mapping[str, _Known], among: Sequence[str]) -> list[str]:
    """Those of `among` that have about as many parameters."""
    if not one.parameters:
        return []
    return [
        name
        for name in among
        if abs((known[name].parameters or 0) - one.parameters) <= ALIKE * one.parameters
    ]

"""list: everything that a recipe can name, with one line on each; read from the catalogues themselves.

Losses and diagnoses live beside tensor code, so their rooms are imported only when they are asked for: the other
catalogues are there without torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from stratalign.blocks import FAMILIES, PARTITIONS, REFUSALS, SELECTORS, WORDS, describe_family
from stratalign.errors import unknown_name
from stratalign.judging import PROTOCOLS, load_protocol, packaged_protocols
from stratalign.microworld import NAME, PREFERENCE_SETS
from stratalign.records import Dimension

CONDITIONS = {
    "block": "one block of the partition, full or none",
    "blocks": "a union of blocks, with one learning rate or one for each",
    "layers": "layers by number, such as [3, 4, '17-19']",
    "random": "as many layers as a number or a block says, drawn at random (seed, contiguous)",
    "by": "modules that a diagnosis's record ranks highest (keep: a share, or drop: the lowest; parameters, arithmetic "
    "shares of full's; unit: module or layer; signal; ranking: shuffled draws as many of each kind at random); or even "
    "and random: layers at even distances, modules drawn (parameters; seed, draw)",
    "phases": "blocks or layers one after the other, each for some steps",
    "parameters_like": "beside one of these: the rank that gives about as many parameters as a block",
    "labels": "beside one of these: shuffled, a coin decides which response is chosen",
    "sampling_seed": "beside one of these: other sampling noise",
}


def catalogues(name: str | None = None) -> dict[str, dict[str, str]]:
    """Catalogue -> name -> what it is.

    Args:
        name: one catalogue alone.

    Raises:
        UserError: there is no such catalogue.
    """
    if name is not None and name not in CATALOGUES:
        raise unknown_name("catalogue", name, CATALOGUES)
    return {one: dict(entries()) for one, entries in CATALOGUES.items() if name in (None, one)}


def _losses() -> dict[str, str]:
    from stratalign.losses import LOSSES

    return {name: _first_line(loss.value) for name, loss in LOSSES.items()}


def _diagnoses() -> Mapping[str, str]:
    from stratalign.diagnostics import KINDS

    return KINDS


def _protocols() -> dict[str, str]:
    own = {name: f"{len(found.dimensions)} dimensions" for name, found in PROTOCOLS.items()}
    asked = {name: load_protocol(name) for name in packaged_protocols()}
    return own | {
        name: f"{len(found.dimensions)} dimensions, asked of a language model"
        for name, found in asked.items()
    }


def _dimensions() -> dict[str, str]:
    asked = [load_protocol(name).dimensions for name in packaged_protocols()]
    found: list[Dimension] = [
        dimension
        for dimensions in (*(one.dimensions for one in PROTOCOLS.values()), *asked)
        for dimension in dimensions
    ]
    return {d.name: f"{d.about} ({d.unit}; {d.better or 'no direction is'} better)" for d in found}


def _selectors() -> dict[str, str]:
    return {
        name: f"{one.about} ({one.by}{f', signal {one.signal}' if one.signal else ''}; source: {one.source})"
        for name, one in SELECTORS.items()
    }


def _first_line(function: object) -> str:
    return (function.__doc__ or "").strip().splitlines()[0]


CATALOGUES: dict[str, Callable[[], Mapping[str, str]]] = {
    "partitions": lambda: {name: _first_line(function) for name, function in PARTITIONS.items()},
    "conditions": lambda: CONDITIONS,
    "losses": _losses,
    "preference_sets": lambda: {f"{NAME}:{name}": one.about for name, one in PREFERENCE_SETS.items()},
    "protocols": _protocols,
    "dimensions": _dimensions,
    "diagnoses": _diagnoses,
    "selectors": _selectors,
    "targets": lambda: WORDS,
    "models": lambda: {name: describe_family(family) for name, family in FAMILIES.items()},
    "refused_models": lambda: {
        name: f"{', '.join(refusal.types)}: {refusal.reason}" for name, refusal in REFUSALS.items()
    },
}
"""Every catalogue by its name, made when it is asked for."""

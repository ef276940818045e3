"""list: everything that a recipe can name, with one line on each; read from the catalogues themselves."""

from __future__ import annotations

from stratalign.blocks import FAMILIES, PARTITIONS, REFUSALS, SELECTORS, WORDS, describe_family
from stratalign.diagnostics import KINDS
from stratalign.judging import PROTOCOLS, load_protocol, packaged_protocols
from stratalign.losses import LOSSES
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


def catalogues() -> dict[str, dict[str, str]]:
    """Catalogue -> name -> what it is."""
    asked = {name: load_protocol(name) for name in packaged_protocols()}
    dimensions: list[Dimension] = [
        *(dimension for found in PROTOCOLS.values() for dimension in found.dimensions),
        *(dimension for found in asked.values() for dimension in found.dimensions),
    ]
    return {
        "partitions": {name: _first_line(function) for name, function in PARTITIONS.items()},
        "conditions": dict(CONDITIONS),
        "losses": {name: _first_line(loss.value) for name, loss in LOSSES.items()},
        "preference_sets": {f"{NAME}:{name}": one.about for name, one in PREFERENCE_SETS.items()},
        "protocols": {name: f"{len(found.dimensions)} dimensions" for name, found in PROTOCOLS.items()}
        | {
            name: f"{len(found.dimensions)} dimensions, asked of a language model"
            for name, found in asked.items()
        },
        "dimensions": {
            d.name: f"{d.about} ({d.unit}; {d.better or 'no direction is'} better)" for d in dimensions
        },
        "diagnoses": dict(KINDS),
        "selectors": {
            name: f"{one.about} ({one.by}{f', signal {one.signal}' if one.signal else ''}; source: {one.source})"
            for name, one in SELECTORS.items()
        },
        "targets": dict(WORDS),
        "models": {name: describe_family(family) for name, family in FAMILIES.items()},
        "refused_models": {
            name: f"{', '.join(refusal.types)}: {refusal.reason}" for name, refusal in REFUSALS.items()
        },
    }


def _first_line(function: object) -> str:
    return (function.__doc__ or "").strip().splitlines()[0]

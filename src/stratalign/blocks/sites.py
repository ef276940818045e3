"""Sites: the places of a model where an adapter can be attached, as plain numbers and names.

A site is one linear module inside one layer. The list of sites is all that the rest of this room knows about a
model, so that selecting layers needs neither weights nor torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from stratalign.errors import UserError, unknown_name


class Site(NamedTuple):
    """One linear module of one layer.

    `name` is the full module name ("model.layers.3.self_attn.q_proj"), `kind` the name within its layer
    ("self_attn.q_proj"); features are those of the weight, `out_features x in_features`. `transposed` says that
    the weight is stored the other way round (GPT-2).
    """

    name: str
    layer: int
    kind: str
    in_features: int
    out_features: int
    transposed: bool = False


def select_sites(
    sites: Sequence[Site], layers: Iterable[int], targets: Sequence[str], who: str
) -> list[Site]:
    """The sites of `layers` whose kind is one of `targets` ("q_proj" or "self_attn.q_proj"), in model order.

    Raises:
        UserError: a target matches nothing in the model or in these layers, or two targets match one module.
    """
    if not targets:
        raise UserError(f"Condition {who!r} has no target modules. Known: {', '.join(kinds(sites))}.")
    wanted = set(layers)
    claimed: dict[str, str] = {}
    for target in targets:
        matching = [site for site in sites if _matches(site.kind, target)]
        if not matching:
            raise unknown_name(f"target module of condition {who!r}", target, kinds(sites))
        inside = [site for site in matching if site.layer in wanted]
        if not inside and wanted:
            raise UserError(
                f"Target {target!r} of condition {who!r} exists in layers "
                f"{describe_layers(sorted({site.layer for site in matching}))} but in none of the chosen ones, "
                f"{describe_layers(sorted(wanted))}."
            )
        for site in inside:
            if site.name in claimed:
                raise UserError(
                    f"Condition {who!r} matches {site.name} twice, by the targets {claimed[site.name]!r} and "
                    f"{target!r}. Name each module once."
                )
            claimed[site.name] = target
    return [site for site in sites if site.name in claimed]


def adapter_parameters(sites: Iterable[Site], rank: int) -> int:
    """Parameters of LoRA at `rank` on these sites: rank x (in + out) for each (Hu et al. 2021, section 4.1)."""
    return sum(rank * (site.in_features + site.out_features) for site in sites)


def kinds(sites: Iterable[Site]) -> list[str]:
    """The distinct module kinds, by the shortest name that a recipe may use, in model order."""
    return list(dict.fromkeys(site.kind.rsplit(".", 1)[-1] for site in sites))


def describe_layers(layers: Sequence[int]) -> str:
    """Layer numbers in short form: [0, 1, 2, 5] becomes "0-2, 5"."""
    parts: list[str] = []
    for layer in layers:
        if parts and layer == int(parts[-1].split("-")[-1]) + 1:
            parts[-1] = f"{parts[-1].split('-')[0]}-{layer}"
        else:
            parts.append(str(layer))
    return ", ".join(parts) or "none"


def _matches(kind: str, target: str) -> bool:
    return kind == target or kind.endswith(f".{target}")

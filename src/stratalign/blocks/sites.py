"""Sites: the places of a model where an adapter can be attached, as plain numbers and names.

A site is one linear module inside one layer. The list of sites is all that the rest of this room knows about a
model, so that selecting layers needs neither weights nor torch.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from stratalign.errors import UserError, unknown_name

WORDS = {
    "attention": "the projections of attention, by whatever names the model has for them",
    "linear": "every linear module of a layer that may have an adapter",
}
"""Words that stand for a group of modules in `targets`; all else is a module's name."""

DEFAULT_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj")
"""The paper's targets. In a model that has not all of these names they mean `attention`, so that the default recipe
means the same in every family."""

_PLACE = re.compile(r"\.(\d+)\.(.+)")
"""In a full module name: the layer, then the name within it."""


class Site(NamedTuple):
    """One linear module of one layer.

    `name` is the full module name ("model.layers.3.self_attn.q_proj"), `kind` the name within its layer
    ("self_attn.q_proj"); features are those of the weight, `out_features x in_features`. `transposed` says that
    the weight is stored the other way round (GPT-2). A part that is listed only to be refused, a router or experts,
    has the reason in `frozen`; it need not be a linear module.
    """

    name: str
    layer: int
    kind: str
    in_features: int
    out_features: int
    transposed: bool = False
    attention: bool = False
    frozen: str | None = None


def select_sites(
    sites: Sequence[Site], layers: Iterable[int], targets: Sequence[str], who: str
) -> list[Site]:
    """The sites of `layers` that `targets` name, in model order.

    A target is a word of `WORDS`, or a kind ("q_proj" or "self_attn.q_proj").

    Raises:
        UserError: a target matches nothing in the model or in these layers, two targets match one module, or a
            target names a part that stays frozen.
    """
    if not targets:
        raise UserError(
            f"Condition {who!r} has no target modules. Known: {', '.join([*WORDS, *kinds(sites)])}."
        )
    targets = _meant(sites, targets)
    wanted = set(layers)
    claimed: dict[str, str] = {}
    for target in targets:
        matching = [site for site in sites if _matches(site, target)]
        if not matching:
            raise _unmatched(sites, target, who)
        inside = [site for site in matching if site.layer in wanted]
        if not inside and wanted:
            raise UserError(
                f"Target {target!r} of condition {who!r} exists in layers "
                f"{describe_layers(sorted({site.layer for site in matching}))} but in none of the chosen ones, "
                f"{describe_layers(sorted(wanted))}."
            )
        for site in inside or matching:
            if site.frozen is not None:
                raise UserError(
                    f"Target {target!r} of condition {who!r} names {site.name}, which takes no adapter: "
                    f"{site.frozen}. Known: {', '.join(kinds(sites))}."
                )
        for site in inside:
            if site.name in claimed:
                raise UserError(
                    f"Condition {who!r} matches {site.name} twice, by the targets {claimed[site.name]!r} and "
                    f"{target!r}. Name each module once, or, for a condition each, write "
                    f"targets: [{', '.join(f'[{one}]' for one in targets)}]."
                )
            claimed[site.name] = target
    return [site for site in sites if site.name in claimed]


def name_targets(sites: Sequence[Site], layers: Iterable[int], targets: Sequence[str], who: str) -> list[str]:
    """What `targets` came to in this model: one name for each kind selected, in model order.

    A name is the end of the kind that no other kind of the model shares: GPT-2's two "c_proj" become "attn.c_proj"
    and "mlp.c_proj". A condition that trains no layer is given the names that all layers would have. Names that the
    recipe wrote itself stay as they are.

    Raises:
        UserError: as `select_sites`.
    """
    targets = _meant(sites, targets)
    chosen = set(layers) or {site.layer for site in sites}
    named: list[str] = []
    for target in targets:
        if target not in WORDS:
            named.append(target)
            continue
        named += name_kinds(sites, select_sites(sites, chosen, [target], who))
    return named


def name_kinds(sites: Sequence[Site], chosen: Iterable[Site]) -> list[str]:
    """The kinds of the chosen sites in the model's order, each by the shortest end of its name that no other kind of
    the model shares."""
    there = {site.kind for site in chosen}
    kinds_of_model = dict.fromkeys(site.kind for site in sites)
    return [_shortest(kind, kinds_of_model) for kind in kinds_of_model if kind in there]


def single_modules(names: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Kind -> its layers, of full module names ("model.layers.3.self_attn.q_proj"); empty where every kind is in every
    layer, so that kinds and layers say it all."""
    found = [match.groups() for name in names if (match := _PLACE.search(name))]
    all_kinds = dict.fromkeys(kind for _, kind in found)
    if len(found) == len(all_kinds) * len({layer for layer, _ in found}):
        return {}
    return {
        _shortest(kind, all_kinds): tuple(sorted(int(layer) for layer, own in found if own == kind))
        for kind in all_kinds
    }


def adapter_parameters(sites: Iterable[Site], rank: int) -> int:
    """Parameters of LoRA at `rank` on these sites: rank x (in + out) for each (Hu et al. 2021, section 4.1)."""
    return sum(rank * (site.in_features + site.out_features) for site in sites)


def kinds(sites: Iterable[Site]) -> list[str]:
    """The distinct kinds that take adapters, by the shortest name that a recipe may use, in model order."""
    return list(dict.fromkeys(site.kind.rsplit(".", 1)[-1] for site in sites if site.frozen is None))


def describe_layers(layers: Sequence[int]) -> str:
    """Layer numbers in short form: [0, 1, 2, 5] becomes "0-2, 5"."""
    parts: list[str] = []
    for layer in layers:
        if parts and layer == int(parts[-1].split("-")[-1]) + 1:
            parts[-1] = f"{parts[-1].split('-')[0]}-{layer}"
        else:
            parts.append(str(layer))
    return ", ".join(parts) or "none"


def _meant(sites: Sequence[Site], targets: Sequence[str]) -> Sequence[str]:
    """The default names in a model that has not all of them: its attention projections."""
    if set(targets) != set(DEFAULT_TARGETS):
        return targets
    known = all(any(_ends(site.kind, target) for site in sites) for target in targets)
    return targets if known else ["attention"]


def _matches(site: Site, target: str) -> bool:
    if target in WORDS:
        return site.frozen is None and (site.attention or target == "linear")
    return _ends(site.kind, target)


def _ends(kind: str, target: str) -> bool:
    return kind == target or kind.endswith(f".{target}")


def _shortest(kind: str, others: Iterable[str]) -> str:
    parts = kind.split(".")
    ends = [".".join(parts[-count:]) for count in range(1, len(parts) + 1)]
    alone = (end for end in ends if not any(_ends(other, end) for other in others if other != kind))
    return next(alone, kind)


def _unmatched(sites: Sequence[Site], target: str, who: str) -> UserError:
    """No module has the name: say which the model has, and which of them are its attention's."""
    if target in WORDS:
        return UserError(
            f"Target {target!r} of condition {who!r} stands for {WORDS[target]}, and this model has none. "
            f"Known: {', '.join(kinds(sites))}."
        )
    attention = kinds(site for site in sites if site.attention)
    advice = f"`attention` stands for {', '.join(attention)} here." if attention else ""
    return unknown_name(f"target module of condition {who!r}", target, kinds(sites), advice)

"""The sites of a condition `{by: ..., keep | drop | parameters: SHARE, arithmetic: SHARE, unit: ...}`.

Ranks modules or whole layers, by the numbers of a record or by place alone, and takes the best within the budget.
Knows nothing of files, weights or rates.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np

from stratalign.blocks.budgets import Cost, affordable, within
from stratalign.blocks.selectors import (
    Signals,
    drop_share,
    keep_share,
    ranked,
    scores_by,
    share_size,
    shuffled_within,
)
from stratalign.blocks.sites import Site, adapter_parameters, select_sites
from stratalign.blocks.specs import EVEN, PLACES, ConditionSpec
from stratalign.errors import UserError
from stratalign.records import keyed_seed

Units = dict[str, list[Site]]
"""What is chosen together: modules by name, or layers by "layer 3" with those of their modules that may be chosen."""

ATTEMPTS = 1000
"""Draws after which no further distinct one is looked for."""


def sites_by(
    spec: ConditionSpec,
    sites: Sequence[Site],
    records: Mapping[str, Signals],
    *,
    targets: Sequence[str],
    rank: int,
    full: Cost,
) -> list[Site]:
    """The sites that a condition with `by` trains, in model order.

    Args:
        spec: the condition.
        sites: every linear module of every layer of the model.
        records: numbers for modules by the name of the record that they come from.
        targets: the kinds that the condition may train where it says `targets` itself or needs no record; else those of
            the record.
        rank: of the condition's adapters.
        full: what training every layer costs at this rank, of which budgets are shares.

    Raises:
        UserError: the record is not there or of another model, or the budget is too small to train anything.
    """
    selection = spec.selection
    place = selection["by"] in PLACES
    allowed = [site for site in sites if site.frozen is None]
    if place or "targets" in spec.overrides:
        allowed = select_sites(sites, {site.layer for site in sites}, targets, spec.name)
    scores: Mapping[str, float] = {}
    if not place:
        scores = _scores(spec, sites, allowed, records)
        allowed = [site for site in allowed if site.name in scores]
    whole = bool(selection.get("unit") == "layer")
    most = _most_parameters(selection, allowed, rank, full, whole)
    fitting = allowed
    if "arithmetic" in selection:
        fitting = affordable(spec.name, sites, allowed, rank, most, selection["arithmetic"] * full.arithmetic)
    if "ranking" in selection:  # dealt out anew among what may be chosen, so that the kinds stay as many
        kinds = {site.name: site.kind for site in fitting}
        scores = shuffled_within({name: scores[name] for name in kinds}, kinds, selection.get("seed", 0))
    units = _units(fitting, whole)
    if "parameters" in selection:
        sizes = {name: adapter_parameters(own, rank) for name, own in units.items()}
        if selection["by"] == EVEN:
            taken = within(_evenly(units, sizes, most, whole), sizes, most)
            first = next(iter(units))
        elif place:
            taken = _drawn(spec, units, sizes, most, whole)
            first = next(iter(units))
        else:
            order = ranked({name: fmean(scores[site.name] for site in own) for name, own in units.items()})
            taken, first = within(order, sizes, most), order[0]
        if not taken:
            raise UserError(
                f"conditions.{spec.name}.parameters: {selection['parameters']:g} of full's adapter parameters are "
                f"{most:,}, too few to train anything: {first} has {sizes[first]:,}. Give at least "
                f"{_share_that_affords(sizes[first], full.parameters):.2g}{_or_modules(', or choose', whole)}."
            )
    else:
        numbers = {name: fmean(scores[site.name] for site in own) for name, own in units.items()}
        if "drop" in selection:
            taken = list(drop_share(numbers, selection["drop"]))
        elif fitting is allowed:
            taken = list(keep_share(numbers, selection["keep"]))
        else:  # as many as without a budget of arithmetic, or all that keep to it
            count = max(1, share_size(selection["keep"], len(_units(allowed, whole))))
            taken = ranked(numbers)[:count]
    chosen = {site.name for name in taken for site in units[name]}
    return [site for site in sites if site.name in chosen]


def _scores(
    spec: ConditionSpec, sites: Sequence[Site], allowed: Sequence[Site], records: Mapping[str, Signals]
) -> Mapping[str, float]:
    """The record's numbers for the modules that may be chosen."""
    by = spec.selection["by"]
    scores = scores_by(spec.name, spec.selection, records)
    known = {site.name for site in sites if site.frozen is None}
    foreign = sorted(scores.keys() - known)
    if foreign:
        raise UserError(
            f"Condition {spec.name!r} is chosen by the record {by}, which is of another model: it names {foreign[0]}, "
            "which takes no adapter here. Make the record with this recipe."
        )
    names = {site.name for site in allowed}
    scores = {name: value for name, value in scores.items() if name in names}
    if not scores:
        raise UserError(
            f"The record {by} has no numbers for the modules that condition {spec.name!r} may train. Leave out its "
            "`targets`, or make the record with this recipe."
        )
    return scores


def _most_parameters(
    selection: Mapping[str, Any], allowed: Sequence[Site], rank: int, full: Cost, whole: bool
) -> int:
    """The parameters that a budget allows, or that the largest choice of this share of the units has."""
    if "parameters" in selection:
        return int(selection["parameters"] * full.parameters)
    sizes = sorted((adapter_parameters(own, rank) for own in _units(allowed, whole).values()), reverse=True)
    return sum(sizes[: max(1, share_size(selection.get("keep", 1.0), len(sizes)))])


def _units(sites: Sequence[Site], whole: bool) -> Units:
    found: Units = {}
    for site in sites:
        found.setdefault(f"layer {site.layer}" if whole else site.name, []).append(site)
    return found


def _evenly(units: Units, sizes: Mapping[str, int], most: int, whole: bool) -> list[str]:
    """Units of layers at even distances, in model order: of whole layers as many as keep to `most`, of modules those of
    the fewest layers that reach it.

    Of n layers, k at even distances are those in the middles of k equal stretches: floor((2 i + 1) n / (2 k)).
    """
    by_layer: dict[int, list[str]] = {}
    for name, own in units.items():
        by_layer.setdefault(own[0].layer, []).append(name)
    layers, found = sorted(by_layer), list[str]()
    for count in range(1, len(layers) + 1):
        places = [(2 * i + 1) * len(layers) // (2 * count) for i in range(count)]
        names = [name for place in places for name in by_layer[layers[place]]]
        spent = sum(sizes[name] for name in names)
        if whole and spent > most:
            break
        found = names
        if spent >= most:
            break
    return found


def _drawn(spec: ConditionSpec, units: Units, sizes: Mapping[str, int], most: int, whole: bool) -> list[str]:
    """Units drawn at random within the budget: whole layers, or as many modules of each kind as evenly spaced layers
    have, each in a layer of its own draw.

    Draws of one seed are distinct: `draw` counts them.

    Raises:
        UserError: there are not so many distinct ones.
    """
    seed, draw = spec.selection.get("seed", 0), spec.selection.get("draw", 0)
    slots = (
        ["layer"] * len(units)
        if whole
        else [units[name][0].kind for name in _evenly(units, sizes, most, False)]
    )
    seen: dict[frozenset[str], list[str]] = {}
    for attempt in range(ATTEMPTS):
        rng = np.random.default_rng(keyed_seed("random modules", seed, attempt))
        names = list(units)
        mixed = [names[at] for at in rng.permutation(len(names))]
        pools: dict[str, list[str]] = {}
        for name in mixed:
            pools.setdefault("layer" if whole else units[name][0].kind, []).append(name)
        taken = within([pools[kind].pop() for kind in slots], sizes, most)
        seen.setdefault(frozenset(taken), taken)
        if len(seen) > draw:
            return list(seen.values())[draw]
    raise UserError(
        f"conditions.{spec.name}.draw is {draw}, but only {len(seen)} distinct draws of this size were found. Ask for "
        f"fewer{_or_modules(', or for', whole)}."
    )


def _share_that_affords(size: int, of_full: int) -> float:
    """The least share with two significant digits that pays for `size`."""
    digit = 10.0 ** (math.floor(math.log10(size / of_full)) - 1)
    return math.ceil(size / of_full / digit - 1e-9) * digit


def _or_modules(verb: str, whole: bool) -> str:
    """The advice to choose smaller units, where whole layers are chosen."""
    return f"{verb} single modules (unit: module)" if whole else ""

"""Conditions: a spec resolved against a model, to exact modules with their learning rates.

Selecting layers is arithmetic on numbers; a model is known here as its list of sites alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stratalign.blocks.budgets import Cost, cost_of
from stratalign.blocks.choosing import sites_by
from stratalign.blocks.partitions import Blocks, check_layers, parse_layers
from stratalign.blocks.selectors import Signals
from stratalign.blocks.sites import (
    Site,
    adapter_parameters,
    describe_layers,
    name_kinds,
    name_targets,
    select_sites,
)
from stratalign.blocks.specs import WAYS, ConditionSpec, is_count
from stratalign.errors import UserError, unknown_name
from stratalign.records import keyed_seed


@dataclass(frozen=True)
class Phase:
    """A stretch of training: module name -> learning rate; `steps` None means all that remain."""

    modules: Mapping[str, float]
    steps: int | None = None


@dataclass(frozen=True)
class Condition:
    """A condition resolved against a model: what trains, when, and how strongly. No phases: nothing trains."""

    name: str
    phases: tuple[Phase, ...]
    layers: tuple[int, ...]
    modules: tuple[str, ...]
    targets: tuple[str, ...]
    rank: int
    parameters: int
    labels: str
    sampling_seed: int

    @property
    def trains(self) -> bool:
        return bool(self.modules)


def resolve_condition(
    spec: ConditionSpec,
    sites: Sequence[Site],
    blocks: Blocks,
    *,
    learning_rate: float | Mapping[str, float],
    targets: Sequence[str],
    rank: int,
    records: Mapping[str, Signals] | None = None,
    full_targets: Sequence[str] | None = None,
) -> Condition:
    """Turn a condition into exact modules.

    Args:
        spec: from `expand_conditions`.
        sites: every linear module of every layer of the model.
        blocks: the study's partition.
        learning_rate: one rate, or one for each block that the condition names.
        targets: module kinds that get an adapter, or words that stand for them (`WORDS`).
        rank: LoRA rank; replaced by the nearest one where the condition says `parameters_like`.
        records: numbers for modules by the name of the record that they come from, for conditions that are chosen by
            one. Such a condition trains modules of any kind, unless it says `targets` itself.
        full_targets: the kinds that `full` trains, of whose cost budgets are shares; `targets` if not given.

    Raises:
        UserError: nothing selected, a layer out of range, a layer or module matched twice, an unknown block, a record
            that is not there or is of another model.
    """
    n_layers = 1 + max(site.layer for site in sites)
    parts = _phase_parts(spec) if "phases" in spec.selection else [(spec.selection, None)]
    phases: list[Phase] = []
    layers: set[int] = set()
    for selection, steps in parts:
        if "by" in selection:
            full = cost_of_full(sites, targets if full_targets is None else full_targets, rank)
            chosen_sites = sites_by(spec, sites, records or {}, targets=targets, rank=rank, full=full)
            if isinstance(learning_rate, Mapping):
                raise UserError(
                    f"conditions.{spec.name} is chosen by a record and not by blocks, so it takes one learning_rate."
                )
            phases.append(Phase({site.name: learning_rate for site in chosen_sites}, steps))
            layers.update(site.layer for site in chosen_sites)
            continue
        chosen = _layers(spec.name, selection, blocks, n_layers)
        if not chosen:
            if steps is not None or len(parts) > 1:
                raise UserError(f"A phase of condition {spec.name!r} trains nothing. Leave it out.")
            continue
        chosen_sites = select_sites(sites, chosen, targets, spec.name)
        rates = _rates(spec.name, learning_rate, selection, blocks, chosen)
        phases.append(Phase({site.name: rates[site.layer] for site in chosen_sites}, steps))
        layers.update(chosen)
    trained = {name for phase in phases for name in phase.modules}
    if spec.name == "base" and trained:
        raise UserError(
            "The condition 'base' is what all others are compared with and trains nothing. Rename yours."
        )
    modules = [site for site in sites if site.name in trained]
    if "parameters_like" in spec.selection:
        rank = _rank_like(spec, modules, sites, blocks, targets, rank)
    return Condition(
        name=spec.name,
        phases=tuple(phases),
        layers=tuple(sorted(layers)),
        modules=tuple(site.name for site in modules),
        targets=tuple(
            name_kinds(sites, modules)
            if "by" in spec.selection
            else name_targets(sites, layers, targets, spec.name)
        ),
        rank=rank,
        parameters=adapter_parameters(modules, rank),
        labels=spec.labels,
        sampling_seed=int(spec.selection.get("sampling_seed", 0)),
    )


def cost_of_full(sites: Sequence[Site], targets: Sequence[str], rank: int) -> Cost:
    """What training every layer costs."""
    return cost_of(sites, select_sites(sites, {site.layer for site in sites}, targets, "full"), rank)


def _phase_parts(spec: ConditionSpec) -> list[tuple[Mapping[str, Any], int | None]]:
    written = spec.selection["phases"]
    if not isinstance(written, list) or not written or not all(isinstance(part, Mapping) for part in written):
        raise UserError(
            f"conditions.{spec.name}.phases must be a list such as [{{block: local, steps: 50}}, {{block: mid}}]."
        )
    parts: list[tuple[Mapping[str, Any], int | None]] = []
    for i, part in enumerate(written):
        allowed = ("block", "blocks", "layers", "steps")
        for key in part:
            if key not in allowed:
                raise unknown_name(f"key conditions.{spec.name}.phases[{i}]", key, allowed)
        steps = part.get("steps")
        last = i == len(written) - 1
        if not (last and steps is None) and not is_count(steps, least=1):
            raise UserError(
                f"conditions.{spec.name}.phases[{i}].steps must be a whole number of steps from 1 "
                f"(only the last phase may leave it out), got {steps!r}."
            )
        parts.append(({key: value for key, value in part.items() if key != "steps"}, steps))
    return parts


def _layers(name: str, selection: Mapping[str, Any], blocks: Blocks, n_layers: int) -> list[int]:
    who = f"Condition {name!r}"
    if "block" in selection:
        return list(_block(name, selection["block"], blocks, n_layers))
    if "blocks" in selection:
        names = selection["blocks"]
        if not isinstance(names, list) or not names:
            raise UserError(f"conditions.{name}.blocks must be a list of block names, got {names!r}.")
        layers = [layer for block in names for layer in _block(name, block, blocks, n_layers)]
        repeated = sorted({layer for layer in layers if layers.count(layer) > 1})
        if repeated:
            raise UserError(
                f"{who} selects layer {describe_layers(repeated)} twice by blocks {', '.join(map(str, names))}."
            )
        return sorted(layers)
    if "layers" in selection:
        layers = list(parse_layers(selection["layers"], who))
        check_layers(layers, n_layers, who)
        if not layers:
            raise UserError(
                f"{who} selects no layer. The model has layers 0 to {n_layers - 1}; `base` trains none."
            )
        return layers
    if "random" in selection:
        return _random_layers(name, selection, blocks, n_layers)
    raise UserError(f"{who} selects nothing. Known: {', '.join(WAYS)}.")


def _block(condition: str, block: object, blocks: Blocks, n_layers: int) -> Sequence[int]:
    if block == "none":
        return range(0)
    if block == "full":
        return range(n_layers)
    if not isinstance(block, str) or block not in blocks:
        raise unknown_name("block", block, ["full", "none", *blocks], f"Condition {condition!r} names it.")
    return blocks[block]


def _random_layers(name: str, selection: Mapping[str, Any], blocks: Blocks, n_layers: int) -> list[int]:
    """As many layers as asked, drawn from all of them; contiguous ones by drawing the first."""
    asked = selection["random"]
    count = len(_block(name, asked, blocks, n_layers)) if isinstance(asked, str) else asked
    if not is_count(count, least=1) or count > n_layers:
        raise UserError(
            f"conditions.{name}.random must be a number of layers from 1 to {n_layers}, or a block of that size, "
            f"got {asked!r}."
        )
    rng = np.random.default_rng(keyed_seed("random layers", selection.get("seed", 0)))
    if selection.get("contiguous", False):
        first = int(rng.integers(0, n_layers - count + 1))
        return list(range(first, first + count))
    return sorted(int(layer) for layer in rng.choice(n_layers, size=count, replace=False))


def _rates(
    name: str,
    learning_rate: float | Mapping[str, float],
    selection: Mapping[str, Any],
    blocks: Blocks,
    layers: Sequence[int],
) -> dict[int, float]:
    """Learning rate of every layer that the selection covers."""
    if not isinstance(learning_rate, Mapping):
        return dict.fromkeys(layers, learning_rate)
    named = selection.get("blocks") or [selection.get("block")]
    if set(learning_rate) != set(named) or not set(named) <= set(blocks):
        raise UserError(
            f"conditions.{name}.learning_rate names the blocks {', '.join(map(str, learning_rate))}, but the condition "
            f"trains {', '.join(map(str, named))}. Give one rate for each block that it trains."
        )
    return {layer: rate for block, rate in learning_rate.items() for layer in blocks[block]}


def _rank_like(
    spec: ConditionSpec,
    modules: Sequence[Site],
    sites: Sequence[Site],
    blocks: Blocks,
    targets: Sequence[str],
    rank: int,
) -> int:
    """The rank at which `modules` have about as many parameters as the named block has at `rank`."""
    n_layers = 1 + max(site.layer for site in sites)
    layers = _block(spec.name, spec.selection["parameters_like"], blocks, n_layers)
    if not layers or not modules:
        raise UserError(
            f"conditions.{spec.name}.parameters_like compares trained blocks; one of the two trains nothing."
        )
    if "rank" in spec.overrides:
        raise UserError(f"conditions.{spec.name} gives both `rank` and `parameters_like`. Keep one of them.")
    wanted = adapter_parameters(select_sites(sites, layers, targets, spec.name), rank)
    return max(1, round(wanted / adapter_parameters(modules, 1)))

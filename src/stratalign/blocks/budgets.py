"""What a choice of modules costs, and choices that keep to a budget. Works on sites and ranks.

The cost model is the engine's own shape: a run's forward pass starts at its lowest trained layer, and its backward pass
ends there. Counted are multiplications and additions per token in the layers' linear modules: 2 for each frozen weight
forward and 2 backward, 6 for each parameter of LoRA. Not counted: the base's pass, which all runs share; attention's
products of tokens with tokens; norms; the output projection; routers and experts, and that the backward pass leaves out
parts of its lowest layer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from stratalign.blocks.sites import Site, adapter_parameters
from stratalign.errors import UserError


class Cost(NamedTuple):
    """Adapter parameters, and operations per token of a run's own part of a training step."""

    parameters: int
    arithmetic: int

    def of(self, whole: Cost) -> tuple[float, float]:
        """The shares of another cost: of its parameters, and of its arithmetic."""
        return self.parameters / whole.parameters, self.arithmetic / whole.arithmetic


def cost_of(sites: Sequence[Site], chosen: Iterable[Site], rank: int) -> Cost:
    """What training `chosen` costs in a model with these sites; nothing chosen costs nothing."""
    trained = list(chosen)
    if not trained:
        return Cost(0, 0)
    parameters = adapter_parameters(trained, rank)
    return Cost(parameters, _passes(sites, min(site.layer for site in trained)) + 6 * parameters)


def affordable(
    name: str, sites: Sequence[Site], candidates: Sequence[Site], rank: int, parameters: int, most: float
) -> list[Site]:
    """The candidates from the lowest layer up at which `parameters` of them, or all, cost at most `most` operations.

    Arithmetic is decided by the lowest layer and the number of parameters alone, so any choice of that many
    parameters among the candidates given back keeps to the budget.

    Args:
        parameters: as many as are to be chosen.
        most: operations per token.

    Raises:
        UserError: not even the highest layer keeps to it.
    """
    layers = sorted({site.layer for site in candidates})
    for first in layers:
        left = [site for site in candidates if site.layer >= first]
        if _passes(sites, first) + 6 * min(parameters, adapter_parameters(left, rank)) <= most:
            return left
    raise UserError(
        f"conditions.{name}.arithmetic is too small to train anything: layer {layers[-1]}, the cheapest, needs more. "
        "`stratalign plan` shows what other conditions take."
    )


def within(order: Sequence[str], sizes: Mapping[str, int], most: int) -> list[str]:
    """The first names of `order`, until the next would pass `most`."""
    taken: list[str] = []
    spent = 0
    for name in order:
        spent += sizes[name]
        if spent > most:
            break
        taken.append(name)
    return taken


def _passes(sites: Sequence[Site], first: int) -> int:
    """Forward and backward through the frozen linear modules of the layers from `first` up."""
    return 4 * sum(
        site.in_features * site.out_features for site in sites if site.layer >= first and site.frozen is None
    )

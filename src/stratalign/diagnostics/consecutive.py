"""One gate step at step t of a training and at step t + 1: how far the two differ, beside what bounds it.

ILA's Theorem 3.1 (arXiv:2410.17875v3): once a training is epsilon-stable, and if the loss is smooth and its gradient
bounded, a gradient step of the gates taken at t and one taken at t + 1 differ by a bounded amount; hence the scores
may be learned once, at the end. The slope of the loss by a module's gate is g = <G, D>, with G the gradient by the
effective weight and D the update, so that for any two steps

    |g' - g|  <=  |G' - G| |D'| + |G| |D' - D|                                          (Cauchy-Schwarz)

holds whatever was trained. All four norms are measured here. Smoothness enters as |G' - G| / |W' - W|, which is a lower
bound of the theorem's L along this training and no more. Knows nothing of recipes, folders or stability.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stratalign.blocks import Site
from stratalign.diagnostics.sketches import ChunkGradients
from stratalign.engine import JointEngine
from stratalign.losses import Objective, preference_loss
from stratalign.models import tapped
from stratalign.preferences import Tree

Floats = NDArray[np.float64]


class GateStep(NamedTuple):
    """Two consecutive steps, each number [modules]: slopes by gates, and the norms that bound their difference."""

    before: Floats
    after: Floats
    gradient: Floats
    gradient_change: Floats
    update: Floats
    update_change: Floats

    @property
    def differences(self) -> Floats:
        return np.abs(self.after - self.before)

    @property
    def bounds(self) -> Floats:
        return self.gradient_change * self.update + self.gradient * self.update_change


def gate_steps(
    engine: JointEngine,
    run: str,
    sites: Sequence[Site],
    states: Sequence[Mapping[str, Tensor]],
    trees: Sequence[Tree],
    objective: Objective,
    gate: float,
) -> list[GateStep]:
    """Compare the slopes by all gates at each state of a run with those at the next, on the same rows.

    Of weights with more than 2^18 entries the gradients' norms come from sketches, good to about 1 %.

    Args:
        engine: with the run attached; its adapter is left at the last state.
        sites: of the run's modules.
        states: the run's tensors at consecutive steps, as `load_tensors` gives them.
        gate: where slopes are taken, the same for all modules.
    """
    kept = {
        site.name: ChunkGradients(site.name, site.out_features, site.in_features, len(states))
        for site in sites
    }
    slopes, factors = [], []
    for number, state in enumerate(states):
        engine.bank.fill(run, state)
        slopes.append(_look(engine, run, kept, number, trees, objective, gate))
        factors.append({name: tensor.double().cpu().clone() for name, tensor in _factors(engine, run)})
    scale = engine.bank.specs[run].alpha / engine.bank.specs[run].rank
    gradients = np.stack([own.gram().numpy() for own in kept.values()])
    updates = np.stack([_update_products(name, factors, scale) for name in kept])
    return [
        GateStep(
            slopes[t],
            slopes[u],
            np.sqrt(gradients[:, t, t]),
            _distances(gradients, t, u),
            np.sqrt(updates[:, u, u]),
            _distances(updates, t, u),
        )
        for t, u in pairwise(range(len(states)))
    ]


def describe_gate_step(found: GateStep, modules: Sequence[str], gate: float) -> dict[str, Any]:
    """A pair of steps as plain numbers: in units of the slope; a step of the gates is that times its rate."""
    moved = gate * _length(found.update_change)
    return {
        "slopes": _length(found.before),
        "difference": _length(found.differences),
        "relative": _length(found.differences) / _length(found.before),
        "largest": float(found.differences.max()),
        "bound": _length(found.bounds),
        "within_bound": int((found.differences <= found.bounds * (1 + 1e-6)).sum()),
        "update_change": _length(found.update_change) / _length(found.update),
        "gradient_change": _length(found.gradient_change) / _length(found.gradient),
        "smoothness": _length(found.gradient_change) / moved if moved else None,
        "differences": dict(zip(modules, found.differences.tolist(), strict=True)),
        "bounds": dict(zip(modules, found.bounds.tolist(), strict=True)),
    }


def _look(
    engine: JointEngine,
    run: str,
    kept: Mapping[str, ChunkGradients],
    slot: int,
    trees: Sequence[Tree],
    objective: Objective,
    gate: float,
) -> Floats:
    """Slopes [modules] of the mean loss by the gates; the gradients by effective weights go to the slot."""
    gates = torch.full((len(kept),), gate, dtype=torch.float64, requires_grad=True)

    def receive(name: str, inputs: Tensor, slopes: Tensor) -> None:
        kept[name].add(slot, inputs, slopes)

    with tapped(engine.model, kept, receive):
        for part in engine.cut(trees):
            batch = engine.collate([trees[i] for i in part])
            passed = engine.base(batch)
            passed.captured.hidden[0].requires_grad_()
            own = dict(zip(kept, gates.unbind(), strict=True))
            with engine.active(run, frozenset()), engine.bank.gated(run, own):
                policy = engine.forward(batch, run, passed)
                loss = preference_loss(policy, passed.reference, batch.lengths(), objective).loss
                torch.autograd.backward(loss.sum() / len(trees))
    assert gates.grad is not None
    found: Floats = gates.grad.numpy()
    return found


def _factors(engine: JointEngine, run: str) -> Iterator[tuple[str, Tensor]]:
    for name, parameter in engine.bank.parameters(run).items():
        yield name, parameter.detach()


def _update_products(module: str, factors: Sequence[Mapping[str, Tensor]], scale: float) -> Floats:
    """Inner products [states, states] of scale B A: <B A, B' A'> is the sum of (B^T B') * (A A'^T)."""
    a, b = ([own[f"{module}.lora_{part}.weight"] for own in factors] for part in "AB")
    count = len(factors)
    return np.array(
        [
            [scale**2 * float(((b[t].t() @ b[u]) * (a[t] @ a[u].t())).sum()) for u in range(count)]
            for t in range(count)
        ]
    )


def _distances(grams: Floats, t: int, u: int) -> Floats:
    """|x_t - x_u| [modules] from inner products [modules, states, states]."""
    found: Floats = np.sqrt(np.maximum(grams[:, t, t] + grams[:, u, u] - 2 * grams[:, t, u], 0))
    return found


def _length(values: Floats) -> float:
    return math.sqrt(float((values**2).sum()))

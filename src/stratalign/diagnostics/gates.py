"""Gates on an adapter's updates: the loss under any gates, and its slope by each gate. The adapter is never written to.

A gate multiplies one module's update: 0 is the base there, 1 the trained module. The slope of the loss by a gate is
<dL/dW, update>, by the chain rule, and comes for all modules from one backward pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from stratalign.engine import JointEngine
from stratalign.losses import Objective, preference_loss
from stratalign.preferences import Tree

Gates = Mapping[str, float]


def gate_slopes(
    engine: JointEngine,
    run: str,
    modules: Sequence[str],
    gates: Tensor,
    trees: Sequence[Tree],
    objective: Objective,
) -> Tensor:
    """Slopes [modules] of the mean loss over `trees` by each gate, float64, on the CPU.

    Args:
        engine: with the run attached.
        modules: of the run, in the order of `gates`; other modules of the run stay fully open.
        gates: [modules] float64, where the slopes are taken.
    """
    total = torch.zeros(len(modules), dtype=torch.float64)
    for part in engine.cut(trees):
        batch = engine.collate([trees[i] for i in part])
        passed = engine.base(batch)
        leaf = gates.detach().clone().requires_grad_()
        own = dict(zip(modules, leaf.unbind(), strict=True))
        with engine.active(run, frozenset()), engine.bank.gated(run, own):
            policy = engine.forward(batch, run, passed)
            loss = preference_loss(policy, passed.reference, batch.lengths(), objective).loss
            torch.autograd.backward(loss.sum() / len(trees))
        assert leaf.grad is not None
        total += leaf.grad
    return total


@torch.no_grad()
def gated_losses(
    engine: JointEngine,
    run: str,
    settings: Mapping[str, Gates],
    trees: Sequence[Tree],
    objective: Objective,
) -> dict[str, list[float]]:
    """Setting -> the loss of every row, in the order of `trees`, under each setting of gates.

    Modules that a setting does not name stay fully open. One base pass serves all settings of a batch.
    """
    found: dict[str, list[float]] = {name: [0.0] * len(trees) for name in settings}
    for part in engine.cut(trees):
        batch = engine.collate([trees[i] for i in part])
        passed = engine.base(batch)
        for name, gates in settings.items():
            with engine.active(run), engine.bank.gated(run, gates):
                policy = engine.forward(batch, run, passed)
            loss = preference_loss(policy, passed.reference, batch.lengths(), objective).loss
            for i, value in zip(part, loss.tolist(), strict=True):
                found[name][i] = value
    return found

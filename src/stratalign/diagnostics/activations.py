"""What stands in the residual stream at every depth, pooled over positions: one pass, read by several diagnoses.

State s is what enters layer s, and what leaves layer s - 1; there is one more than layers, the last one before the
final norm. Two poolings: the last token of the prompt, from which the response's first token is predicted, and the
mean over a response's tokens without the last one, which predicts nothing and is not always computed. Only pooled
states are kept.

Two kinds of positions would drown the rest and are left out: the first of a sequence, and those with a massive
activation at any depth. Knows nothing of what is done with the states.

Source: Sun et al. (2024), Massive Activations in Large Language Models, arXiv:2402.17762v2, section 2 (the rule).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stratalign.engine import Batch, JointEngine
from stratalign.preferences import Tree
from stratalign.records import Progress, silent

Singles = NDArray[np.float32]

LARGE, TIMES_MEDIAN = 100.0, 1000.0
"""An activation is massive if it is larger than this, and this many times the median of its state."""


@dataclass(frozen=True)
class States:
    """Pooled states of a model; rows [n] in the order of the trees. NaN where no position was left.

    `prompt` [n, states, width]; `responses` [n, branches, states, width]; `lengths` [n, branches] labelled tokens;
    `left_out` counts positions with a massive activation.
    """

    prompt: Singles
    responses: Singles
    lengths: NDArray[np.int64]
    left_out: int


def pooled_states(
    engine: JointEngine, run: str | None, trees: Sequence[Tree], progress: Progress = silent
) -> States:
    """The states of the base, or of a run, for every tree.

    Args:
        engine: with a run that begins at layer 0.
        run: an attached run; None for the base.
    """
    parts = engine.cut(trees)
    prompt: list[Singles] = [np.empty(0, np.float32)] * len(trees)
    responses, lengths = list(prompt), [np.empty(0, np.int64)] * len(trees)
    left_out = 0
    for number, part in enumerate(parts):
        batch = engine.collate([trees[i] for i in part])
        found, dropped = _pooled(engine, run, batch)
        left_out += dropped
        items = len(part)
        by_branch = found[items:].reshape(items, batch.branches, *found.shape[1:])
        for at, i in enumerate(part):
            prompt[i], responses[i] = found[at], by_branch[at]
            lengths[i] = batch.lengths()[at].cpu().numpy()
        progress("states", number + 1, len(parts))
    return States(np.stack(prompt), np.stack(responses), np.stack(lengths), left_out)


def massive(states: Tensor) -> Tensor:
    """Which rows [n] of states [n, width] have a massive activation, by the medians of their magnitudes."""
    sizes = states.abs()
    largest, median = sizes.amax(dim=-1), sizes.median()
    return (largest > LARGE) & (largest > TIMES_MEDIAN * median)


def _pooled(engine: JointEngine, run: str | None, batch: Batch) -> tuple[Singles, int]:
    """Means [items + items x branches, states, width], prompts first, and how many positions were left out."""
    nothing = torch.zeros(len(batch.items), batch.branches, dtype=torch.float64)
    # a given reference lets the base's pass end where the run begins
    passed = engine.base(batch, nothing)
    keep = torch.ones(len(batch.labels), dtype=torch.bool, device=batch.labels.device)
    keep &= _sequence_positions(batch) > 0
    inside = keep.clone()
    states: list[Singles] = []

    def visit(_number: int, hidden: Tensor) -> None:
        own = hidden[batch.rows, batch.positions].float()
        inside.logical_and_(~massive(own))
        states.append((_means(batch, keep) @ own).cpu().numpy())

    def walk() -> None:
        states.clear()
        if run is None:
            engine.walk(batch, passed, visit)
            return
        with engine.active(run, frozenset()):
            engine.walk(batch, passed, visit)

    walk()
    dropped = int((keep & ~inside).sum())
    if dropped:
        keep = inside.clone()
        walk()
    return np.stack(states, axis=1), dropped


def _sequence_positions(batch: Batch) -> Tensor:
    """Where the token that predicts each label [labels] stands in its own sequence."""
    if batch.spans is None:
        return batch.positions
    return batch.spans.positions[batch.rows, batch.positions]


def _means(batch: Batch, keep: Tensor) -> Tensor:
    """The matrix [items + items x branches, labels] that averages what is kept; rows of NaN where nothing is.

    A label is predicted from the token before it: that of label 0 is the prompt's last, all others the response's
    own.
    """
    items, owners = len(batch.items), len(batch.items) * batch.branches
    matrix = torch.zeros(items + owners, len(batch.labels), device=batch.labels.device)
    columns = torch.arange(len(batch.labels), device=batch.labels.device)
    response = batch.places > 0
    own = keep & response
    matrix[items + batch.owners[own], columns[own]] = 1.0
    first = keep & ~response & (batch.owners % batch.branches == 0)
    matrix[batch.owners[first] // batch.branches, columns[first]] = 1.0
    return matrix / matrix.sum(dim=1, keepdim=True)

"""Which pairs each optimizer step sees, with what weight, and at which learning rate. Pure arithmetic."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from stratalign.records import keyed_seed
from stratalign.training.settings import TrainingSettings


class MicroBatch(NamedTuple):
    """Indices of pairs, and the weight of each one's loss in its step's loss."""

    pairs: tuple[int, ...]
    weight: float


def plan_steps(n_pairs: int, settings: TrainingSettings, seed: int, order: int = 0) -> list[list[MicroBatch]]:
    """The micro-batches of every optimizer step; their number does not depend on the order of the pairs.

    Weights are TRL's: the mean over a micro-batch, divided by the number of micro-batches in its step. The last
    micro-batch of an epoch may be smaller and the last step may have fewer micro-batches, so a pair in them
    weighs more. Weights of a step sum to 1.

    Args:
        seed: of the preferences.
        order: another number is another order of the same pairs; 0 is the one that runs share by default.
    """
    steps: list[list[MicroBatch]] = []
    own = (order,) if order else ()
    for epoch in range(settings.epochs):
        generator = np.random.default_rng(keyed_seed("order of pairs", seed, *own, epoch))
        pairs = generator.permutation(n_pairs).tolist()
        groups = [pairs[i : i + settings.batch_size] for i in range(0, n_pairs, settings.batch_size)]
        for i in range(0, len(groups), settings.gradient_accumulation):
            window = groups[i : i + settings.gradient_accumulation]
            steps.append([MicroBatch(tuple(group), 1 / (len(group) * len(window))) for group in window])
    return steps


def rate_factor(step: int, total: int, schedule: str, warmup: float) -> float:
    """Factor on the learning rate of step `step` (from 0) out of `total`; transformers' schedules.

    Linear: rises from 0 over the warm-up, then falls to 0, which would be reached at step `total`.
    """
    warm = math.ceil(warmup * total) if warmup < 1 else int(warmup)
    if step < warm:
        return step / warm
    progress = (step - warm) / max(1, total - warm)
    if schedule == "constant":
        return 1.0
    if schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * progress))
    return 1 - progress

"""Scores of two conditions on a 5-point scale whose true difference is known exactly, prompts in clusters.

Every score is a normal number cut at four thresholds. Its variance of 1 has four parts: what a prompt, or its cluster,
is to both conditions (together `CORRELATION`), and what either condition makes of the cluster or of the prompt. With
probability `copies` both give the same answer, so that whatever is there ties.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.stats import multivariate_normal, norm

from stratalign.stats import Comparison, compare_dimensions

CLUSTERS = 64
"""The demo holds out 192 prompts about 64 people, three about each."""
EQUAL, UNEQUAL = (3,), (1, 1, 2, 4, 7)
"""Sizes of clusters, taken in turn: 192 and 188 prompts."""
CORRELATION, CLUSTER_SHARE = 0.5, 0.3
"""Of the two conditions' numbers on one prompt; of either kind of variance, the part that belongs to the cluster."""
THRESHOLDS = np.array([-1.2, -0.4, 0.4, 1.2])
MANY_TIES = 0.71
"""Copies that make 80 % of all prompts tie; without copies about 33 % do."""


class World(NamedTuple):
    """What the scores come from. `shift` moves the first condition's numbers, in their standard deviation."""

    sizes: tuple[int, ...] = UNEQUAL
    copies: float = 0.0
    shift: float = 0.0


class Truth(NamedTuple):
    net_win_rate: float
    mean_difference: float
    ties: float


def clusters_of(world: World) -> np.ndarray:
    """The cluster of every row [n]."""
    return np.repeat(np.arange(CLUSTERS), np.resize(world.sizes, CLUSTERS))


def truth(world: World) -> Truth:
    """The true values, from normal and bivariate normal probabilities."""
    both = multivariate_normal([world.shift, 0.0], [[1, CORRELATION], [CORRELATION, 1]])
    edges = np.concatenate([[-9.0], THRESHOLDS, [9.0]])
    below = np.array([[both.cdf([x, y]) for y in edges] for x in edges])
    cells = np.diff(np.diff(below, axis=0), axis=1)  # probability of each pair of points
    alone = norm.cdf(world.shift - THRESHOLDS).sum() - norm.cdf(-THRESHOLDS).sum()
    kept = 1 - world.copies
    return Truth(
        kept * (np.tril(cells, -1).sum() - np.triu(cells, 1).sum()),
        kept * alone,
        world.copies + kept * np.trace(cells),
    )


def draw(world: World, columns: int, generator: np.random.Generator, halo: float = 0.0, width: int = 1):
    """Scores [n, columns x width] of both conditions. The `width` columns of one simulation stand together and share
    the part `halo` of the variance of every part that a score is made of."""
    cluster = clusters_of(world)
    rows = len(cluster)

    def normals(count: int) -> np.ndarray:
        own = generator.standard_normal((count, columns, width))
        common = generator.standard_normal((count, columns, 1))
        return (np.sqrt(1 - halo) * own + np.sqrt(halo) * common).reshape(count, columns * width)

    def part(variance: float) -> np.ndarray:
        in_cluster = np.sqrt(variance * CLUSTER_SHARE) * normals(CLUSTERS)[cluster]
        return in_cluster + np.sqrt(variance * (1 - CLUSTER_SHARE)) * normals(rows)

    shared = part(CORRELATION)
    first = world.shift + shared + part(1 - CORRELATION)
    second = shared + part(1 - CORRELATION)
    same = np.repeat(generator.random((rows, columns)) < world.copies, width, axis=1)
    return (
        1.0 + np.searchsorted(THRESHOLDS, np.where(same, second, first)),
        1.0 + np.searchsorted(THRESHOLDS, second),
    )


def simulate(
    world: World,
    simulations: int,
    *,
    resamples: int,
    level: float = 0.95,
    seed: int = 0,
    clustered: bool = True,
    halo: float = 0.0,
    width: int = 1,
) -> list[Comparison]:
    """One comparison for each simulation and each of its `width` columns; `clustered=False` takes rows for
    independent."""
    generator = np.random.default_rng(
        [seed, len(world.sizes), round(100 * world.copies), round(100 * world.shift)]
    )
    names = clusters_of(world) if clustered else range(len(clusters_of(world)))
    found: list[Comparison] = []
    for start in range(0, simulations, 100):
        columns = min(100, simulations - start)
        first, second = draw(world, columns, generator, halo, width)
        found += compare_dimensions(first, second, names, resamples=resamples, level=level, seed=start)
    return found


def coverage(found: list[Comparison], true: Truth) -> tuple[float, float]:
    """How often the intervals hold the true net win rate, and the true mean difference."""
    rates = [one.low <= true.net_win_rate <= one.high for one in found]
    means = [one.difference_low <= true.mean_difference <= one.difference_high for one in found]
    return float(np.mean(rates)), float(np.mean(means))

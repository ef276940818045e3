"""What a comparison would be at equal length: judges tend to like long answers, whatever is in them.

Knows nothing of texts: lengths are numbers that come with the scores.

Source: Dubois et al. 2024, arXiv:2404.04475v2, section 3: a regression of preference on the standardised difference in
length, read off where that difference is 0. Theirs is logistic, with a tanh around the difference and a term per
instruction, made for a leaderboard of probabilities; ours is least squares on sign(a - b) and on a - b, so that ties
count and the result is in the units of the raw comparison. So it is linear in length, and its rate may leave [-1, 1].
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from stratalign.stats.bootstrap import Interval, clustered_interval, resampled_sums
from stratalign.stats.differences import check_draws
from stratalign.stats.groups import Clusters, Codes, Floats, cluster_codes, cluster_sums, score_array
from stratalign.stats.uncertainty import bounds_over_seeds

FLAT = 1e-12
"""Lengths whose spread is below this share of their mean square do not vary: what is left is rounding."""


class AtEqualLength(NamedTuple):
    """An effect at equal length with bounds and standard error, in the outcome's unit; `slope` per standard deviation
    of the difference in length."""

    value: float
    low: float | None
    high: float | None
    standard_error: float | None
    slope: float
    slope_standard_error: float | None


@dataclass(frozen=True)
class LengthControlled:
    """`a` against `b` at equal length, over the rows that have both scores and both lengths.

    `net_win_rate` is read off a regression of sign(a - b), `difference` off one of a - b. Both are None where nothing
    can be read off: fewer than two rows, or answers that differ in length by the same number everywhere (where it is
    0 everywhere the raw comparison is at equal length already, and `slope` is 0). `mean_length_difference` and
    `spread` (standard deviation) are in the unit of the lengths. `extrapolated` says that no two rows have their
    difference in length on either side of 0: then equal length lies outside of what was seen.
    """

    n: int
    clusters: int
    missing: int
    mean_length_difference: float | None
    spread: float | None
    extrapolated: bool
    net_win_rate: AtEqualLength | None
    difference: AtEqualLength | None
    level: float


def length_controlled(
    a: object,
    b: object,
    length_a: object,
    length_b: object,
    clusters: Clusters,
    *,
    seeds: Clusters | None = None,
    resamples: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
) -> LengthControlled:
    """Compare `a` and `b` [n] at equal length.

    With d = length_a - length_b and z = d / sd(d), not centred, ordinary least squares of y = v + s z gives v, the
    value at d = 0. Bounds are those of the clustered bootstrap of v (`clustered_interval`), from three seeds on those
    over seeds and clusters, by v's influence function; standard errors are the
    cluster-robust ones with the factor C / (C - 1) x (n - 1) / (n - 2), as statsmodels has them (None below two
    clusters or three rows). Swapping the sides negates v, and swaps and negates its bounds, exactly.

    Args:
        a: scores [n]; a row that lacks a score or a length (NaN) is dropped and counted in `missing`.
        b: scores [n] of the same rows.
        length_a: lengths [n] of what `a` scores.
        length_b: lengths [n] of what `b` scores.
        clusters: the cluster of each row [n].
        seeds: the training seed of each row [n], where there are several.
        resamples: bootstrap replicates; those whose rows all differ in length by the same are left out.
        seed: of the draws.
        level: of the intervals.
    """
    scores = [score_array(v, name) for v, name in ((a, "a"), (b, "b"))]
    if any(column.ndim != 1 for column in scores):
        raise ValueError(f"Scores are one number per row; got shapes {[one.shape for one in scores]}.")
    (found,) = lengths_controlled(
        scores[0][:, None], scores[1][:, None], length_a, length_b, clusters,
        seeds=seeds, resamples=resamples, seed=seed, level=level,
    )  # fmt: skip
    return found


def lengths_controlled(
    a: object,
    b: object,
    length_a: object,
    length_b: object,
    clusters: Clusters,
    *,
    seeds: Clusters | None = None,
    resamples: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
) -> list[LengthControlled]:
    """`length_controlled` for every column of `a` and `b` [n, dimensions]. Columns that have the same rows share their
    draws."""
    check_draws(resamples, level)
    first, second, long_a, long_b = (
        score_array(v, name)
        for v, name in ((a, "a"), (b, "b"), (length_a, "length_a"), (length_b, "length_b"))
    )
    shapes = [one.shape for one in (first, second, long_a, long_b)]
    if first.ndim != 2 or first.shape != second.shape or {long_a.shape, long_b.shape} != {first.shape[:1]}:
        raise ValueError(f"Lengths are one number per row of scores; got shapes {shapes}.")
    scores, longer = first - second, long_a - long_b
    codes = cluster_codes(clusters, len(scores))
    by_seed = None if seeds is None else cluster_codes(seeds, len(scores))
    kept = ~np.isnan(scores) & ~np.isnan(longer)[:, None]
    alike: dict[bytes, list[int]] = defaultdict(list)
    for at in range(scores.shape[1]):
        alike[kept[:, at].tobytes()].append(at)
    done: dict[int, LengthControlled] = {}
    for together in alike.values():
        rows = kept[:, together[0]]
        found = _on_the_same_rows(
            scores[rows][:, together].T, longer[rows], codes[rows], None if by_seed is None else by_seed[rows],
            int((~rows).sum()), resamples, seed, level,
        )  # fmt: skip
        done.update(zip(together, found, strict=True))
    return [done[at] for at in range(scores.shape[1])]


def _on_the_same_rows(
    differences: Floats,
    longer: Floats,
    clusters: Codes,
    seeds: Codes | None,
    missing: int,
    resamples: int,
    seed: int,
    level: float,
) -> list[LengthControlled]:
    """Of `differences` [dimensions, n], whose rows all have a score and a length."""
    present, codes = np.unique(clusters, return_inverse=True)
    n, count = len(longer), len(present)
    spread = float(np.std(longer)) if n else None
    found: list[AtEqualLength | None] = [None] * (2 * len(differences))
    flat = spread is None or spread**2 <= FLAT * float((longer**2).mean())
    if n >= 2 and spread is not None and (not flat or not longer.any()):
        z = np.zeros(n) if flat else longer / spread
        outcomes = [part for difference in differences for part in (np.sign(difference), difference)]
        found = list(_at_zero(outcomes, z, codes.astype(np.int64), seeds, count, resamples, seed, level))
    return [
        LengthControlled(
            n=n,
            clusters=count,
            missing=missing,
            mean_length_difference=float(longer.mean()) if n else None,
            spread=spread,
            extrapolated=bool(n) and not (longer.min() <= 0 <= longer.max()),
            net_win_rate=rate,
            difference=difference,
            level=level,
        )
        for rate, difference in zip(found[::2], found[1::2], strict=True)
    ]


def _at_zero(
    outcomes: list[Floats],
    z: Floats,
    codes: Codes,
    seeds: Codes | None,
    clusters: int,
    resamples: int,
    seed: int,
    level: float,
) -> list[AtEqualLength]:
    parts = [np.ones_like(z), z, z**2, *(part for y in outcomes for part in (y, z * y))]
    sums = np.stack([cluster_sums(part, codes, clusters) for part in parts], axis=1)
    totals = resampled_sums(sums, resamples, seed) if clusters > 1 else None
    found = []
    for at, outcome in enumerate(outcomes):
        chosen = [0, 1, 2, 3 + 2 * at, 4 + 2 * at]
        value, slope = (float(part[0]) for part in _fit(sums.sum(axis=0)[None, chosen]))
        bounds: Interval | None = None
        if totals is not None:
            replicates = _fit(totals[:, chosen])[0]
            known = replicates[~np.isnan(replicates)]
            bounds = clustered_interval(known, value, clusters, level) if len(known) else None
        residuals = outcome - value - slope * z
        errors = _standard_errors(residuals, z, codes, clusters)
        low, high = (bounds.low, bounds.high) if bounds else (None, None)
        ends = bounds_over_seeds(value, _influence(residuals, z), codes, seeds, level) if bounds else None
        if ends is not None:  # the slope's error takes the seeds as given
            low, high, errors = ends.low, ends.high, (ends.standard_error, errors[1])
        found.append(AtEqualLength(value, low, high, errors[0], slope, errors[1]))
    return found


def _fit(totals: Floats) -> tuple[Floats, Floats]:
    """Intercepts and slopes from rows of (n, sum z, sum z^2, sum y, sum zy); z that is all 0 leaves the mean of y, and
    any other z without spread leaves nothing (NaN)."""
    n, z, zz, y, zy = totals.T
    spread = n * zz - z**2
    usable, none = spread > FLAT * n * zz, zz == 0
    divisor = np.where(usable, spread, 1.0)
    value = np.where(usable, (y * zz - z * zy) / divisor, np.where(none, y / n, np.nan))
    slope = np.where(usable, (n * zy - z * y) / divisor, np.where(none, 0.0, np.nan))
    return value, slope


def _influence(residuals: Floats, z: Floats) -> Floats:
    """By how much each row moves the intercept, times the number of rows."""
    if not z.any():
        return residuals
    design = np.stack([np.ones_like(z), z], axis=1)
    influence: Floats = len(z) * (design @ np.linalg.inv(design.T @ design)[0]) * residuals
    return influence


def _standard_errors(
    residuals: Floats, z: Floats, codes: Codes, clusters: int
) -> tuple[float | None, float | None]:
    """Cluster-robust standard errors of value and slope: the sandwich with CR1's factor."""
    n = len(z)
    if clusters < 2 or n < 3:
        return None, None
    if not z.any():
        scores = cluster_sums(residuals, codes, clusters)
        return math.sqrt(clusters / (clusters - 1) * float((scores**2).sum())) / n, None
    design = np.stack([np.ones_like(z), z], axis=1)
    bread = np.linalg.inv(design.T @ design)
    scores = np.stack([cluster_sums(column * residuals, codes, clusters) for column in design.T], axis=1)
    factor = clusters / (clusters - 1) * (n - 1) / (n - 2)
    variance = np.diag(factor * bread @ (scores.T @ scores) @ bread)
    return math.sqrt(max(0.0, variance[0])), math.sqrt(max(0.0, variance[1]))

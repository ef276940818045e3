"""How much two choices from the same names overlap, always beside what chance alone would give.

Two sets of 75 % overlap by a Jaccard index of 0.6 when both are drawn blindly, so an index says nothing by itself.
Knows nothing of what was chosen, or how.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Overlap:
    """Two sets chosen from `names` names.

    `chance` is the Jaccard index at the overlap that blind draws of these sizes have on average. `kappa` is 1 for equal
    sets, 0 at chance, and None where a set is empty or has all names, so that nothing could differ. `p_value` is the
    probability that blind draws share as many names or more.
    """

    names: int
    sizes: tuple[int, int]
    shared: int
    jaccard: float
    chance: float
    kappa: float | None
    p_value: float


def overlap(one: Iterable[Hashable], other: Iterable[Hashable], names: int) -> Overlap:
    """Compare two sets that were chosen from the same `names` names.

    Jaccard index: shared / (either). With shares p and q of the names, blind draws share p q of them on average, so
    `chance` = p q / (p + q - p q), which is p / (2 - p) for sets of equal size. Kappa (Cohen 1960, Educational and
    Psychological Measurement 20(1), 37-46) compares chosen or not, name by name. The p value is the upper tail of
    the hypergeometric distribution (Fisher's exact test, one-sided).

    Raises:
        ValueError: a set is empty on both sides, or larger than the names.

    >>> overlap("abc", "bcd", 4)
    Overlap(names=4, sizes=(3, 3), shared=2, jaccard=0.5, chance=0.6, kappa=-0.3333333333333333, p_value=1.0)
    """
    from scipy.stats import hypergeom

    first, second = set(one), set(other)
    a, b, both = len(first), len(second), len(first & second)
    if not 0 < a + b - both <= names:
        raise ValueError(f"Sets of {a} and {b} with {both} in common cannot come from {names} names.")
    expected = a * b / names
    agree = (both + names - (a + b - both)) / names
    by_chance = (a * b + (names - a) * (names - b)) / names**2
    return Overlap(
        names=names,
        sizes=(a, b),
        shared=both,
        jaccard=both / (a + b - both),
        chance=expected / (a + b - expected),
        kappa=None if by_chance == 1 else (agree - by_chance) / (1 - by_chance),
        p_value=min(1.0, float(hypergeom.sf(both - 1, names, a, b))),
    )


def rank_correlation(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Spearman's rank correlation, ties at their mean rank; None where one side has no two different values."""
    from scipy.stats import rankdata

    ranks: list[Any] = [rankdata(values) for values in (one, other)]
    if len(ranks[0]) < 2 or any(float(np.ptp(own)) == 0 for own in ranks):
        return None
    return float(np.corrcoef(*ranks)[0, 1])

"""One set of scores beside several others of the same rows: does it lie on one side of all of them?

Knows nothing of what is compared. Source: Berger (1982), Technometrics 24(4), 295-300 (intersection-union tests: to
claim all of several things at level alpha, each is tested at alpha, without a correction).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from stratalign.stats.groups import Clusters, score_array
from stratalign.stats.paired import difference_tests


class BesideAll(NamedTuple):
    """`p_value` is the largest of the two-sided sign-flip tests (whole clusters, of the mean difference) against each
    of the others: small where the scores lie on one `side` of every one. 1 where they do not, None without rows."""

    p_value: float | None
    side: Literal["above", "below", "neither"]


def beside_all(
    scores: object,
    others: object,
    clusters: Clusters,
    *,
    seeds: Clusters | None = None,
    draws: int = 10_000,
    seed: int = 0,
) -> BesideAll:
    """`scores` [n] beside every column of `others` [n, k]; NaN is missing, and drops the row from that column alone.
    `clusters` and `seeds` [n] as in `difference_tests`."""
    one, many = score_array(scores, "scores"), score_array(others, "others")
    if many.ndim != 2 or one.shape != many.shape[:1] or not many.shape[1]:
        raise ValueError(f"`scores` is [rows], `others` [rows, k]; got {one.shape} and {many.shape}.")
    differences = one[:, None] - many
    if np.isnan(differences).all(axis=0).any():
        return BesideAll(None, "neither")
    ahead = np.nanmean(differences, axis=0)
    if not (np.all(ahead > 0) or np.all(ahead < 0)):
        return BesideAll(1.0, "neither")
    tests = difference_tests(
        differences, np.zeros_like(differences), clusters, seeds=seeds, draws=draws, seed=seed
    )
    return BesideAll(max(test.flip_p or 0.0 for test in tests), "above" if ahead[0] > 0 else "below")

"""Paired scores become differences, without the rows that lack a side. Knows nothing of what is done with them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stratalign.stats.groups import Clusters, Codes, Floats, cluster_codes, score_array


@dataclass(frozen=True)
class Differences:
    """One dimension's differences a - b [n] without missing rows, and which clusters and seeds they come from."""

    values: Floats
    codes: Codes  # [n], renumbered over the clusters that are present
    present: Codes  # the present clusters' codes, ascending
    missing: int
    seeds: Codes | None = None  # [n], where each row belongs to a training seed

    @property
    def n(self) -> int:
        return len(self.values)

    @property
    def clusters(self) -> int:
        return len(self.present)

    @property
    def seed_count(self) -> int:
        """How many seeds the rows come from; 1 where none were given."""
        return 1 if self.seeds is None else len(np.unique(self.seeds))


def one_dimension(a: object, b: object) -> tuple[Floats, Floats]:
    """`a` and `b`, one number per row, as columns [n, 1].

    Raises:
        ValueError: they are not one number per row.
    """
    first, second = score_array(a, "a"), score_array(b, "b")
    if first.ndim != 1 or first.shape != second.shape:
        raise ValueError(f"`a` and `b` are one number per row; got shapes {first.shape} and {second.shape}.")
    return first[:, None], second[:, None]


def paired_differences(
    a: object, b: object, clusters: Clusters, seeds: Clusters | None = None
) -> list[Differences]:
    """The differences of every column of `a` and `b` [n, dimensions]; `seeds` as `clusters`, the seed of each row.

    Raises:
        ValueError: the shapes differ, a score is infinite, or there is not one cluster (and seed) per row.
    """
    first, second = score_array(a, "a"), score_array(b, "b")
    if first.ndim != 2 or first.shape != second.shape:
        raise ValueError(f"`a` and `b` are [rows, dimensions]; got shapes {first.shape} and {second.shape}.")
    codes = cluster_codes(clusters, len(first))
    by_seed = None if seeds is None else cluster_codes(seeds, len(first))
    return [
        _differences(first[:, index] - second[:, index], codes, by_seed) for index in range(first.shape[1])
    ]


def alike(columns: Sequence[Differences]) -> list[list[int]]:
    """The places of the columns that have rows in the same clusters, and so can share one set of draws."""
    groups: dict[bytes, list[int]] = defaultdict(list)
    for index, column in enumerate(columns):
        groups[column.present.tobytes()].append(index)
    return list(groups.values())


def check_draws(resamples: int, level: float) -> None:
    """Refuse numbers of resamples and levels from which no interval can be made.

    Raises:
        ValueError: fewer than two resamples, or a level that is not between 0 and 1.
    """
    if resamples < 2 or not 0 < level < 1:
        raise ValueError(
            f"`resamples` is at least 2 and `level` between 0 and 1; got {resamples} and {level}."
        )


def _differences(values: Floats, codes: Codes, seeds: Codes | None) -> Differences:
    kept = ~np.isnan(values)
    present, renumbered = np.unique(codes[kept], return_inverse=True)
    return Differences(
        values[kept],
        renumbered.astype(np.int64),
        present,
        int((~kept).sum()),
        None if seeds is None else seeds[kept],
    )

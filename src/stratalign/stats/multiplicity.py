"""Holm's step-down adjustment of p values for many tests. Knows nothing of what was tested."""

from __future__ import annotations

from collections.abc import Sequence


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjusted p values of one family, in the given order; rejecting where they are at most alpha keeps the
    probability of any false rejection at most alpha, however the tests depend on each other.

    With the m p values sorted ascending, adjusted_(i) = max over j <= i of min(1, (m - j + 1) x p_(j)), j from 1
    (Holm 1979, Scandinavian Journal of Statistics 6(2), 65-70, in the adjusted form of Wright 1992, Biometrics
    48(4), 1005-1013). None is no test: it stays None and does not count in m.
    """
    tested = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for place, (p, index) in enumerate(tested):
        largest = max(largest, min(1.0, (len(tested) - place) * p))
        adjusted[index] = largest
    return adjusted

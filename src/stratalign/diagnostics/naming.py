"""Which layer, if any, an instrument names: the largest signal, where it is surely one and surely the largest.

Two questions, both at 5 %. Is there any signal of the preference at all? And does the largest exceed every other one?
If both are answered yes, the largest is named; else the instrument cannot tell. The second question is the two-sided
test against each other layer, the least certain of which counts. Where two are largest alike, one of them is named with
5 %, and with less where more are: picking the largest before testing needs no more correction than that (Gutmann and
Maymin, for independent normal means of one variance; tests simulate ours). Where no preference exists, the first
question keeps names as rare.

Pure numbers; knows nothing of what a signal is, nor of models.

Sources: Gutmann & Maymin (1987), Annals of Statistics 15(1), 456-461 (is the selected population the best?); Canay,
Romano & Shaikh (2017), Econometrica 85(3), 1013-1030 (flipping signs of whole groups).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from stratalign.diagnostics.concentration import jackknife, shares, squared_norms
from stratalign.stats import clustered_mean

Floats = NDArray[np.float64]

LEVEL = 0.05
LISTED = 14
"""Up to this many chunks all sign flips are listed."""
DRAWS = 10_000
"""Flips that are drawn where there are more chunks."""


@dataclass(frozen=True)
class Naming:
    """The largest signal, and whether it is named.

    `signal_p`: probability of so much signal where there is none. `separation_p`: of so much distance to the nearest
    other one, in either direction, if that were as large; None where no such probability is known.
    """

    largest: Any
    signal_p: float
    separation_p: float | None
    named: bool

    def describe(self) -> dict[str, Any]:
        """As plain values for a record: `named` is the largest, or null with the reason in `reading`."""
        reading = "named"
        if not self.named:
            reading = "no signal" if self.signal_p > LEVEL else "no one largest"
        return {
            "named": self.largest if self.named else None,
            "reading": reading,
            "largest": self.largest,
            "signal_p": self.signal_p,
            "separation_p": self.separation_p,
        }


def name_by_products(
    grams: Floats,
    sizes: Floats,
    places: Sequence[Any],
    statistic: Callable[[Floats, Floats], Floats],
    signal_p: float,
) -> Naming:
    """Name the place whose gradient is largest by `statistic`.

    Separation: jackknife over chunks of the difference to each other place, Student's t with chunks - 1 degrees of
    freedom.

    Args:
        grams: [..., C, C], inner products of chunks' summed gradients.
        sizes: [C], pairs in each chunk.
        places: L names.
        statistic: of (grams, sizes), as in `concentration.jackknife`: a signal [L] for each place.
        signal_p: as `flip_p` gives it for all places together.
    """
    values = statistic(grams, sizes)
    top, others = _top(values)

    def distances(grams: Floats, sizes: Floats) -> Floats:
        found = statistic(grams, sizes)
        return np.atleast_1d(found[top] - found[others])

    p = 1.0
    if np.isfinite(values).all():
        estimates = jackknife(grams, sizes, distances)
        p = max(_p_above(one.value, one.standard_error, len(sizes) - 1) for one in estimates)
    return _decide(places[top], signal_p, p)


def name_by_rows(
    values: Floats,
    clusters: Sequence[Any],
    places: Sequence[Any],
    signal_p: float | None = None,
    statistic: Callable[[Floats], Floats] | None = None,
) -> Naming:
    """Name the place whose mean over rows is largest, or another statistic of its rows.

    Separation: jackknife over clusters of the difference to each other place, Student's t with clusters - 1 degrees of
    freedom.

    Args:
        values: [rows, L], a signal for each row and place, larger where it matters more.
        clusters: [rows], of rows that depend on each other.
        places: L names.
        signal_p: probability of so much signal where there is none, if it is known from elsewhere; else that of the
            largest place's own mean, one-sided against 0, times the number of places.
        statistic: [rows, L] -> [L]; the mean by default.
    """
    statistic = statistic or _means
    found = statistic(values)
    top, others = _top(found)
    names = np.array([str(cluster) for cluster in clusters])
    each = np.unique(names)
    parts = [statistic(values[names != cluster]) for cluster in each] if len(each) > 1 else []
    count, p = len(parts), 1.0
    if parts and np.isfinite([found, *parts]).all():
        apart = np.stack([part[top] - part[others] for part in parts])
        errors = np.sqrt((count - 1) / count * ((apart - apart.mean(axis=0)) ** 2).sum(axis=0))
        distances = found[top] - found[others]
        p = max(_p_above(*pair, count - 1) for pair in zip(distances, errors, strict=True))
    if signal_p is None:
        signal_p = min(1.0, positive_p(values[:, top], clusters) * len(places))
    return _decide(places[top], signal_p, p)


def effect_sizes(values: Floats) -> Floats:
    """Mean over standard deviation of rows [L], of [rows, L]: moving everything more gains nothing. NaN of one row."""
    if len(values) < 2:
        return np.full(values.shape[1], np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Floats = values.mean(axis=0) / values.std(axis=0, ddof=1)
    return found


def name_by_draws(values: Floats, places: Sequence[Any], signal_p: float) -> Naming:
    """Name the place that is largest in every draw: the weaker rule, for signals without other replicates.

    It says that another draw of the training's start would have shown the same; not that other pairs would have.

    Args:
        values: [draws, L], two draws or more.
        signal_p: probability of so much signal where there is none.
    """
    top, _ = _top(values.mean(axis=0))
    same = len(values) > 1 and bool((values.argmax(axis=1) == top).all())
    return Naming(places[top], signal_p, None, same and signal_p <= LEVEL)


def name_layers_by_gradients(
    grams: Floats, sizes: Floats, layers: Sequence[int], weights: Floats, parameters: Floats, baseline: Floats
) -> dict[str, dict[str, Any]]:
    """Signal -> what it names among layers, for a preference loss's gradients.

    `norm`, `per_root_parameter` and `relative` (to the weights' norms) as in the record; `over_baseline`, the share of
    the squared norm over the baseline's; `signal_to_noise`, see there.

    Args:
        grams: [L, C, C], products of chunks' summed gradients, by layer; `baseline`: those of plain likelihood.
        weights: [L], norms; `parameters`: [L], numbers of entries.
    """
    both = np.stack([grams, baseline])
    signal_p = flip_p(grams.sum(axis=0))

    def over_baseline(both: Floats, sizes: Floats) -> Floats:
        own, other = (shares(squared_norms(part, sizes)) for part in both)
        with np.errstate(divide="ignore", invalid="ignore"):
            found: Floats = own / other
        return found

    statistics: dict[str, tuple[Floats, Callable[[Floats, Floats], Floats]]] = {
        "norm": (grams, squared_norms),
        "per_root_parameter": (grams, lambda grams, sizes: squared_norms(grams, sizes) / parameters),
        "relative": (grams, lambda grams, sizes: squared_norms(grams, sizes) / weights**2),
        "over_baseline": (both, over_baseline),
        "signal_to_noise": (grams, signal_to_noise),
    }
    return {
        name: name_by_products(given, sizes, layers, statistic, signal_p).describe()
        for name, (given, statistic) in statistics.items()
    }


def flip_p(grams: Floats) -> float:
    """Probability that chunks agree so well if each one's gradient had just as well pointed the other way.

    The statistic is the sum of <S_i, S_j> over i != j, which is |mean gradient|^2 without its bias, times a constant;
    one-sided. Exchanging chosen and rejected turns DPO's gradient around at the model that is its own reference, so
    there the test is exact for labels that say nothing. Elsewhere it asks whether the mean gradient is 0, for gradients
    that are as likely to have either sign. Up to `LISTED` chunks all flips are listed, above some are drawn, seeded.

    Args:
        grams: [C, C], inner products of chunks' summed gradients.
    """
    count = len(grams)
    crossed = grams - np.diag(np.diag(grams))
    if count <= LISTED:  # one chunk's sign can stay: turning all around changes nothing
        signs = 1.0 - 2.0 * (np.arange(2 ** (count - 1))[:, None] >> np.arange(count) & 1)
    else:
        drawn = np.random.default_rng(0).integers(0, 2, size=(DRAWS, count))
        signs = np.vstack([np.ones(count), 1.0 - 2.0 * drawn])
    found = ((signs @ crossed) * signs).sum(axis=1)
    limit = found[0] - 1e-9 * np.abs(crossed).sum()  # equal totals differ in their last bits
    return float((found >= limit).mean())


def signal_to_noise(grams: Floats, sizes: Floats) -> Floats:
    """|mean gradient|^2 over the variance of single pairs' gradients [L], without bias.

    A layer to which every loss is sensitive has long gradients for any pair; in this ratio that cancels.
    """
    mean = squared_norms(grams, sizes)
    own = np.trace(grams, axis1=-2, axis2=-1)
    # E |S_c|^2 = n_c variance + n_c^2 |mean|^2
    variance = (own - mean * (sizes**2).sum()) / sizes.sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Floats = mean / variance
    return found


def by_layer(values: Floats, layers: Sequence[int]) -> Floats:
    """Sums [rows, L] over each layer's modules of signals [rows, modules]; `layers` says whose layer each is."""
    member = np.array(layers)[:, None] == np.unique(layers)
    found: Floats = values @ member.astype(np.float64)
    return found


def positive_p(values: Floats, clusters: Sequence[Any]) -> float:
    """One-sided p value of a mean above 0, cluster-robust; 1 with fewer than two clusters."""
    found = clustered_mean(values, [str(cluster) for cluster in clusters])
    if found.mean is None or found.standard_error is None:
        return 1.0
    return _p_above(found.mean, found.standard_error, found.clusters - 1)


def _means(values: Floats) -> Floats:
    found: Floats = values.mean(axis=0)
    return found


def _p_above(value: float, error: float, degrees: int) -> float:
    if not np.isfinite(error):
        return 1.0
    if error == 0:
        return 0.0 if value > 0 else 1.0
    return float(student.sf(value / error, degrees))


def _top(values: Floats) -> tuple[int, list[int]]:
    if len(values) < 2:
        raise ValueError("Naming the largest takes at least two places.")
    top = int(np.argmax(np.where(np.isfinite(values), values, -np.inf)))
    return top, [i for i in range(len(values)) if i != top]


def _decide(largest: Any, signal_p: float, one_sided: float) -> Naming:
    separation_p = min(1.0, 2 * one_sided)
    return Naming(largest, signal_p, separation_p, signal_p <= LEVEL and separation_p <= LEVEL)

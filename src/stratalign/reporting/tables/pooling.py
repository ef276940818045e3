"""Contrasts over several studies at once, always with each study's own beside them. Pure.

Rows of all studies are stacked and clustered by prompt, so that one prompt answered by four models counts as one
thing that happened, not four. That says how sure the result is for other prompts and these models; the models were
not drawn from anything, so nothing is said of other models.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from stratalign import stats
from stratalign.reporting.comparisons.comparing import in_words
from stratalign.reporting.comparisons.contrasts import BASE, LEVEL, RESAMPLES, SEED, Contrast, Measure
from stratalign.reporting.comparisons.grids import Floats
from stratalign.reporting.findings.evidence import objective_measures
from stratalign.reporting.tables.ranking import Judging, conditions_of, primary


class PooledRow(NamedTuple):
    """One condition against base: in each study (None where it has none), and over all that have it."""

    condition: str
    each: tuple[Contrast | None, ...]
    pooled: stats.Comparison
    verdict: str
    smallest_detectable: float | None


class Pooling(NamedTuple):
    """`why_not` says why nothing was pooled; else `rows` are on `measure` over `prompts` shared prompts."""

    measure: Measure | None
    prompts: int
    rows: tuple[PooledRow, ...]
    why_not: str | None


def pool(studies: Sequence[Judging]) -> Pooling:
    """Every condition that at least two of the studies have, against base, on what the preferences should move."""
    why_not = _why_not(studies)
    if why_not:
        return Pooling(None, 0, (), why_not)
    measure = _meant(studies[0])
    assert measure is not None
    shared = set.intersection(*({prompt for prompt, _ in one.grid.rows} for one in studies))
    rows = []
    for condition in conditions_of(studies):
        stacked = [part for one in studies if (part := _rows(one, condition, measure, shared)) is not None]
        if condition == BASE or len(stacked) < 2:
            continue
        first, second = (np.concatenate([part[at] for part in stacked]) for at in (0, 1))
        clusters = [name for part in stacked for name in part[2]]
        # Seeds of different models are different seeds; they are a random level where every model has enough of them.
        seeds = [f"{at} {seed}" for at, part in enumerate(stacked) for seed in part[3]]
        many = all(len(set(part[3])) >= stats.RANDOM_SEEDS for part in stacked)
        comparison = stats.compare(
            first,
            second,
            clusters,
            seeds=seeds if many else None,
            resamples=RESAMPLES,
            seed=SEED,
            level=LEVEL,
        )
        each = tuple(_own(one, condition, measure) for one in studies)
        rows.append(
            PooledRow(
                condition,
                each,
                comparison,
                in_words(stats.verdict(comparison), measure.better),
                stats.smallest_detectable(comparison),
            )
        )
    return Pooling(
        measure, len(shared), tuple(rows), None if rows else "No condition is in two of these studies."
    )


def _why_not(studies: Sequence[Judging]) -> str | None:
    sources = {one.results.study.source for one in studies}
    if len(sources) > 1:
        return "These studies have different preference sets, so nothing is pooled over them."
    meant = {found and found.dimension for one in studies for found in [_meant(one)]}
    if len(meant) > 1 or None in meant:
        return "These studies are not meant to move the same dimension, so nothing is pooled over them."
    texts: dict[str, str] = {}
    for one in studies:
        if not one.prompts:
            return "The prompts of some of these studies are not recorded, so nothing is pooled over them."
        for prompt, text in one.prompts.items():
            if texts.setdefault(prompt, text) != text:
                return "These studies were judged on different prompts, so nothing is pooled over them."
    if not set.intersection(*({prompt for prompt, _ in one.grid.rows} for one in studies)):
        return "These studies share no prompts, so nothing is pooled over them."
    return None


def _meant(one: Judging) -> Measure | None:
    measures = [measure for measure in one.grid.measures if measure.better]
    meant = objective_measures(measures, one.results.objective)
    return meant[0] if meant else primary(one.results)


def _rows(
    one: Judging, condition: str, measure: Measure, shared: set[str]
) -> tuple[Floats, Floats, list[str], list[int]] | None:
    """The condition's and base's scores on the shared prompts, all seeds stacked; each row's cluster and seed."""
    runs = [run for run in one.results.runs if run.condition == condition and run.run in one.grid.values]
    bases = {
        run.seed: run.run for run in one.results.runs if run.condition == BASE and run.run in one.grid.values
    }
    kept = [at for at, (prompt, _) in enumerate(one.grid.rows) if prompt in shared]
    column = one.grid.column(measure)
    first, second, clusters, seeds = [], [], [], []
    for run in runs:
        base = bases.get(run.seed) or (next(iter(bases.values())) if len(bases) == 1 else None)
        if base is not None:
            first.append(one.grid.values[run.run][kept, column])
            second.append(one.grid.values[base][kept, column])
            clusters += [one.grid.clusters[at] for at in kept]
            seeds += [run.seed] * len(kept)
    return (np.concatenate(first), np.concatenate(second), clusters, seeds) if first else None


def _own(one: Judging, condition: str, measure: Measure) -> Contrast | None:
    return next(
        (
            found
            for found in one.results.comparisons
            if found.condition == condition and found.seed is None and found.key == measure.key
        ),
        None,
    )

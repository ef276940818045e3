"""power: how many prompts a difference needs, and what a number of prompts can see, from assumptions or from a study.

Knows files only through the study's records, and nothing of how a standard error becomes power (`stats.power`).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stratalign import stats
from stratalign.errors import UserError, shortened
from stratalign.reporting.comparisons.comparing import paired_scores, score_table
from stratalign.reporting.findings.runs import ordered_runs
from stratalign.reporting.inputs import StudyRecords, read_study
from stratalign.reporting.results import summarise, that_decide

Floats = NDArray[np.float64]
Effect = Literal["mean difference", "net win rate"]
CORRELATIONS = (0.0, 0.3, 0.5, 0.7)
TIES = (0.0, 0.4, 0.8)
"""What is shown where the correlation of two scores of one prompt, or the share of ties, is not given."""


@dataclass(frozen=True)
class Assumed:
    """What an assumption leads to. `effect` says whether sizes are mean differences, in the scale's unit, or net win
    rates; `correlation` belongs to the one and `ties` to the other. `tests` share alpha. `standard_error`,
    `smallest_detectable` and `chance` are None without a number of prompts, `prompts_needed` and `chance` without an
    effect to look for."""

    effect: Effect
    correlation: float | None
    ties: float | None
    tests: int
    standard_error: float | None
    smallest_detectable: float | None
    prompts_needed: int | None
    chance: float | None


@dataclass(frozen=True)
class Observed:
    """What one contrast of a study leads to, in one kind of effect.

    `prompts` and `ties` are of the rows that both conditions have; `correlation` is Pearson's over these rows (None
    where either side is constant); `design_effect` is the clustered variance over that of independent rows.
    `prompts_needed` would decide the effect if the true one were the one that was seen, at the first step of Holm's
    procedure over the family's `tests`. `detectable_at_full` is the smallest effect that `full` prompts would find.
    """

    condition: str
    against: str
    judge: str
    protocol: str
    dimension: str
    family: str
    tests: int
    objective: bool
    effect: Effect
    prompts: int
    clusters: int
    ties: float
    correlation: float | None
    design_effect: float | None
    observed: float
    standard_error: float | None
    sure: bool
    prompts_needed: int | None
    smallest_detectable: float | None
    full: int
    detectable_at_full: float | None


@dataclass(frozen=True)
class PowerTable:
    """What was asked, and the answers: `assumed` from given numbers, or `observed` from a study's scores."""

    prompts: int | None
    effect: float | None
    net_win_rate: float | None
    power: float
    alpha: float
    design_effect: float | None
    assumed: tuple[Assumed, ...] = ()
    observed: tuple[Observed, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain numbers and names; what does not apply is null."""
        return asdict(self)


SMALLEST, LARGEST = 1e-9, 1e9
"""What numbers may be, so that no square of them leaves the range of floating point."""


def power(
    prompts: int | None = None,
    *,
    effect: float | None = None,
    net_win_rate: float | None = None,
    sd: float | None = None,
    correlation: float | None = None,
    ties: float | None = None,
    cluster_size: float | None = None,
    icc: float | None = None,
    tests: int | None = None,
    power: float = 0.8,
    alpha: float = 0.05,
    study: str | Path | None = None,
) -> PowerTable:
    """How many prompts a difference needs, and what a number of prompts can see.

    Args:
        prompts: how many there are; with `study` the full study's, by default its recipe's `preferences.held_out`.
        effect: a mean difference to look for, in the scale's unit.
        net_win_rate: a net win rate to look for.
        sd: standard deviation of one condition's scores, in the scale's unit; without it, net win rates only.
        correlation: of the two scores of one prompt; without it, several are shown.
        ties: share of prompts on which two conditions score alike; without it, several are shown.
        cluster_size: mean number of prompts in a cluster.
        icc: correlation of differences within a cluster.
        tests: how many tests share alpha; each answer is given for one test alone and for the first step of Holm's
            procedure over all. A study says itself how many its families have.
        power: probability of finding the effect.
        alpha: two-sided level of the whole family.
        study: the folder of a finished or pilot study, which says everything else itself.

    Raises:
        UserError: something is missing or outside its range, or the study has no scores to learn from.
    """
    _check("alpha", alpha, 0, 1)
    _check("power", power, alpha, 1)
    sizes = {
        "prompts": prompts,
        "effect": effect,
        "net_win_rate": net_win_rate,
        "sd": sd,
        "cluster_size": cluster_size,
        "tests": tests,
    }
    for name, value in sizes.items():
        _check_size(name, value)
    _check_size("alpha / tests", alpha / max(1, tests or 1))
    if prompts is not None and prompts < 2:
        raise UserError(f"`prompts` is at least 2; got {prompts}.")
    if study is not None:
        given = [effect, net_win_rate, sd, correlation, ties, cluster_size, icc, tests]
        if any(value is not None for value in given):
            raise UserError(
                "A study says spread, correlation, ties, clusters and tests itself. "
                "Beside it give only prompts, power and alpha."
            )
        observed = _observed(read_study(Path(study)), prompts, power, alpha)
        return PowerTable(prompts, None, None, power, alpha, None, observed=observed)
    design = _design(cluster_size, icc)
    _check_assumptions(prompts, effect, net_win_rate, sd, correlation, ties, tests)
    rows = []
    for each in dict.fromkeys((1, tests or 1)):
        asked = _Question(prompts, design, each, power, alpha)
        for r in [correlation] if correlation is not None else CORRELATIONS:
            if sd is not None and (net_win_rate is None or effect is not None):
                deviation = stats.difference_deviation(sd, sd, r)
                rows.append(_assumed(asked, "mean difference", r, None, deviation, effect))
        for tied in [ties] if ties is not None else TIES:
            if (effect is None or net_win_rate is not None) and abs(net_win_rate or 0) <= 1 - tied:
                deviation = stats.sign_deviation(tied)
                rows.append(_assumed(asked, "net win rate", None, tied, deviation, net_win_rate))
    return PowerTable(prompts, effect, net_win_rate, power, alpha, design, assumed=tuple(rows))


class _Question(NamedTuple):
    """What is the same for every assumption."""

    prompts: int | None
    design: float
    tests: int
    power: float
    alpha: float


def _assumed(
    asked: _Question,
    kind: Effect,
    correlation: float | None,
    ties: float | None,
    deviation: float,
    wanted: float | None,
) -> Assumed:
    """What follows where one prompt's difference has this `deviation`, and this effect is `wanted`."""
    _, design, tests, power, alpha = asked
    error = stats.expected_error(deviation, asked.prompts, design) if asked.prompts else None
    alone = stats.expected_error(deviation, 1, design)
    return Assumed(
        effect=kind,
        correlation=correlation,
        ties=ties,
        tests=tests,
        standard_error=error,
        smallest_detectable=stats.detectable_effect(error, 1 - alpha, power, tests),
        prompts_needed=stats.prompts_needed(wanted, alone, 1, alpha=alpha, power=power, tests=tests),
        chance=stats.chance_to_find(wanted, error, alpha=alpha, tests=tests) if wanted and error else None,
    )


def _design(cluster_size: float | None, icc: float | None) -> float:
    if (cluster_size or 1) > 1 and icc is None:
        raise UserError(
            "Clusters of several prompts need `icc`, the correlation of differences within a cluster: 0 where prompts "
            "of one cluster tell as much as others, 1 where they repeat each other."
        )
    if icc is not None and cluster_size is None:
        raise UserError("`icc` says nothing without `cluster_size`, the mean number of prompts in a cluster.")
    if cluster_size is not None and not cluster_size >= 1:
        raise UserError(f"`cluster_size` is at least 1; got {cluster_size:g}.")
    if icc is not None and not 0 <= icc <= 1:
        raise UserError(f"`icc` lies between 0 and 1; got {icc:g}.")
    return stats.design_effect(cluster_size or 1, icc or 0)


def _check_assumptions(
    prompts: int | None,
    effect: float | None,
    net_win_rate: float | None,
    sd: float | None,
    correlation: float | None,
    ties: float | None,
    tests: int | None,
) -> None:
    if prompts is None and effect is None and net_win_rate is None:
        raise UserError(
            "Say how many prompts there are (`prompts`), which difference to look for (`effect` in the scale's unit, "
            "`net_win_rate`), or which study to learn from."
        )
    if effect is not None and sd is None:
        raise UserError(
            "`effect` is in the scale's unit and needs `sd`, the standard deviation of the scores."
        )
    if sd is None and correlation is not None:
        raise UserError("`correlation` is of scores and needs `sd`, their standard deviation.")
    if effect == 0 or net_win_rate == 0:
        raise UserError("No number of prompts finds a difference of 0. Give the smallest one that matters.")
    if sd is not None and not sd > 0:
        raise UserError(f"`sd` is above 0; got {sd:g}.")
    if net_win_rate is not None and not abs(net_win_rate) <= 1 - (ties or 0):
        raise UserError(
            f"With a share of {ties or 0:g} ties a net win rate is at most {1 - (ties or 0):g}; got {net_win_rate:g}."
        )
    if correlation is not None and not -1 <= correlation < 1:
        raise UserError(f"`correlation` is at least -1 and below 1; got {correlation:g}.")
    if ties is not None and not 0 <= ties < 1:
        raise UserError(f"`ties` is a share, at least 0 and below 1; got {ties:g}.")
    if tests is not None and tests < 1:
        raise UserError(f"`tests` is at least 1; got {tests}.")


def _check_size(name: str, value: float | None) -> None:
    if value and not SMALLEST <= abs(value) <= LARGEST:
        raise UserError(
            f"`{name}` must lie between {SMALLEST:g} and {LARGEST:g}, whatever its sign; got {shortened(value)}."
        )


def _check(name: str, value: float, low: float, high: float) -> None:
    if not low < value < high:
        raise UserError(f"`{name}` lies between {low:g} and {high:g}; got {value:g}.")


def _observed(records: StudyRecords, prompts: int | None, power: float, alpha: float) -> tuple[Observed, ...]:
    """Every contrast of a family, as a net win rate and as a mean difference; those against base first."""
    results = summarise(records)
    contrasts = [one for one in (*results.comparisons, *results.pairs) if one.family is not None]
    if not contrasts:
        raise UserError(
            results.why_no_comparison or "Nothing of the study is compared yet by the protocol that decides."
        )
    tests = Counter(one.family for one in contrasts)
    objective = {name.casefold() for name in results.objective}
    measures = {measure.key: measure for measure in results.measures}
    records = that_decide(records)
    table = score_table(records.scores, {run: condition for run, condition, _ in ordered_runs(records)})
    found = []
    for one in contrasts:
        paired = paired_scores(table, one, measures[one.key])
        count = len(set(paired.prompt_ids))
        full = prompts or max(count, _held_out(records))
        difference = paired.first - paired.second
        kinds: tuple[tuple[Effect, Floats], ...] = (
            ("net win rate", np.sign(difference)),
            ("mean difference", difference),
        )
        for effect, values in kinds:
            size = float(values.mean())
            family = tests[one.family]
            mean = stats.mean_uncertainty(values, paired.clusters, paired.seeds)
            error = None if mean is None else mean.standard_error
            freedom, by_seeds = (None, 0.0) if mean is None else (mean.freedom, mean.seed_error)
            now = stats.detectable_effect(error, 1 - alpha, power, family, freedom)
            found.append(
                Observed(
                    condition=one.condition,
                    against=one.against,
                    judge=one.judge,
                    protocol=one.protocol,
                    dimension=one.dimension,
                    objective=one.dimension.casefold() in objective,
                    family=str(one.family),
                    tests=family,
                    effect=effect,
                    prompts=count,
                    clusters=one.clusters,
                    ties=one.ties / one.n,
                    correlation=_correlation(paired.first, paired.second),
                    design_effect=_design_effect(values, error),
                    observed=size,
                    standard_error=error,
                    sure=one.p_holm is not None and one.p_holm <= alpha,
                    prompts_needed=stats.prompts_needed(
                        size,
                        error,
                        count,
                        alpha=alpha,
                        power=power,
                        tests=family,
                        freedom=freedom,
                        seed_error=by_seeds,
                    ),
                    smallest_detectable=now,
                    full=full,
                    detectable_at_full=None
                    if now is None or not error
                    else now * stats.error_at(full, error, count, by_seeds) / error,
                )
            )
    return tuple(found)


def _correlation(first: Floats, second: Floats) -> float | None:
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return float(np.corrcoef(first, second)[0, 1])


def _design_effect(values: Floats, error: float | None) -> float | None:
    """The variance of the clustered mean of `values` [n] over that of the mean of as many independent rows."""
    if error is None or np.ptp(values) == 0:
        return None
    return float(error**2 * len(values) / np.var(values, ddof=1))


def _held_out(records: StudyRecords) -> int:
    """How many prompts the study's recipe asks for; 0 where it does not say."""
    asked = (records.recipe.get("preferences") or {}).get("held_out")
    return asked if isinstance(asked, int) else 0

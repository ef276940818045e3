"""What is compared: a measure, and one condition against another on it. Knows nothing of how (`comparing`)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

from stratalign import stats

BASE = "base"
RESAMPLES, SEED, LEVEL = 10_000, 0, 0.95
ALPHA = 0.05
"""A contrast counts as sure where its p value after Holm's correction is at most this."""


class Measure(NamedTuple):
    """One dimension of one judge's protocol: what a score measures. `better` is None where neither direction is,
    `category` and `scale` (its lowest and highest value) where the protocol names none."""

    judge: str
    protocol: str
    dimension: str
    unit: str
    better: str | None
    about: str
    category: str | None = None
    scale: tuple[float, float] | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        return self.judge, self.protocol, self.dimension


@dataclass(frozen=True)
class Contrast:
    """One condition against `against` on one measure. A win is a row on which the condition scores higher.

    `seed` is None where the rows of all seeds are stacked. `missing` counts the pairs that lack a valid score on
    either side. `verdict` is "better" or "worse" where the measure has a direction, else "higher" or "lower", or
    "cannot tell": by the interval, one contrast at a time. Bounds are of the 95 % interval; net win rates lie in
    [-1, 1]. `seeds` counts the training seeds whose rows are stacked; where `over_seeds`, from three on, bounds and p
    values hold for other seeds too, else for these alone. `standard_error` has `freedom` degrees of freedom;
    `seed_error` is the part of it that more prompts do not make smaller. `p_value`
    is of the net win rate, by sign flips of clusters (over seeds, the larger one of that and of a t test). `family`
    names the tests that it is corrected with; `p_holm` and `smallest_detectable_holm` are after that correction, and
    all three are None where a contrast belongs to no family.

    Beside the net win rate's p value stand two of the mean difference, both uncorrected: `difference_p` by sign flips
    of clusters, and `wilcoxon_p` by signed ranks, as if every row were a cluster. `missing_low` and `missing_high` are
    what the net win rate would be if all missing rows had been lost or won; None where at most 1 % are missing. `note`
    says in words where two of these numbers disagree.
    """

    condition: str
    seed: int | None
    against: str
    judge: str
    protocol: str
    dimension: str
    unit: str
    better: str | None
    n: int
    clusters: int
    missing: int
    wins: int
    ties: int
    losses: int
    net_win_rate: float | None
    low: float | None
    high: float | None
    standard_error: float | None
    smallest_detectable: float | None
    p_value: float | None
    p_holm: float | None
    family: str | None
    smallest_detectable_holm: float | None
    mean_difference: float | None
    difference_low: float | None
    difference_high: float | None
    verdict: str
    wilcoxon_p: float | None = None
    difference_p: float | None = None
    missing_low: float | None = None
    missing_high: float | None = None
    note: str | None = None
    seeds: int = 1
    over_seeds: bool = False
    freedom: float | None = None
    seed_error: float = 0.0

    @property
    def key(self) -> tuple[str, str, str]:
        return self.judge, self.protocol, self.dimension

    @property
    def gain(self) -> float:
        """The net win rate turned so that above 0 is better; 0 where it is undefined or has no better direction."""
        return {"higher": 1, "lower": -1}.get(self.better or "", 0) * (self.net_win_rate or 0.0)

    @property
    def gain_bounds(self) -> tuple[float | None, float | None]:
        """The interval of the net win rate, turned as `gain` is."""
        return (_negated(self.high), _negated(self.low)) if self.better == "lower" else (self.low, self.high)

    def selected_bounds(self, candidates: int) -> tuple[float, float] | None:
        """The interval of the net win rate where the contrast was picked as one of `candidates`; None where it has
        none."""
        if self.low is None or self.high is None or self.net_win_rate is None or not self.standard_error:
            return None
        low, high, _ = stats.selected_bounds(
            self.net_win_rate, self.standard_error, self.freedom or self.clusters - 1, candidates, LEVEL
        )
        return max(-1.0, min(low, self.low)), min(1.0, max(high, self.high))

    @property
    def sure(self) -> bool:
        """Whether the difference survives the correction of its family."""
        return self.p_holm is not None and self.p_holm <= ALPHA

    def flipped(self) -> Contrast:
        """The same contrast seen from the other condition, without its note."""
        turned = {"better": "worse", "worse": "better", "higher": "lower", "lower": "higher"}
        return replace(
            self,
            condition=self.against,
            against=self.condition,
            wins=self.losses,
            losses=self.wins,
            net_win_rate=_negated(self.net_win_rate),
            low=_negated(self.high),
            high=_negated(self.low),
            mean_difference=_negated(self.mean_difference),
            difference_low=_negated(self.difference_high),
            difference_high=_negated(self.difference_low),
            verdict=turned.get(self.verdict, self.verdict),
            missing_low=_negated(self.missing_high),
            missing_high=_negated(self.missing_low),
            note=None,
        )


def _negated(value: float | None) -> float | None:
    return None if value is None else -value

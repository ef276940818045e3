"""A paper's own numbers through our statistics: which of its claims they carry.

`python -m benchmarks.papers` writes docs/papers.md from `papers.md.jinja` and `published`. A published table has means
and standard deviations; what only the rows tell (how the scores of one prompt correlate, how many tie) is gone
through from one end to the other.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from benchmarks.published import ANCHOR, BEST, MODELS, POOLED, PROMPTS, STRATEGIES, VERSION_1
from stratalign import stats

CORRELATIONS = (0.0, 0.3, 0.5, 0.7)
TIES = (0.0, 0.35)
"""Shares of ties for version 1: none, and about as many as leave room for a net win rate of 0.63."""
MARGIN = 0.10
"""Ours: what "matches" may lose, in points of the scale; a third of what full gains over base in Table 2."""
LEVEL, ALPHA = 0.95, 0.05

PAGE = Path(__file__).parents[1] / "docs" / "papers.md"
TEMPLATE = Path(__file__).with_name("papers.md.jinja")


@dataclass(frozen=True)
class Claim:
    """A difference that the paper speaks of: `says` in our words, `n` answers a side from `models` models."""

    where: str
    says: str
    who: str
    difference: float
    deviations: tuple[float, float]
    n: int
    models: int


@dataclass(frozen=True)
class Tested:
    """A claim under several correlations (or shares of ties): one test for each, with its p value after Holm's
    correction over all claims of its table."""

    claim: Claim
    tests: tuple[stats.SummaryDifference, ...]
    p_holm: tuple[float, ...]
    needed: tuple[int | None, ...]

    def cell(self, at: int) -> str:
        """The verdict under the assumption `at`; a star survives Holm's correction."""
        return f"{self.tests[at].verdict}{'*' if self.p_holm[at] <= ALPHA else ''}"

    @property
    def unsure(self) -> bool:
        """Whether no assumption decides it, alone."""
        return all(one.verdict == "cannot tell" for one in self.tests)


def qwen_mean(strategy: str) -> float:
    """The mean of the two Qwen models in Table 3."""
    return sum(model[strategy] for model in BEST.values()) / len(BEST)


def llama_mean(strategy: str) -> float:
    """The mean of the two Llama models: what Table 2 has beyond the two Qwen models of Table 3."""
    return 2 * POOLED[strategy].mean - qwen_mean(strategy)


def deviation_within(strategy: str) -> float:
    """The standard deviation of Table 2 without what lies between the groups of models that are known."""
    means = [*(model[strategy] for model in BEST.values()), *[llama_mean(strategy)] * 2]
    between = sum((mean - POOLED[strategy].mean) ** 2 for mean in means) / MODELS
    return math.sqrt(POOLED[strategy].deviation ** 2 - between)


def score_claims(within: bool = False) -> list[Claim]:
    """Every difference of Overall scores that version 2 speaks of, with Table 2's standard deviations (or, `within`,
    without what lies between models)."""

    def claim(where: str, says: str, who: str, a: str, b: str, other: str | None = None) -> Claim:
        models = {"Llama": 2, "all": MODELS}.get(who, 1)
        deviations = [deviation_within(s) if within else POOLED[s].deviation for s in (a, b)]
        return Claim(
            where,
            says,
            f"{who}: {a} - {b}" if other is None else f"{who} {a} - {other} {b}",
            _mean(who, a) - _mean(other or who, b),
            (deviations[0], deviations[1]),
            models * PROMPTS,
            models,
        )

    return [
        claim("4.2.1", "mid surpasses full", "Qwen2.5-7B", "mid", "full"),
        claim("abstract", "mid matches or exceeds full", "Qwen3-8B", "mid", "full"),
        claim("abstract", "mid matches or exceeds full", "Llama", "mid", "full"),
        claim("abstract", "mid matches or exceeds full", "all", "mid", "full"),
        claim("4.2.1", "full is best, local follows closely", "all", "full", "local"),
        claim("4.2.1", "local, then mid", "all", "local", "mid"),
        claim("1", "late layers alone fall behind", "all", "global", "mid"),
        claim("1", "late layers alone fall behind", "Qwen2.5-7B", "global", "mid"),
        claim("1", "late layers alone fall behind", "Qwen3-8B", "global", "mid"),
        claim("1", "late layers alone fall behind", "Llama", "global", "mid"),
        claim("4.2.1", "Qwen2.5-7B leads in every strategy", "Qwen2.5-7B", "global", "global", "Qwen3-8B"),
        claim("4.2.1", "its base outperforms tuned models", "Qwen2.5-7B", "base", "global", "Qwen3-8B"),
        *(
            claim("Tables 2, 3", f"{strategy} improves on the base", who, strategy, "base")
            for who in (*BEST, "Llama", "all")
            for strategy in STRATEGIES[1:]
        ),
    ]


def score_verdicts(within: bool = False, repeating: bool = False) -> list[Tested]:
    """Claims about scores, under every correlation within pairs.

    Args:
        within: take the spread between models out of the standard deviations.
        repeating: as if a prompt's answers by several models told no more than one of them.
    """
    claims = score_claims(within)
    columns = [
        [
            stats.summary_difference(
                claim.difference, _error(claim, r, repeating), margin=MARGIN, level=LEVEL
            )
            for claim in claims
        ]
        for r in CORRELATIONS
    ]
    return _tested(claims, columns)


def anchored() -> list[tuple[str, stats.SummaryDifference]]:
    """Table 2's means against the anchor's score, one sample each."""
    n = MODELS * PROMPTS
    return [
        (s, stats.summary_difference(POOLED[s].mean - ANCHOR, stats.expected_error(POOLED[s].deviation, n)))
        for s in STRATEGIES
    ]


def rate_verdicts() -> list[Tested]:
    """Version 1's net win rates against base, and differences of two of them, under several shares of ties."""
    singles = [
        ("local", "grammar", "local improves grammar"),
        ("global", "factuality", "global improves factuality"),
        ("global", "coherence", "global improves coherence"),
        ("full", "coherence", "full pays a tax in coherence"),
        ("mid", "coherence", "mid pays no tax in coherence"),
    ]
    doubles = [
        ("global", "local", "grammar", "global beats local in grammar"),
        ("global", "full", "grammar", "global beats full in grammar"),
        ("global", "full", "coherence", "global is best in coherence"),
        ("global", "mid", "coherence", "global is best in coherence"),
    ]
    claims: list[Claim] = []
    columns: list[list[stats.SummaryDifference]] = [[] for _ in TIES]
    for run, dimension, says in singles:
        rate = VERSION_1[run, dimension]
        claims.append(Claim("abstract", says, f"{dimension}: {run}", rate, (0, 0), PROMPTS, 1))
        for column, ties in zip(columns, TIES, strict=True):
            column.append(_rate_test(rate, _rate_deviation(rate, ties)))
    for run, other, dimension, says in doubles:
        rates = VERSION_1[run, dimension], VERSION_1[other, dimension]
        claims.append(
            Claim("review", says, f"{dimension}: {run} - {other}", rates[0] - rates[1], (0, 0), PROMPTS, 1)
        )
        for column, ties in zip(columns, TIES, strict=True):
            # Both are against the same base, so that they correlate; none is the least favourable to the claim.
            a, b = (_rate_deviation(rate, ties) for rate in rates)
            spread = stats.difference_deviation(a, b, 0.0)
            column.append(_rate_test(rates[0] - rates[1], spread))
    return _tested(claims, columns)


def page() -> str:
    """docs/papers.md."""
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    scores = score_verdicts()
    by_name = {one.claim.who: one for one in scores}
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        strategies=STRATEGIES,
        pooled=POOLED,
        best=BEST,
        qwen={s: qwen_mean(s) for s in STRATEGIES},
        llama={s: llama_mean(s) for s in STRATEGIES},
        within={s: deviation_within(s) for s in STRATEGIES},
        prompts=PROMPTS,
        models=MODELS,
        anchor=ANCHOR,
        margin=MARGIN,
        alpha=ALPHA,
        correlations=CORRELATIONS,
        tie_shares=TIES,
        scores=scores,
        by_name=by_name,
        matches=[one for one in scores if one.claim.who.endswith("mid - full")],
        changed_within=_changed(scores, score_verdicts(within=True)),
        changed_repeating=_changed(scores, score_verdicts(repeating=True)),
        anchored=anchored(),
        rates=rate_verdicts(),
        signed=lambda value, digits=3: f"{value:+.{digits}f}",
        interval=lambda one: f"[{one.low:+.3f}, {one.high:+.3f}]",
        p=lambda value: "<0.001" if value < 0.001 else f"{value:.3f}",
        whole=lambda value: "" if value is None else f"{value:,}",
    )


def main() -> None:
    PAGE.write_text(page(), encoding="utf-8")
    print(f"Wrote {PAGE}")


def _mean(who: str, strategy: str) -> float:
    if who == "all":
        return POOLED[strategy].mean
    return llama_mean(strategy) if who == "Llama" else BEST[who][strategy]


def _error(claim: Claim, correlation: float, repeating: bool) -> float:
    design = stats.design_effect(claim.models, 1.0) if repeating else 1.0
    return stats.expected_error(stats.difference_deviation(*claim.deviations, correlation), claim.n, design)


def _rate_deviation(rate: float, ties: float) -> float:
    """Standard deviation of a sign whose mean is `rate`, with this share of zeros."""
    return math.sqrt(1 - ties - rate**2)


def _rate_test(rate: float, deviation: float) -> stats.SummaryDifference:
    return stats.summary_difference(rate, stats.expected_error(deviation, PROMPTS), level=LEVEL)


def _tested(claims: Sequence[Claim], columns: Sequence[Sequence[stats.SummaryDifference]]) -> list[Tested]:
    """Put the tests of each claim together; `columns` has one list over all claims for each assumption."""
    adjusted = [stats.holm([one.p_value for one in column]) for column in columns]
    return [
        Tested(
            claim,
            tuple(column[row] for column in columns),
            tuple(p for column in adjusted if (p := column[row]) is not None),
            tuple(
                stats.prompts_needed(claim.difference, column[row].standard_error, claim.n // claim.models)
                for column in columns
            ),
        )
        for row, claim in enumerate(claims)
    ]


def _changed(scores: Iterable[Tested], others: Iterable[Tested]) -> list[str]:
    """What other assumptions change: each claim whose verdicts differ, with both, over the correlations."""
    found = []
    for one, other in zip(scores, others, strict=True):
        places = [at for at in range(len(CORRELATIONS)) if one.cell(at) != other.cell(at)]
        pairs = dict.fromkeys(f"{one.cell(at)} becomes {other.cell(at)}" for at in places)
        found += [f"{one.claim.who} ({', '.join(pairs)})"] if pairs else []
    return found


if __name__ == "__main__":
    main()

"""What this sample could have seen, and what the full study would: whether a pilot says that it is worth it. Pure.

The standard error of a net win rate falls with the square root of the number of prompts, while clusters and spread
stay as they are; the part of it that comes from training seeds does not (`stats.error_at`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stratalign import stats
from stratalign.reporting.comparisons.contrasts import ALPHA, LEVEL, Contrast
from stratalign.reporting.comparisons.families import AGAINST_CONTROLS, HEAD_TO_HEAD
from stratalign.reporting.findings.evidence import Evidence
from stratalign.reporting.inputs import StudyRecords
from stratalign.reporting.numbers import signed

PAPER_PROMPTS, PAPER_TRAIN = 1_000, 10_000
"""Held-out prompts and training pairs of Hierarchical Alignment v2, section 4.1."""


@dataclass(frozen=True)
class Size:
    """At `prompts` held-out prompts: the smallest net win rate that would probably be seen after correction, and
    whether a true effect as large as the observed one would be."""

    prompts: int
    detectable: float
    decided: bool


@dataclass(frozen=True)
class Question:
    """One contrast: what was observed with how many prompts, and what more of them could see.

    `observed` is turned so that above 0 is better. `detectable` is the smallest true effect that as many new prompts
    would find with 80 % power: a smaller one can be decided here, with luck, and then `sure` says so. `needed` are the
    prompts that would decide the observed effect with that power, None where none would; of one that is decided no
    more than it took.
    """

    condition: str
    against: str
    dimension: str
    observed: float
    prompts: int
    detectable: float
    sure: bool
    needed: int | None
    larger: tuple[Size, ...]
    words: str
    over_seeds: bool = False


@dataclass(frozen=True)
class Reach:
    """`pilot` says whether the study was trained on fewer pairs than there are; `full` is the size of the full one."""

    pilot: bool
    full: int
    questions: tuple[Question, ...]


def reach(records: StudyRecords, evidence: Evidence, leader: str | None) -> Reach:
    """What can be decided about `leader`: against base, and against the condition closest to it."""
    planned = (records.recipe.get("preferences") or {}).get("held_out")
    full = max(PAPER_PROMPTS, planned if isinstance(planned, int) else 0)
    sizes = sorted({PAPER_PROMPTS, planned if isinstance(planned, int) and planned else PAPER_PROMPTS})
    questions = [
        question(one, judged_prompts(records, one), _tests(one, evidence), sizes)
        for one in _contrasts(evidence, leader)
    ]
    return Reach(_is_pilot(records), full, tuple(one for one in questions if one is not None))


def judged_prompts(records: StudyRecords, one: Contrast) -> int:
    """Distinct prompts of which both sides have a score on the contrast's measure."""
    sides = []
    for condition in (one.condition, one.against):
        runs = {
            run
            for run, entry in (records.manifest.get("runs") or {}).items()
            if entry.get("condition", run) == condition
        }
        sides.append(
            {
                score.prompt_id
                for score in records.scores
                if (score.run in runs or score.run.partition("@")[0] == condition)
                and (score.judge, score.protocol, score.dimension) == one.key
                and score.state == "ok"
            }
        )
    return len(sides[0] & sides[1])


def prompts_needed(one: Contrast, prompts: int, tests: int) -> int | None:
    """How many prompts would decide an effect as large as the observed one, which is itself a guess."""
    return stats.prompts_needed(
        one.net_win_rate,
        one.standard_error,
        prompts,
        alpha=ALPHA,
        tests=tests,
        freedom=one.freedom,
        seed_error=one.seed_error,
    )


def question(one: Contrast, prompts: int, tests: int, sizes: Sequence[int]) -> Question | None:
    """One contrast as a question; None where nothing can be resampled."""
    error = one.standard_error
    now = stats.detectable_effect(error, LEVEL, tests=tests, freedom=one.freedom)
    if now is None or not error or not prompts:
        return None
    larger = tuple(
        Size(size, found, abs(one.gain) >= found)
        for size in sizes
        if size != prompts
        for found in [now * stats.error_at(size, error, prompts, one.seed_error) / error]
    )
    what = f"{one.condition} against {one.against} on {one.dimension}"
    seen = f"a net win rate of about {now:.2f} or more (80 % power)" if now < 1 else "no net win rate surely"
    words = (
        f"{what}: the observed {signed(one.gain, 2)} is decided; {prompts:,} new prompts would find {seen}"
        if one.sure
        else f"{what}: {prompts:,} prompts see {seen}"
    )
    for size in () if one.sure else larger:
        kind = (
            "a study of the paper's size"
            if size.prompts == PAPER_PROMPTS
            else "the study as the recipe has it"
        )
        would = "would" if size.decided else "would not"
        found = f"{size.detectable:.2f}" if size.detectable < 1 else "none"
        words += f"; {kind} ({size.prompts:,} prompts) could see {found}"
        words += f", and the observed {signed(one.gain, 2)} {would} be decided"
    needed = prompts_needed(one, prompts, tests)
    if one.sure and needed is not None:
        needed = min(needed, prompts)
    return Question(
        one.condition,
        one.against,
        one.dimension,
        one.gain,
        prompts,
        now,
        one.sure,
        needed,
        larger,
        f"{words}.",
        one.over_seeds,
    )


def _contrasts(evidence: Evidence, leader: str | None) -> list[Contrast]:
    """The leader against base, and against the candidate that comes closest to it, on the first objective."""
    if leader is None or not evidence.objective:
        return []
    measure = evidence.objective[0]
    found = evidence.against_base(leader, [measure])
    others = [role.condition for role in evidence.roles if role.eligible and role.condition != leader]
    direct = [one for side in evidence.head_to_head(leader, others, measure) for one in side]
    return found + sorted(direct, key=lambda one: abs(one.gain))[:1]


def _tests(one: Contrast, evidence: Evidence) -> int:
    """How many tests share the correction of the contrast's family."""
    rows = evidence.pairs if one.family in (HEAD_TO_HEAD, AGAINST_CONTROLS) else evidence.comparisons
    return max(1, sum(other.family == one.family and other.p_value is not None for other in rows))


def _is_pilot(records: StudyRecords) -> bool:
    """Trained on a set number of pairs, fewer than the paper's, while others lay unused."""
    asked = (records.recipe.get("preferences") or {}).get("train")
    unused = ((records.preferences.get("parts") or {}).get("unused") or {}).get("rows") or 0
    return isinstance(asked, int) and asked < PAPER_TRAIN and unused > 0

"""What can be said of a study whose answers nobody has judged: whether training took hold, and how far from base. Pure.

One measure of held-out rows is tested, against base and head to head: the margin of pairs, or the log-probability of
demonstrations. It says whether training moved what it was to move, never whether answers became better, so that
nothing here wins, suffices or is recommended.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stratalign.reporting.comparisons.contrasts import Contrast, Measure
from stratalign.reporting.comparisons.families import HEAD_TO_HEAD
from stratalign.reporting.findings.evidence import size_and_p
from stratalign.reporting.findings.roles import Role
from stratalign.reporting.findings.runs import RunResult
from stratalign.reporting.numbers import listed, percent, plain, several

TESTED = {
    "margin": "the margin of held-out pairs",
    "log_probability": "the log-probability of held-out demonstrations",
}
NOT_JUDGED = (
    "Nothing has judged the answers on the recipe's objective, so whether training helps is not known."
)
FEW_PAIRS = 3
"""Up to this many pairs of conditions are named, more are counted."""


@dataclass(frozen=True)
class TookHold:
    """`measures` are what was tested, `what` the same in words. The candidates are `above` base's there, `below` it, or
    not shown to differ (`unsure`), after Holm's correction; `unchanged` are those whose answers all equal base's,
    letter by letter."""

    measures: tuple[str, ...]
    what: str
    above: tuple[str, ...]
    below: tuple[str, ...]
    unsure: tuple[str, ...]
    unchanged: tuple[str, ...]
    line: str
    words: tuple[str, ...]


def training_measures(
    measures: Sequence[Measure], protocol: tuple[str, str] | None, comparisons: Sequence[Contrast]
) -> tuple[Measure, ...]:
    """The measures of `protocol` (judge, protocol) that say whether training took hold, and that have been compared."""
    compared = {one.key for one in comparisons if one.seed is None and one.n}
    return tuple(
        one for one in measures if one.key[:2] == protocol and one.dimension in TESTED and one.key in compared
    )


def took_hold(
    roles: Sequence[Role],
    measures: Sequence[Measure],
    comparisons: Sequence[Contrast],
    pairs: Sequence[Contrast],
    runs: Sequence[RunResult],
) -> TookHold:
    """What the tests on `measures` say of the candidates, and how far these are from base.

    Args:
        roles: of the conditions, without windows and shifted blocks.
        measures: see `training_measures`.
        comparisons: against base, after their correction.
        pairs: between conditions on `measures`, after theirs.
        runs: of every condition.
    """
    candidates = [role.condition for role in roles if role.eligible]
    rows = {
        measure.dimension: [
            one for one in comparisons if one.key == measure.key and one.seed is None and one.n
        ]
        for measure in measures
    }
    every = [one for own in rows.values() for one in own if one.condition in candidates]
    down = {one.condition for one in every if _side(one) < 0}
    up = {one.condition for one in every if _side(one) > 0} - down
    tested = [name for name in candidates if any(one.condition == name for one in every)]
    trained = [run for run in runs if run.condition in candidates and run.same_as_base is not None]
    unchanged = [
        name
        for name in dict.fromkeys(run.condition for run in trained)
        if all(run.same_as_base == 1 for run in trained if run.condition == name)
    ]
    above = tuple(name for name in tested if name in up)
    words = [
        _against_base(name, [one for one in own if one.condition in candidates]) for name, own in rows.items()
    ]
    words += [_head_to_head(measure, candidates, pairs) for measure in measures]
    words += [
        f"{one.condition} ({role.about}) is above base's as well ({size_and_p(one)}): what {TESTED[name]} gains is not "
        "all due to the labels."
        for name, own in rows.items()
        for role in roles
        for one in own
        if role.kind == "shuffled labels" and role.condition == one.condition and _side(one) > 0
    ]
    words.append(_distance(trained))
    if unchanged:
        words.append(
            f"All answers of {several(unchanged)} equal base's, letter by letter: on these prompts a judge would find "
            "nothing to compare. Train at a higher learning rate, or longer, first."
        )
    return TookHold(
        tuple(rows),
        listed([TESTED[name] for name in rows]) or "nothing",
        above,
        tuple(name for name in tested if name in down),
        tuple(name for name in tested if name not in up | down),
        tuple(unchanged),
        _line(above, tested, unchanged, trained),
        tuple(one for one in words if one),
    )


def _side(one: Contrast) -> int:
    """1 where the condition is surely higher, -1 where it is surely lower, else 0."""
    rate = one.net_win_rate or 0.0
    return (rate > 0) - (rate < 0) if one.sure else 0


def _line(
    above: Sequence[str], tested: Sequence[str], unchanged: Sequence[str], trained: Sequence[RunResult]
) -> str:
    """In a sentence; empty where nothing is known."""
    same = bool(trained) and {run.condition for run in trained} == {*unchanged}
    clauses = [f"Training took hold for {several(above)}"] if above else []
    if tested and not above:
        clauses = [f"Training is not shown to have taken hold for {several(tested, 'or')}"]
    if same:
        lead = "but all" if above else "and all" if clauses else "All"
        clauses.append(f"{lead} answers equal base's, letter by letter")
    return f"{', '.join(clauses)}." if clauses else ""


def _against_base(measure: str, rows: Sequence[Contrast]) -> str:
    clauses = []
    for side, saying in (
        (1, "above base's for"),
        (-1, "below base's for"),
        (0, "not shown to differ from base's for"),
    ):
        names = [f"{one.condition} ({size_and_p(one)})" for one in rows if _side(one) == side]
        clauses += [f"{saying} {listed(names)}"] if names else []
    what = TESTED[measure]
    return f"{what[:1].upper()}{what[1:]}, as a net win rate: {'; '.join(clauses)}." if clauses else ""


def _head_to_head(measure: Measure, candidates: Sequence[str], pairs: Sequence[Contrast]) -> str:
    """Of the pairs of candidates that were compared, and of no others."""
    known = [one for one in pairs if one.key == measure.key and one.family == HEAD_TO_HEAD]
    if not known:
        return ""
    sided = [one if _side(one) > 0 else one.flipped() for one in known if _side(one)]
    clauses = []
    for name in candidates:
        lower = [one.against for one in sided if one.condition == name]
        clauses += [f"{name} is above {listed(lower)}"] if lower else []
    unsure = [f"{one.condition} and {one.against}" for one in known if not _side(one)]
    if 0 < len(unsure) <= FEW_PAIRS:
        clauses.append(f"not shown to differ: {', '.join(unsure)}")
    elif unsure:
        clauses.append(f"of {len(known)} pairs, {len(unsure)} are not shown to differ")
    return f"Head to head on {TESTED[measure.dimension]}: {'; '.join(clauses)}."


def _distance(runs: Sequence[RunResult]) -> str:
    if not runs:
        return ""
    each = [
        f"{run.run} {plain(run.kl_to_base.mean if run.kl_to_base else None, 2)} and {percent(run.same_as_base)}"
        for run in runs
    ]
    return (
        "Distance from base, as KL in nats per answer and the share of answers that equal base's letter by letter: "
        f"{'; '.join(each)}."
    )

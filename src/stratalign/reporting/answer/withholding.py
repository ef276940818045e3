"""When nothing is recommended: failed controls, a base that is as good, too few prompts, unfinished work. Pure.

That nothing has judged is said in `unjudged`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from stratalign.reporting.answer.choosing import Choice, objective_gains
from stratalign.reporting.answer.commands import study_command
from stratalign.reporting.answer.reach import Question, Reach
from stratalign.reporting.answer.recommendation import Verdict
from stratalign.reporting.comparisons.contrasts import ALPHA, BASE, Contrast
from stratalign.reporting.comparisons.equivalences import MARGIN
from stratalign.reporting.findings.controls import Control
from stratalign.reporting.findings.evidence import Evidence, size, size_and_p
from stratalign.reporting.findings.progress import unfinished
from stratalign.reporting.inputs import StudyRecords
from stratalign.reporting.numbers import listed, signed
from stratalign.reporting.results import Results

MOST_PROMPTS = 1_000_000
"""A study that needs more prompts than this is no use to anyone."""


def verdict_of(
    records: StudyRecords, results: Results, evidence: Evidence, choice: Choice
) -> tuple[Verdict, tuple[str, ...]]:
    """What kind of answer there is, and the sentences that say why."""
    behind = unfinished(records)
    if results.took_hold is not None and not behind:
        return "no judge", ()
    if not results.conclusions.winner or choice.strongest is None or behind:
        note = results.conclusions.note if not results.conclusions.winner else None
        unsound = [run.run for run in results.runs if run.unsound]
        none = "No trained condition has been judged on the objective yet." if not (behind or note) else None
        if none and unsound:
            none = f"The proof of {listed(unsound)} failed, or the adapter has changed since: nothing is recommended."
        return "unfinished", tuple(one for one in (note, none, *behind) if one)
    failed = failed_controls(evidence, results.conclusions.controls, choice.chosen)
    if failed:
        return "controls fail", failed
    if choice.chosen is not None:
        return "train", ()
    if choice.gaining:
        return "cannot tell", _which_is_open(evidence, choice)
    as_good = _base_is_as_good(evidence, [name for name, _ in choice.ranked])
    return ("nothing", as_good) if as_good else ("cannot tell", ())


def _which_is_open(evidence: Evidence, choice: Choice) -> tuple[str, ...]:
    """Why none of the conditions that do better than base can be recommended."""
    found = [
        f"{name} does better than base, but loses to {listed(by)} head to head."
        for name, by in choice.beaten.items()
    ]
    rest = [name for name in choice.gaining if name not in choice.beaten]
    leads = [] if choice.strongest is None else objective_gains(evidence, choice.strongest)
    if rest and leads:
        do = "does" if len(rest) == 1 else "do"
        found.append(
            f"{listed(rest)} {do} better than base; {choice.strongest} has a larger gain so far "
            f"({size_and_p(leads[0])} on {leads[0].dimension}), which is not shown to be above base, and "
            f"{listed(rest, 'or')} {'is' if len(rest) == 1 else 'are'} not shown to be as good as it."
        )
    return tuple(found)


def failed_controls(
    evidence: Evidence, controls: Sequence[Control], chosen: str | None = None
) -> tuple[str, ...]:
    """The sentences of the null controls that take away what a gain could say.

    The base sampled anew differs from the base on any dimension; or training on shuffled labels gains on the
    objective, and the interval of its gain reaches that of the chosen condition's.
    """
    kinds = {role.condition: role.kind for role in evidence.roles}
    found = []
    for control in controls:
        kind = kinds.get(control.condition)
        again = kind == "base again" and control.moves
        shuffled = kind == "shuffled labels" and shuffled_gains(evidence, control.condition, chosen)
        found += [control.words] if again or shuffled else []
    return tuple(found)


def shuffled_gains(evidence: Evidence, control: str, chosen: str | None) -> bool:
    """Whether shuffled labels surely gain on the objective, and not clearly less than the chosen condition does."""
    own = {one.key: one for one in objective_gains(evidence, chosen)} if chosen else {}
    for one in objective_gains(evidence, control):
        if one.sure and one.gain > 0:
            rival = own.get(one.key)
            if rival is None or _gain_bounds(one)[1] >= _gain_bounds(rival)[0]:
                return True
    return False


def _base_is_as_good(evidence: Evidence, names: Sequence[str]) -> tuple[str, ...]:
    """Why base is as good as every candidate, or better; empty where that cannot be said."""
    rows = [one for name in names for one in objective_gains(evidence, name)]
    losing = [one for one in rows if one.sure and one.gain < 0]
    # If one cluster in ten gained, none of C would do so by chance with probability 0.9^C, whatever the interval says.
    enough = all((1 - MARGIN) ** one.clusters <= ALPHA / len(rows) and one.high is not None for one in rows)
    if not all(one in losing or (enough and _gain_bounds(one)[1] < MARGIN) for one in rows):
        return ()
    words = [f"{one.condition} does worse than base on {one.dimension} ({size(one)})." for one in losing]
    rest = [one for one in rows if one not in losing]
    if rest:
        best = max(_gain_bounds(one)[1] for one in rest)
        words.append(
            f"For {listed(list(dict.fromkeys(one.condition for one in rest)))} a net win rate above "
            f"{signed(max(best, 0.0), 2)} is excluded (95 % intervals, one at a time)."
        )
    if all(one.wins == one.losses == 0 for one in rows):
        words.insert(0, "Every prompt ties with base: nothing moved.")
    return tuple(words)


def _gain_bounds(one: Contrast) -> tuple[float, float]:
    """`gain_bounds`, infinite where they are undefined."""
    low, high = one.gain_bounds
    return (-math.inf, math.inf) if low is None or high is None else (low, high)


def prompts_needed(reached: Reach) -> int | None:
    """Prompts that would decide the strongest condition's observed gain over base."""
    first = _against_base(reached)
    if first is None or first.observed <= 0 or first.needed is None or first.needed > MOST_PROMPTS:
        return None
    return first.needed if first.needed > first.prompts else None


def _against_base(reached: Reach) -> Question | None:
    """What is asked of the strongest condition beside base; None where nothing differs."""
    return next((one for one in reached.questions if one.against == BASE), None)


def withheld(
    verdict: Verdict,
    reasons: tuple[str, ...],
    reached: Reach,
    needed: int | None,
    evidence: Evidence,
    choice: Choice,
    records: StudyRecords,
) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """Line, sentences and next commands of an answer that recommends nothing."""
    if verdict == "unfinished":
        return "Unfinished: no answer yet.", reasons, (study_command({}),)
    if verdict == "controls fail":
        return "Do not train on this evidence: the controls fail.", reasons, ()
    objective = listed([measure.dimension for measure in evidence.objective])
    if verdict == "nothing":
        return f"Nothing to recommend: base is as good or better on {objective}.", reasons, ()
    first = _against_base(reached)
    words = () if first is None else (first.words,)
    if reasons:
        return f"Cannot tell which condition to train on {objective}.", (*reasons, *words), ()
    if needed is None or first is None:
        why = _why_no_number(first, choice.strongest)
        return f"Cannot tell whether training helps on {objective}; {why}.", words, ()
    prompts = about(needed)
    line = (
        f"Cannot tell whether training helps on {objective}; about {prompts:,} prompts would "
        f"({first.condition} {signed(first.observed, 2)} so far, with {first.prompts:,})."
    )
    rows = (records.preferences.get("rows") or {}).get("kept")
    if isinstance(rows, int) and rows <= prompts:
        return line, (*words, f"The source has {rows:,} usable rows, so that takes more data."), ()
    more = study_command({"preferences.held_out": prompts}, f"-{prompts}")
    return line, words, (more,)


def _why_no_number(first: Question | None, strongest: str | None) -> str:
    if first is None:
        return "no number of prompts follows from so few clusters, or where no prompt differs"
    if first.observed <= 0:
        so_far = f"{strongest} {signed(first.observed, 2)} with {first.prompts:,} prompts"
        return f"no condition is above base so far ({so_far})"
    if first.needed is not None and first.needed > MOST_PROMPTS:
        return "no number of prompts worth having would"
    if first.needed is None and first.over_seeds:
        return "seeds differ too much for any number of prompts to decide it; more seeds may"
    return f"the effect is large enough for {first.prompts:,} prompts, but too few clusters agree on it"


def about(count: int) -> int:
    """Two significant digits, rounded up: an estimate from an estimate."""
    step: int = 10 ** max(len(str(count)) - 2, 0)
    return -(-count // step) * step

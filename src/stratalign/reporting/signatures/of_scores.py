"""Signatures of the scores: controls, ceilings, missing rows, tax, and the papers' patterns by layer. Pure."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping

from stratalign.reporting.answer.choosing import choose
from stratalign.reporting.answer.commands import scaled_rate, training, with_conditions
from stratalign.reporting.answer.withholding import shuffled_gains
from stratalign.reporting.comparisons.comparing import valid
from stratalign.reporting.comparisons.contrasts import BASE
from stratalign.reporting.findings.evidence import size, size_and_p
from stratalign.reporting.findings.runs import RunResult
from stratalign.reporting.numbers import listed, percent, plain
from stratalign.reporting.signatures.advice import Finding
from stratalign.reporting.signatures.case import Case
from stratalign.reporting.signatures.of_base import CUT, LOOK, for_cut, is_cut

CEILING = 0.9
"""Share of scores with one value, above which a dimension has next to nothing left to differ by."""
MANY_MISSING = 0.05
"""Share of rows without a valid score; what is missing is rarely missing by chance, and rarely the same everywhere."""
LOST = ("invalid", "truncated", "blocked", "failed", "pending", "missing")
"""States of rows that should have a score; an undefined measure should have none."""
LATE = 2 / 3
"""Layers from here on count as late: the last third, as the paper cuts it."""


def shuffled_labels_score(case: Case) -> Finding | None:
    """Training on labels decided by a coin gains as the real ones do."""
    chosen = choose(case.evidence, case.results.runs).chosen
    seen = [
        f"{role.condition} {size_and_p(one)} on {one.dimension}"
        for role in case.results.roles
        if role.kind == "shuffled labels" and shuffled_gains(case.evidence, role.condition, chosen)
        for one in case.objective(role.condition)
        if one.sure and one.gain > 0
    ]
    if not seen:
        return None
    seeds = [int(seed) for seed in case.recipe.get("seeds") or [0]]
    return Finding(
        name="shuffled labels win",
        title="Shuffled labels do as well as the real ones",
        seen=f"{'; '.join(seen)}, and no condition is clearly above that.",
        cause="Any training on texts of this kind has the effect; the preferences themselves add nothing that shows.",
        check="Do chosen and rejected share a style that base lacks? Then imitation of either is what is rewarded.",
        changes={"seeds": [*seeds, max(seeds) + 1, max(seeds) + 2]},
    )


def base_differs(case: Case) -> Finding | None:
    """The base, sampled anew, differs from itself."""
    seen = [
        f"{role.condition} {size_and_p(one)} on {one.dimension}"
        for role in case.results.roles
        if role.kind == "base again"
        for one in case.evidence.against_base(
            role.condition, (*case.evidence.objective, *case.evidence.others)
        )
        if one.sure
    ]
    if not seen:
        return None
    return Finding(
        name="base differs from base",
        title="The base differs from itself",
        seen=f"{'; '.join(seen)}.",
        cause="Chance in one study of twenty; otherwise scores that drift with time or order, or answers that were not "
        "made alike.",
        check="Was everything judged in one go, by one version of the judge? Are answers of both sides cut alike?",
        changes={"generation.temperature": 0},
        suffix="-greedy",
    )


def ceiling(case: Case) -> Finding | None:
    """A judged dimension on which nearly all scores are one value: any dimension of a judge with a scale; of measures
    without one, which are often 0 for good reason, only those of the objective."""
    judged = case.results.judged
    scaled = any(
        judge.get("scale")
        for judge in case.records.judges
        if judged is not None and (judge.get("judge"), judge.get("protocol")) == judged
    )
    values: dict[str, Counter[float]] = defaultdict(Counter)
    for score in case.scores:
        if judged is not None and (score.judge, score.protocol) == judged and score.state == "ok":
            values[score.dimension][valid(score)] += 1
    asked = (*case.evidence.objective, *(case.evidence.others if scaled else ()))
    directed = {measure.dimension for measure in (*case.evidence.objective, *case.evidence.others)}
    shares = {
        name: (count.most_common(1)[0], sum(count.values()))
        for name, count in values.items()
        if name in directed
    }
    seen = {
        measure.dimension: (value, count / total)
        for measure in asked
        if measure.dimension in shares
        for (value, count), total in [shares[measure.dimension]]
        if count / total >= CEILING
    }
    if not seen:
        return None
    objective = [measure.dimension for measure in case.evidence.objective]
    spread = [name for name, ((_, count), total) in shares.items() if count / total < CEILING]
    hit = [name for name in objective if name in seen]
    found = "; ".join(f"{name} {percent(share)} are {value:g}" for name, (value, share) in seen.items())
    return Finding(
        name="ceiling",
        title="A dimension has next to no room to differ",
        seen=f"{found}.",
        cause="The task is too easy (or too hard) for this dimension, or the judge uses one value of its scale.",
        check="Differences there are decided by a few prompts; a tie is not a proof of no harm."
        + (f" The objective itself is affected: {listed(hit)}." if hit else ""),
        changes={"preferences.objective": spread[:1]},
        command="" if hit and spread else "stratalign list dimensions",
    )


def missing_scores(case: Case) -> Finding | None:
    """Runs of which many answers have no valid score."""
    states: dict[str, Counter[str]] = defaultdict(Counter)
    for score in case.scores:
        states[score.run][score.state] += 1
    seen = []
    for run in case.results.runs:
        own = states.get(run.run, Counter())
        lost = {state: own[state] for state in LOST if own[state]}
        total = sum(own.values())
        if total and sum(lost.values()) / total >= MANY_MISSING:
            found = ", ".join(f"{percent(count / total)} {state}" for state, count in lost.items())
            seen.append(f"{run.run} {found}")
    if not seen:
        return None
    return Finding(
        name="missing scores",
        title="Many answers have no valid score",
        seen=f"{'; '.join(seen)}.",
        cause="The judge refuses some texts (moderation), its replies are cut or do not parse, or the server failed. "
        "What is refused differs between conditions, so the rest is not a fair sample.",
        check="Counts of each state by run in the report; raw replies of a few such rows.",
        verb="judge",
    )


def another_model_judged(case: Case) -> Finding | None:
    """The judge's server named another model in its replies than the one that was asked, or several snapshots."""
    seen = [one.words for one in case.results.judge_replies if not one.as_asked]
    if not seen:
        return None
    return Finding(
        name="another model judged",
        title="The judge's replies name other models than the one that was asked",
        seen=" ".join(seen),
        cause="A router or a fallback at the server replaced the judge, an alias moved on to another snapshot, or the "
        "server calls the same model by another name. Scores of different models do not compare.",
        check="What the server runs under these names. If it is not one model, have the server keep to one, and move "
        "judgements.sqlite away so that every answer is judged again.",
        verb="judge",
    )


def alignment_tax(case: Case) -> Finding | None:
    """The objective rises and something else surely falls (Hierarchical Alignment v2, Figure 1)."""
    seen, runs = {}, []
    for condition in case.candidates:
        pays = [
            one
            for one in case.evidence.against_base(condition, case.evidence.others)
            if one.sure and one.gain < 0
        ]
        if pays and case.gains(condition):
            seen[condition] = (
                f"{condition} pays on {listed([f'{one.dimension} {size(one)}' for one in pays])}"
            )
            runs += [run.run for run in case.trained if run.condition == condition][:1]
    if not seen:
        return None
    beta = float(training(case.recipe).get("beta") or 0.1)
    return Finding(
        name="alignment tax",
        title="The objective rises and other dimensions fall",
        seen=f"{'; '.join(seen.values())}.",
        cause="The pairs say nothing of those dimensions, or trade them.",
        guess="Or an update of many layers drifts further.",
        check=f"That only the layers meant were trained: stratalign audit {{study}}/adapters/{runs[0]}; "
        "and KL to base.",
        changes={"training.beta": round(2 * beta, 6)},
        suffix="-beta",
        training="less",
        conditions=tuple(seen),
    )


def late_layers_insufficient(case: Case) -> Finding | None:
    """A condition of late layers alone does not gain, or loses, where others gain (v2, section 4.2.1)."""
    count = case.results.study.model.get("layers")
    others = [name for name in case.candidates if case.gains(name)]
    if not count or not others:
        return None
    late = _first_of_each(case, lambda run: bool(run.layers) and min(run.layers) >= int(LATE * count))
    seen = {
        name: case.objective(name)[0]
        for name in late
        if case.objective(name) and all(one.verdict != "better" for one in case.objective(name))
    }
    if not seen:
        return None
    name, run = next((name, late[name]) for name in seen)
    rate = training(case.recipe).get("learning_rate", 1e-5)
    higher = float(f"{3 * (max(rate.values()) if isinstance(rate, Mapping) else float(rate)):.3g}")
    tuned = {"layers": list(run.layers), "learning_rate": higher}
    return Finding(
        name="late layers insufficient",
        title="Training late layers alone is not shown to be enough",
        seen=f"{'; '.join(f'{name} {size_and_p(one)} on {one.dimension}' for name, one in seen.items())}, while "
        f"{listed(others)} {'does' if len(others) == 1 else 'do'} better than base.",
        cause="What is needed may not be there to be used so late.",
        guess="Or these layers want another rate than the others, which one rate for all conditions cannot tell apart.",
        check=f"Held-out accuracy of {name} against the others: if it is as high, the update is there, and does not "
        "reach the answers.",
        changes=with_conditions(case.recipe, {f"{name}_tuned": tuned}),
        training="more",
        conditions=(name,),
    )


def block_misses(case: Case) -> Finding | None:
    """All layers gain, and no single block is shown to: the boundaries may cut through what matters."""
    count = case.results.study.model.get("layers")
    blocks = case.results.study.partition
    names = list(blocks)
    if not count or len(names) < 2 or any(not layers for layers in blocks.values()):
        return None
    whole = [run.condition for run in case.trained if len(run.layers) == count and case.gains(run.condition)]
    single = [
        name
        for name, run in _first_of_each(case, lambda run: list(run.layers) in blocks.values()).items()
        if case.objective(name)
    ]
    if not whole or not single or any(case.gains(name) for name in single):
        return None
    return Finding(
        name="block misses the target",
        title="All layers gain, no single block is shown to",
        seen=f"{listed(whole)} does better than base; of {listed(single, 'or')} this cannot be said.",
        cause="The blocks' boundaries cut through the layers that matter, or a block has too few parameters at this "
        "rank.",
        check="The same with blocks of which two are trained together.",
        changes=with_conditions(case.recipe, {"joint": {"blocks": names[:2]}}),
    )


def below_anchor(case: Case) -> Finding | None:
    """Trained runs score below the fixed reference answer of the judge's scale (v2: global 2.808 of 3)."""
    judged = case.results.judged
    anchor = next(
        (
            float(judge["anchor"])
            for judge in case.records.judges
            if judged is not None
            and (judge.get("judge"), judge.get("protocol")) == judged
            and judge.get("anchor") is not None
        ),
        None,
    )
    if anchor is None:
        return None
    low = {run.run: found for run in case.trained if (found := _below(case, run, anchor))}
    if not low:
        return None
    base = [run for run in case.results.runs if run.condition == BASE]
    own = [run.run for run in base if _below(case, run, anchor)]
    title = f"Trained runs score below the judge's reference answer ({anchor:g})"
    check = "Below the anchor is not below base: see the comparison."
    if not own:
        return Finding(
            name="below the anchor",
            title=title,
            seen=f"{'; '.join([*low.values(), *(_below(case, run, math.inf) for run in base)])}.",
            cause="The base lies near the reference, too, if its mean is hardly above it.",
            guess="Otherwise training made answers worse.",
            check=check,
            changes=scaled_rate(case.recipe, 0.3),
            suffix="-lower-rate",
            training="less",
            conditions=case.conditions(low),
        )
    cut = any((case.share(name, is_cut) or 0.0) >= CUT for name in own)
    remedy = for_cut(case, own) if cut or case.lacks_template else LOOK
    return Finding(
        name="below the anchor",
        title=title,
        seen=f"{'; '.join(low.values())}; so does the base.",
        cause=f"This is not due to training: the base is below it, too. {remedy.cause}",
        check=check,
        changes=remedy.changes,
        suffix=remedy.suffix,
        verb=remedy.verb,
    )


def _below(case: Case, run: RunResult, anchor: float) -> str:
    """The means of a run on the objective that surely lie below the anchor, in words."""
    meant = {measure.key for measure in case.evidence.objective}
    return "; ".join(
        f"{run.run} {plain(one.mean, 2)} on {one.dimension}"
        for one in run.means
        if one.key in meant and one.mean is not None and one.mean + 2 * (one.standard_error or 0.0) < anchor
    )


def _first_of_each(case: Case, wanted: Callable[[RunResult], bool]) -> dict[str, RunResult]:
    """Condition -> its first run, of the trained conditions whose runs are `wanted`."""
    found: dict[str, RunResult] = {}
    for run in case.trained:
        if wanted(run):
            found.setdefault(run.condition, run)
    return found

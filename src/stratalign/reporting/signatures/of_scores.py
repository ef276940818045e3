"""Signatures of the scores: controls, ceilings, missing rows, tax, and the papers' patterns by layer. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping

from stratalign.reporting.answer.choosing import choose
from stratalign.reporting.answer.commands import study_command, training, with_condition
from stratalign.reporting.answer.withholding import shuffled_gains
from stratalign.reporting.comparisons.comparing import valid
from stratalign.reporting.findings.evidence import size, size_and_p
from stratalign.reporting.findings.runs import RunResult
from stratalign.reporting.numbers import listed, percent, plain
from stratalign.reporting.signatures.case import Case, Signature

CEILING = 0.9
"""Share of scores with one value, above which a dimension has next to nothing left to differ by."""
MANY_MISSING = 0.05
"""Share of rows without a valid score; what is missing is rarely missing by chance, and rarely the same everywhere."""
LOST = ("invalid", "truncated", "blocked", "failed", "pending", "missing")
"""States of rows that should have a score; an undefined measure should have none."""
LATE = 2 / 3
"""Layers from here on count as late: the last third, as the paper cuts it."""


def shuffled_labels_score(case: Case) -> Signature | None:
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
    return Signature(
        "shuffled labels win",
        "Shuffled labels do as well as the real ones",
        f"{'; '.join(seen)}, and no condition is clearly above that.",
        "Any training on texts of this kind has the effect; the preferences themselves add nothing that shows.",
        "Do chosen and rejected share a style that base lacks? Then imitation of either is what is rewarded.",
        study_command({"seeds": [*seeds, max(seeds) + 1, max(seeds) + 2]}),
    )


def base_differs(case: Case) -> Signature | None:
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
    return Signature(
        "base differs from base",
        "The base differs from itself",
        f"{'; '.join(seen)}.",
        "Chance in one study of twenty; otherwise scores that drift with time or order, or answers that were not "
        "made alike.",
        "Was everything judged in one go, by one version of the judge? Are answers of both sides cut alike?",
        study_command({"generation.temperature": 0}, "-greedy"),
    )


def ceiling(case: Case) -> Signature | None:
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
    other = study_command({"preferences.objective": spread[:1]})
    return Signature(
        "ceiling",
        "A dimension has next to no room to differ",
        f"{found}.",
        "The task is too easy (or too hard) for this dimension, or the judge uses one value of its scale.",
        "Differences there are decided by a few prompts; a tie is not a proof of no harm."
        + (f" The objective itself is affected: {listed(hit)}." if hit else ""),
        other if hit and spread else "stratalign list dimensions",
    )


def missing_scores(case: Case) -> Signature | None:
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
    return Signature(
        "missing scores",
        "Many answers have no valid score",
        f"{'; '.join(seen)}.",
        "The judge refuses some texts (moderation), its replies are cut or do not parse, or the server failed. "
        "What is refused differs between conditions, so the rest is not a fair sample.",
        "Counts of each state by run in the report; raw replies of a few such rows.",
        study_command({}, verb="judge"),
    )


def another_model_judged(case: Case) -> Signature | None:
    """The judge's server named another model in its replies than the one that was asked, or several snapshots."""
    seen = [one.words for one in case.results.judge_replies if not one.as_asked]
    if not seen:
        return None
    return Signature(
        "another model judged",
        "The judge's replies name other models than the one that was asked",
        " ".join(seen),
        "A router or a fallback at the server replaced the judge, an alias moved on to another snapshot, or the "
        "server calls the same model by another name. Scores of different models do not compare.",
        "What the server runs under these names. If it is not one model, have the server keep to one, and move "
        "judgements.sqlite away so that every answer is judged again.",
        study_command({}, verb="judge"),
    )


def alignment_tax(case: Case) -> Signature | None:
    """The objective rises and something else surely falls (Hierarchical Alignment v2, Figure 1)."""
    seen, runs = [], []
    for condition in case.candidates:
        pays = [
            one
            for one in case.evidence.against_base(condition, case.evidence.others)
            if one.sure and one.gain < 0
        ]
        if pays and case.gains(condition):
            seen.append(f"{condition} pays on {listed([f'{one.dimension} {size(one)}' for one in pays])}")
            runs += [run.run for run in case.trained if run.condition == condition][:1]
    if not seen:
        return None
    beta = float(training(case.recipe).get("beta") or 0.1)
    return Signature(
        "alignment tax",
        "The objective rises and other dimensions fall",
        f"{'; '.join(seen)}.",
        "The pairs say nothing of those dimensions, or trade them; an update of many layers drifts further.",
        f"That only the layers meant were trained: stratalign audit {{study}}/adapters/{runs[0]}; and KL to base.",
        study_command({"training.beta": round(2 * beta, 6)}, "-beta"),
    )


def late_layers_insufficient(case: Case) -> Signature | None:
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
    return Signature(
        "late layers insufficient",
        "Training late layers alone is not shown to be enough",
        f"{'; '.join(f'{name} {size_and_p(one)} on {one.dimension}' for name, one in seen.items())}, while "
        f"{listed(others)} {'does' if len(others) == 1 else 'do'} better than base.",
        "What is needed may not be there to be used so late; or these layers want another rate than the others, which "
        "one rate for all conditions cannot tell apart.",
        f"Held-out accuracy of {name} against the others: if it is as high, the update is there, and does not "
        "reach the answers.",
        study_command(with_condition(case.recipe, f"{name}_tuned", tuned)),
    )


def block_misses(case: Case) -> Signature | None:
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
    return Signature(
        "block misses the target",
        "All layers gain, no single block is shown to",
        f"{listed(whole)} does better than base; of {listed(single, 'or')} this cannot be said.",
        "The blocks' boundaries cut through the layers that matter, or a block has too few parameters at this rank.",
        "The same with blocks of which two are trained together.",
        study_command(
            with_condition(case.recipe, "joint", {"blocks": names[:2]}),
        ),
    )


def below_anchor(case: Case) -> Signature | None:
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
    meant = {measure.key for measure in case.evidence.objective}
    seen = [
        f"{run.run} {plain(one.mean, 2)} on {one.dimension}"
        for run in case.trained
        for one in run.means
        if (one.judge, one.protocol, one.dimension) in meant
        and one.mean is not None
        and one.mean + 2 * (one.standard_error or 0.0) < anchor
    ]
    if not seen:
        return None
    chat = (case.recipe.get("preferences") or {}).get("template") == "chat"
    limit = int((case.recipe.get("generation") or {}).get("max_new_tokens") or 512)
    changes: dict[str, object] = (
        {"generation.max_new_tokens": 2 * limit} if chat else {"preferences.template": "chat"}
    )
    return Signature(
        "below the anchor",
        f"Trained runs score below the judge's reference answer ({anchor:g})",
        f"{'; '.join(seen)}.",
        "The model is weak on these prompts whatever is trained, or it is asked in another form than it was tuned for. "
        "Below the anchor is not below base: see the comparison.",
        "The base's own mean; answers that are cut, empty or go on with a turn of the user.",
        study_command(changes, "-longer" if chat else "-template"),
    )


def _first_of_each(case: Case, wanted: Callable[[RunResult], bool]) -> dict[str, RunResult]:
    """Condition -> its first run, of the trained conditions whose runs are `wanted`."""
    found: dict[str, RunResult] = {}
    for run in case.trained:
        if wanted(run):
            found.setdefault(run.condition, run)
    return found

"""What a study cannot say, in sentences: those that always hold, and those that this study's numbers call for. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stratalign.reporting.findings.states import States
from stratalign.reporting.numbers import listed, percent, plain
from stratalign.reporting.results import Results

FEW_CLUSTERS, MISSING_SHARE = 30, 0.01
OF_A_GAIN = (
    "A gain says that training these layers suffices under this recipe. It does not say that the behaviour lives "
    "there, nor that other layers would not do."
)
OF_TRAINING = (
    "Nothing here says whether answers became better: that training took hold says that it moved held-out pairs the "
    "way it was asked to, and a larger margin is not a better answer."
)
ALWAYS = "Everything holds for prompts like the held-out ones, and for this model and preference set."


def limits(results: Results, judge: Mapping[str, Any], states: States | None) -> tuple[str, ...]:
    """The sentences of one study; `judge` is the entry of judges.json that decides."""
    found = [OF_A_GAIN if results.took_hold is None else OF_TRAINING, ALWAYS]
    seeds = {run.seed for run in results.runs}
    if len(seeds) == 1 and any(run.layers for run in results.runs):
        found.append("One training seed: how much the results differ between seeds is not known.")
    judged = results.judged
    rows = [
        one
        for one in results.comparisons
        if one.seed is None and (one.key[:2] == judged if judged is not None else one.family is not None)
    ]
    clusters = min((one.clusters for one in rows if one.clusters), default=None)
    if clusters is not None and clusters < FEW_CLUSTERS:
        found.append(f"Only {plain(clusters)} clusters of prompts: the intervals are rough.")
    if str(judge.get("kind") or "") == "judge":
        who = str(judge.get("model") or judge.get("judge") or "a language model")
        found.append(
            f"The scores are the opinion of one language model ({who}), which may favour long answers, a style, or its "
            "own family of models."
        )
    found += _missing(states)
    kl = [
        (run.kl_to_base.mean, run.run)
        for run in results.runs
        if run.layers and run.kl_to_base and run.kl_to_base.mean is not None
    ]
    if len(kl) > 1:
        (low, near), (high, far) = min(kl), max(kl)
        found.append(
            "Conditions are compared after equal steps, not at an equal distance from base: KL runs from "
            f"{plain(low, 2)} ({near}) to {plain(high, 2)} ({far}) nats per answer."
        )
    return tuple(found)


def _missing(states: States | None) -> list[str]:
    rows = [row for row in states.rows if row.answers] if states else []
    lacking = [row for row in rows if row.answers - row.valid > MISSING_SHARE * row.answers]
    if not lacking:
        return []
    worst = max(lacking, key=lambda row: (row.answers - row.valid) / row.answers)
    share = percent((worst.answers - worst.valid) / worst.answers)
    names = listed([row.run for row in lacking]) if len(lacking) <= 5 else f"{len(lacking)} runs"
    return [
        f"More than 1 % of the answers of {names} lack a valid score (most: {worst.run}, {share}); their pairs are "
        "left out, which is only fair if what is missing is like what is there."
    ]

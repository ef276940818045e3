"""Signatures of how the training went: losses, likelihoods and rewards. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from stratalign import stats
from stratalign.reporting.answer.commands import scaled_rate, training
from stratalign.reporting.numbers import listed, percent, signed
from stratalign.reporting.signatures.advice import Finding
from stratalign.reporting.signatures.case import Case

REWARD_WORKS = 0.6
"""Held-out pairs ranked right: clearly above the coin's one half, as a working DPO run is."""
FALL_PER_TOKEN = 0.05
"""Nats that a chosen token loses on average: it became 5 % less likely, more than noise between seeds."""
FITTED, FORGOTTEN = 0.95, 0.2
"""Nearly every training pair is ranked right, and this share fewer of those held out."""
LEARNT = 0.8
"""Of the first steps' loss, at most this share is left where pairs can have been learnt by heart."""
LOSS_RISE = 0.02
"""Nats above where it began: DPO begins at ln 2 = 0.69, and batches differ by about so much."""


def loss_did_not_fall(case: Case) -> Finding | None:
    """The last tenth of the steps has a higher mean loss than the first: the rate is too high."""
    seen = {}
    for run in case.trained:
        losses = [float(row["loss"]) for row in case.steps.get(run.run, ())]
        tenth = math.ceil(len(losses) / 10)
        if len(losses) >= 10:
            first, last = _mean(losses[:tenth]), _mean(losses[-tenth:])
            if last > first + LOSS_RISE:
                seen[run.run] = f"{run.run} from {first:.3f} to {last:.3f}"
    if not seen:
        return None
    return Finding(
        name="loss did not fall",
        title="The training loss rose",
        seen=f"Mean loss of the first and last tenth of the steps: {'; '.join(seen.values())}.",
        cause="The learning rate is too high for this model and batch, or labels contradict each other.",
        check="grad_norm in training.jsonl (it grows where steps are too large), and some pairs of the source by eye.",
        changes=scaled_rate(case.recipe, 0.2),
        suffix="-lower-rate",
        training="less",
        conditions=case.conditions(seen),
    )


def memorised(case: Case) -> Finding | None:
    """Training pairs are ranked right, held-out pairs much less so."""
    seen = {}
    for run in case.trained:
        held_out = run.held_out_accuracy.mean if run.held_out_accuracy else None
        if run.final_accuracy is None or held_out is None or not _learnt(case, run.run):
            continue
        if run.final_accuracy >= FITTED and held_out <= run.final_accuracy - FORGOTTEN:
            seen[run.run] = (
                f"{run.run} {percent(run.final_accuracy)} in training, {percent(held_out)} held out"
            )
    if not seen:
        return None
    fewer = max(int(training(case.recipe).get("epochs") or 1) // 2, 1)
    many = int(training(case.recipe).get("epochs") or 1) > 1
    return Finding(
        name="memorised pairs",
        title="Training pairs were learnt by heart",
        seen=f"Pairs ranked right: {'; '.join(seen.values())}.",
        cause="Too many epochs, or too high a rate, for so few pairs.",
        check="The number of training pairs and clusters in preferences.json.",
        changes={"training.epochs": fewer} if many else scaled_rate(case.recipe, 0.5),
        suffix="-less",
        training="less",
        conditions=case.conditions(seen),
    )


def _learnt(case: Case, run: str) -> bool:
    """Whether the loss of the last tenth of the steps is clearly below that of the first; true without any steps."""
    losses = [float(row["loss"]) for row in case.steps.get(run, ())]
    tenth = math.ceil(len(losses) / 10)
    return not losses or _mean(losses[-tenth:]) <= LEARNT * _mean(losses[:tenth])


def likelihood_displacement(case: Case) -> Finding | None:
    """Chosen answers become less likely while the margin grows: the loss is met by pushing rejected down further."""
    seen = []
    for run in case.trained:
        rows = case.pairs.get(run.run) or []
        if not rows:
            continue
        falls = [(row["base_chosen"] - row["chosen"]) / max(int(row["tokens_chosen"]), 1) for row in rows]
        margin = _mean([_margin(row) for row in rows])
        fall = stats.clustered_mean(falls, [row["cluster"] for row in rows])
        if fall.mean is None or fall.standard_error is None:
            continue
        if fall.mean >= FALL_PER_TOKEN and fall.mean > 2 * fall.standard_error and margin > 0:
            seen.append(f"{run.run} {signed(-fall.mean)} nats a token, margin {signed(margin, 2)} nats")
    if not seen:
        return None
    nll = float(training(case.recipe).get("nll") or 0.0)
    return Finding(
        name="likelihood displacement",
        title="Chosen answers became less likely, together with rejected ones",
        seen=f"Log-probability of held-out chosen answers against base: {'; '.join(seen)}.",
        cause="DPO only asks for the difference: where chosen and rejected look alike, both fall, and the freed "
        "probability goes to answers of which no pair speaks.",
        check="reward_chosen in training.jsonl, and whether chosen and rejected share long passages.",
        changes={"training.nll": nll + 1.0},
        suffix="-nll",
    )


def reward_without_answers(case: Case) -> Finding | None:
    """Held-out pairs are ranked right, but the answers are not better on the objective."""
    seen = {}
    for run in case.trained:
        found = run.held_out_accuracy
        if (
            found is None
            or found.mean is None
            or not found.standard_error
            or not case.objective(run.condition)
        ):
            continue
        works = found.mean >= REWARD_WORKS and found.mean - 2 * found.standard_error > 0.5
        better = any(one.verdict == "better" for one in case.objective(run.condition))
        if works and not better:
            seen[run.run] = f"{run.run} ranks {percent(found.mean)} of them right"
    if not seen:
        return None
    objective = listed([measure.dimension for measure in case.evidence.objective])
    return Finding(
        name="reward up, answers not",
        title="The implicit reward ranks held-out pairs right, but answers are not shown to be better",
        seen=f"{'; '.join(seen.values())}; no gain is shown on {objective}, even before correction.",
        cause="The pairs may be far from what this model writes: telling them apart then does not change its answers.",
        guess="Or the update is too small to change answers.",
        check="Answers side by side in the report; length and style of chosen against the model's own answers.",
        changes=scaled_rate(case.recipe, 3),
        suffix="-higher-rate",
        training="more",
        conditions=case.conditions(seen),
    )


def _margin(row: Mapping[str, Any]) -> float:
    return float((row["chosen"] - row["base_chosen"]) - (row["rejected"] - row["base_rejected"]))


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)

"""Signatures of the answers: unchanged, cut, empty, long, repetitive, far from base. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from stratalign.reporting.answer.commands import scaled_rate, training
from stratalign.reporting.comparisons.contrasts import BASE
from stratalign.reporting.findings.runs import RunResult
from stratalign.reporting.numbers import percent, plain, signed
from stratalign.reporting.signatures.advice import Finding
from stratalign.reporting.signatures.case import FEW_ANSWERS, Case
from stratalign.reporting.signatures.of_base import (
    CUT,
    EMPTY,
    LOOK,
    SIMILAR,
    Fault,
    Remedy,
    base_rambles,
    for_cut,
    from_base,
    in_words,
    is_cut,
    is_empty,
    limit,
    shares_of,
)

SAME = 0.9
"""Share of answers equal to base's, letter by letter, above which there is nothing to judge."""
LONGER, SHORTER = 1.5, 0.5
"""Ratios of the mean number of tokens to base's, beyond which a judge may score length instead of content."""
MORE_REPETITION = 0.05
"""Rise of the share of repeated word 4-grams: in twenty words, one more that stood there before."""
FAR = 0.5
"""Nats of KL to base for each token: a token is then 1.6 times as likely as under base, on average."""


def nothing_moved(case: Case) -> Finding | None:
    """Every trained run answers as the base does, where the base answers anything."""
    shares = [(run, _share_unchanged(case, run)) for run in case.trained]
    known = [(run, share) for run, share in shares if share is not None]
    if not known or any(share < SAME for _, share in known):
        return None
    seen = "; ".join(f"{run.run} {percent(share)}" for run, share in known)
    return Finding(
        name="nothing moved",
        title="Training changed next to nothing",
        seen=f"Answers equal to base's, letter by letter: {seen}.",
        cause="The learning rate is too small, or there are too few steps.",
        check="The loss curve: DPO begins at ln 2 = 0.693 and has to leave it; KL to base.",
        changes=scaled_rate(case.recipe, 10),
        suffix="-higher-rate",
        training="more",
        conditions=case.conditions(run.run for run, _ in known),
    )


def truncated(case: Case) -> Finding | None:
    """Some runs' answers are often cut, although the base mostly ends its own."""
    seen = shares_of(case, is_cut, CUT)
    if not seen or base_rambles(case) is not None:
        return None
    base = [
        case.base_of(run) for run in case.results.runs if run.run in seen and from_base(case, run.run, is_cut)
    ]
    remedy = for_cut(case, list(dict.fromkeys(base))) if base else None
    cause = "Training made answers longer: the base's are cut less often."
    return Finding(
        name="truncated answers",
        title="Answers are cut at the limit",
        seen=f"Cut at {limit(case)} tokens: {in_words(seen)}.",
        cause=f"This is not due to training: the base's answers are cut, too. {remedy.cause}"
        if remedy
        else cause,
        check=remedy.check
        if remedy
        else "Mean length against base; a judge marks an answer down for a missing end.",
        changes=remedy.changes if remedy else {"generation.max_new_tokens": 2 * limit(case)},
        suffix=remedy.suffix if remedy else "-longer",
    )


def empty_answers(case: Case) -> Finding | None:
    """Runs that often answer nothing, where their base answers."""
    shares = shares_of(case, is_empty, EMPTY)
    seen = {run: share for run, share in shares.items() if not from_base(case, run, is_empty)}
    if not seen:
        return None
    return Finding(
        name="empty answers",
        title="Training made answers empty",
        seen=f"Empty: {in_words(seen)}; of the base {percent(max(_base_shares(case, is_empty)))}.",
        cause="Training made the end token, or a text of generation.stop, the likeliest start.",
        check="Chosen answers that are empty or a word long; the loss curve.",
        changes=scaled_rate(case.recipe, 0.3),
        suffix="-lower-rate",
        training="less",
        conditions=case.conditions(seen),
    )


def longer_answers(case: Case) -> Finding | None:
    """Answers much longer than base's."""
    seen = _lengths(case, lambda ratio: ratio >= LONGER)
    if not seen:
        return None
    return Finding(
        name="length explosion",
        title="Answers became much longer",
        seen=f"Mean tokens over base's: {'; '.join(seen.values())}.{_data_lengths(case)}",
        cause="Chosen answers are longer than rejected ones, or sums of log-probabilities reward length; judges like "
        "length too, so part of a gain may be length.",
        check="tokens_chosen and tokens_rejected in logprobs.jsonl; the measure `length` beside the objective.",
        changes={"training.loss": "sigmoid_norm", "training.beta": 2.0, **_reset(case)},
        suffix="-normalised",
    )


def shorter_answers(case: Case) -> Finding | None:
    """Answers much shorter than base's."""
    seen = _lengths(case, lambda ratio: ratio <= SHORTER)
    if not seen:
        return None
    cut = max(_base_shares(case, is_cut))
    ended = "The base was cut and a trained run ends its answers, which is a gain." if cut >= CUT else ""
    return Finding(
        name="answers shrank",
        title="Answers became much shorter",
        seen=f"Mean tokens over base's: {'; '.join(seen.values())}. Cut at the limit: {percent(cut)} of base's."
        f"{_data_lengths(case)}",
        cause=" ".join(filter(None, (ended, "Chosen answers are shorter than rejected ones."))),
        guess="Or the update went too far.",
        check="tokens_chosen and tokens_rejected in logprobs.jsonl; answers side by side in the report.",
        changes=scaled_rate(case.recipe, 0.5),
        suffix="-lower-rate",
        training="less",
        conditions=case.conditions(seen),
    )


def repetitive(case: Case) -> Finding | None:
    """Answers repeat themselves more than base's, surely."""
    seen: dict[str, str] = {}
    before: dict[str, float] = {}
    for run in case.trained:
        one = case.measured(run.condition, "repetition")
        if one is None or one.mean_difference is None or one.difference_low is None:
            continue
        if one.mean_difference >= MORE_REPETITION and one.difference_low > 0:
            seen[run.condition] = f"{run.condition} {signed(one.mean_difference, 2)}"
            base = _mean_repetition(case, case.base_of(run))
            if base is not None and base >= SIMILAR * (base + one.mean_difference):
                before[run.condition] = base
    if not seen:
        return None
    found = f"Share of repeated word 4-grams against base: {'; '.join(seen.values())}."
    if before:
        remedy = _for_loops(case)
        return Finding(
            name="repetition",
            title="Answers repeat themselves",
            seen=f"{found} Base: {plain(max(before.values()), 2)}.",
            cause="This is not due to training alone: the base already repeats itself to a similar degree. "
            + remedy.cause,
            check=remedy.check,
            changes=remedy.changes,
            suffix=remedy.suffix,
            verb=remedy.verb,
        )
    return Finding(
        name="repetition",
        title="Answers repeat themselves",
        seen=found,
        cause="The update went too far: the model has fallen into loops.",
        check="Answers side by side in the report; KL to base.",
        changes=scaled_rate(case.recipe, 0.3),
        suffix="-lower-rate",
        training="less",
        conditions=tuple(seen),
    )


def far_from_base(case: Case) -> Finding | None:
    """KL to base is large for each token of the answers."""
    seen = {}
    for run in case.trained:
        rows = [row for row in case.answers.get(run.run, []) if row.get("kl_to_base") is not None]
        tokens = sum(int(row.get("tokens") or 0) for row in rows)
        if len(rows) < FEW_ANSWERS or not tokens:
            continue
        each = math.fsum(sorted(float(row["kl_to_base"]) for row in rows)) / tokens
        if each >= FAR:
            seen[run.run] = f"{run.run} {plain(each, 2)}"
    if not seen:
        return None
    beta = float(training(case.recipe).get("beta") or 0.1)
    return Finding(
        name="KL explosion",
        title="Training went far from base",
        seen=f"Nats of KL to base for each token of the answers: {'; '.join(seen.values())}.",
        cause="The rate is too high, beta too small, or there are too many steps.",
        check="Tax and repetition beside it: what lies far from base has usually lost something else.",
        changes={"training.beta": round(3 * beta, 6)},
        suffix="-beta",
        training="less",
        conditions=case.conditions(seen),
    )


def _for_loops(case: Case) -> Remedy:
    """What may make the base repeat itself."""
    base = [run.run for run in case.results.runs if run.condition == BASE]
    if case.lacks_template or any((case.share(name, is_cut) or 0.0) >= CUT for name in base):
        return for_cut(case, base)
    if (case.recipe.get("generation") or {}).get("temperature") == 0:
        return Remedy(
            "The likeliest token at each step (generation.temperature: 0) often leads into a loop.",
            "Answers of base in the report.",
            {"generation.temperature": 0.7},
            "-sampled",
        )
    return LOOK


def _base_shares(case: Case, fault: Fault) -> list[float]:
    return [case.share(run.run, fault) or 0.0 for run in case.results.runs if run.condition == BASE] or [0.0]


def _mean_repetition(case: Case, base: str) -> float | None:
    runs = [run for run in case.results.runs if run.run == base]
    means: list[float | None] = [
        one.mean for run in runs for one in run.means if one.dimension == "repetition"
    ]
    return means[0] if means else None


def _share_unchanged(case: Case, run: RunResult) -> float | None:
    base = _answering(case, run)
    rows = [row for row in case.answers.get(run.run, []) if row["prompt_id"] in base]
    if len(rows) < FEW_ANSWERS:
        return None
    same = [row for row in rows if row.get("response") == base[row["prompt_id"]].get("response")]
    return len(same) / len(rows)


def _answering(case: Case, run: RunResult) -> dict[str, Mapping[str, Any]]:
    """Prompt -> the base's answer, where there is one that is not empty."""
    return {row["prompt_id"]: row for row in case.answers.get(case.base_of(run), []) if not is_empty(row)}


def _lengths(case: Case, beyond: Callable[[float], bool]) -> dict[str, str]:
    """Run -> its mean length over base's, on the prompts that the base answers."""
    seen = {}
    for run in case.trained:
        answered = _answering(case, run)
        own = _tokens(row for row in case.answers.get(run.run, []) if row["prompt_id"] in answered)
        base = _tokens(answered.values())
        if own is not None and base and beyond(own / base):
            seen[run.run] = f"{run.run} {own / base:.2f} ({plain(own, 0)} against {plain(base, 0)})"
    return seen


def _tokens(rows: Iterable[Mapping[str, Any]]) -> float | None:
    lengths = [int(row.get("tokens") or 0) for row in rows]
    return sum(lengths) / len(lengths) if len(lengths) >= FEW_ANSWERS else None


def _data_lengths(case: Case) -> str:
    """How long chosen and rejected are, from the held-out pairs of any run."""
    rows = next((rows for rows in case.pairs.values() if rows), [])
    if not rows:
        return ""
    chosen, rejected = (
        sum(int(row[name]) for row in rows) / len(rows) for name in ("tokens_chosen", "tokens_rejected")
    )
    return f" Held-out pairs: chosen {plain(chosen, 0)} tokens, rejected {plain(rejected, 0)}."


def _reset(case: Case) -> dict[str, object]:
    """Settings that the normalised loss does not read, back at their defaults."""
    written = training(case.recipe)
    return {
        f"training.{key}": default
        for key, default in (("label_smoothing", 0.0), ("simpo_gamma", 0.5))
        if written.get(key, default) != default
    }

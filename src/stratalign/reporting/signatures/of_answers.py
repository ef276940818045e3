"""Signatures of the answers: unchanged, cut, empty, long, repetitive, far from base. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from stratalign.reporting.answer.commands import scaled_rate, study_command, training
from stratalign.reporting.comparisons.contrasts import BASE
from stratalign.reporting.findings.runs import RunResult
from stratalign.reporting.numbers import percent, plain, signed
from stratalign.reporting.signatures.case import Case, Signature

SAME = 0.9
"""Share of answers equal to base's, letter by letter, above which there is nothing to judge."""
FEW_ANSWERS = 8
"""Shares of fewer answers than this say nothing."""
CUT, RAMBLES = 0.1, 0.5
"""Shares of answers cut at the limit: a tenth changes what is judged; half, and the base never learnt to stop."""
EMPTY = 0.05
"""Share of empty answers; a sound model has none."""
LONGER, SHORTER = 1.5, 0.5
"""Ratios of the mean number of tokens to base's, beyond which a judge may score length instead of content."""
MORE_REPETITION = 0.05
"""Rise of the share of repeated word 4-grams: in twenty words, one more that stood there before."""
FAR = 0.5
"""Nats of KL to base for each token: a token is then 1.6 times as likely as under base, on average."""


def nothing_moved(case: Case) -> Signature | None:
    """Every trained run answers as the base does."""
    answered = [run for run in case.trained if len(case.answers.get(run.run, ())) >= FEW_ANSWERS]
    known = [(run, run.same_as_base) for run in answered if run.same_as_base is not None]
    if not known or any(share < SAME for _, share in known):
        return None
    seen = "; ".join(f"{run.run} {percent(share)}" for run, share in known)
    return Signature(
        "nothing moved",
        "Training changed next to nothing",
        f"Answers equal to base's, letter by letter: {seen}.",
        "The learning rate is too small, or there are too few steps.",
        "The loss curve: DPO begins at ln 2 = 0.693 and has to leave it; KL to base.",
        study_command(scaled_rate(case.recipe, 10), "-higher-rate"),
    )


def base_rambles(case: Case) -> Signature | None:
    """The base's own answers mostly run into the limit: it never learnt to stop."""
    shares = {run.run: _share_cut(case, run) for run in case.results.runs if run.condition == BASE}
    seen = {run: share for run, share in shares.items() if share is not None and share >= RAMBLES}
    if not seen:
        return None
    changes: dict[str, object] = {"preferences.template": "chat"}
    if (case.recipe.get("preferences") or {}).get("template") == "chat":
        changes = {"generation.stop": ["\n\nHuman:", "\n\nUser:"]}
    return Signature(
        "base rambles",
        "The base does not end its answers",
        "; ".join(
            f"{percent(share)} of the answers of {run} are cut at the limit" for run, share in seen.items()
        )
        + ".",
        "A model without instruction tuning, or one asked without the template it was tuned with.",
        "Some answers of base in the report: do they go on with a turn of the user?",
        study_command(changes, "-template"),
    )


def truncated(case: Case) -> Signature | None:
    """Some runs' answers are often cut, although the base ends its own."""
    if base_rambles(case) is not None:
        return None
    shares = {run.run: _share_cut(case, run) for run in case.results.runs}
    seen = {run: share for run, share in shares.items() if share is not None and share >= CUT}
    if not seen:
        return None
    limit = int((case.recipe.get("generation") or {}).get("max_new_tokens") or 512)
    return Signature(
        "truncated answers",
        "Answers are cut at the limit",
        f"Cut at {limit} tokens: {'; '.join(f'{run} {percent(share)}' for run, share in seen.items())}.",
        "The limit is too low for these prompts, or training made answers longer.",
        "Mean length against base; a judge marks an answer down for a missing end.",
        study_command({"generation.max_new_tokens": 2 * limit}, "-longer"),
    )


def empty_answers(case: Case) -> Signature | None:
    """Runs that often answer nothing."""
    seen = []
    for run in case.results.runs:
        rows = case.answers.get(run.run, [])
        empty = sum(not str(row.get("response") or "").strip() for row in rows)
        if len(rows) >= FEW_ANSWERS and empty / len(rows) >= EMPTY:
            seen.append(f"{run.run} {percent(empty / len(rows))}")
    if not seen:
        return None
    return Signature(
        "empty answers",
        "Answers are empty",
        f"Empty: {'; '.join(seen)}.",
        "Training made the end token the likeliest start, or a stop text stands at the start of answers.",
        "generation.stop and the template in recipe.yaml; chosen answers that are empty or a word long.",
        study_command(scaled_rate(case.recipe, 0.3), "-lower-rate"),
    )


def longer_answers(case: Case) -> Signature | None:
    """Answers much longer than base's."""
    seen = _lengths(case, lambda ratio: ratio >= LONGER)
    if not seen:
        return None
    return Signature(
        "length explosion",
        "Answers became much longer",
        f"Mean tokens over base's: {'; '.join(seen)}.{_data_lengths(case)}",
        "Chosen answers are longer than rejected ones, or sums of log-probabilities reward length; judges like length "
        "too, so part of a gain may be length.",
        "tokens_chosen and tokens_rejected in logprobs.jsonl; the measure `length` beside the objective.",
        study_command({"training.loss": "sigmoid_norm", "training.beta": 2.0, **_reset(case)}, "-normalised"),
    )


def shorter_answers(case: Case) -> Signature | None:
    """Answers much shorter than base's."""
    seen = _lengths(case, lambda ratio: ratio <= SHORTER)
    if not seen:
        return None
    return Signature(
        "answers shrank",
        "Answers became much shorter",
        f"Mean tokens over base's: {'; '.join(seen)}.{_data_lengths(case)}",
        "Chosen answers are shorter than rejected ones, or a base that rambled has learnt to stop, which is a gain.",
        "tokens_chosen and tokens_rejected in logprobs.jsonl; how many answers of base are cut at the limit.",
        study_command(scaled_rate(case.recipe, 0.5), "-lower-rate"),
    )


def repetitive(case: Case) -> Signature | None:
    """Answers repeat themselves more than base's, surely."""
    seen = []
    for condition in case.candidates:
        one = case.measured(condition, "repetition")
        if one is None or one.mean_difference is None or one.difference_low is None:
            continue
        if one.mean_difference >= MORE_REPETITION and one.difference_low > 0:
            seen.append(f"{condition} {signed(one.mean_difference, 2)}")
    if not seen:
        return None
    return Signature(
        "repetition",
        "Answers repeat themselves",
        f"Share of repeated word 4-grams against base: {'; '.join(seen)}.",
        "The update went too far: the model has fallen into loops.",
        "Answers side by side in the report; KL to base.",
        study_command(scaled_rate(case.recipe, 0.3), "-lower-rate"),
    )


def far_from_base(case: Case) -> Signature | None:
    """KL to base is large for each token of the answers."""
    seen = []
    for run in case.trained:
        rows = [row for row in case.answers.get(run.run, []) if row.get("kl_to_base") is not None]
        tokens = sum(int(row.get("tokens") or 0) for row in rows)
        if len(rows) < FEW_ANSWERS or not tokens:
            continue
        each = math.fsum(sorted(float(row["kl_to_base"]) for row in rows)) / tokens
        if each >= FAR:
            seen.append(f"{run.run} {plain(each, 2)}")
    if not seen:
        return None
    beta = float(training(case.recipe).get("beta") or 0.1)
    return Signature(
        "KL explosion",
        "Training went far from base",
        f"Nats of KL to base for each token of the answers: {'; '.join(seen)}.",
        "The rate is too high, beta too small, or there are too many steps.",
        "Tax and repetition beside it: what lies far from base has usually lost something else.",
        study_command({"training.beta": round(3 * beta, 6)}, "-beta"),
    )


def _share_cut(case: Case, run: RunResult) -> float | None:
    rows = case.answers.get(run.run, [])
    if len(rows) < FEW_ANSWERS:
        return None
    return _share(row.get("finish") == "length" for row in rows)


def _share(holds: Iterable[bool]) -> float:
    listed = list(holds)
    return sum(listed) / len(listed)


def _lengths(case: Case, beyond: Callable[[float], bool]) -> list[str]:
    seen = []
    for run in case.trained:
        own, base = _tokens(case.answers.get(run.run, [])), _tokens(case.answers.get(case.base_of(run), []))
        if own is not None and base and beyond(own / base):
            seen.append(f"{run.run} {own / base:.2f} ({plain(own, 0)} against {plain(base, 0)})")
    return seen


def _tokens(rows: Sequence[Mapping[str, Any]]) -> float | None:
    if len(rows) < FEW_ANSWERS:
        return None
    return sum(int(row.get("tokens") or 0) for row in rows) / len(rows)


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

"""Signatures of the base's own answers, and what can be done about them: how rows are rendered, what ends an answer,
how long it may be. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from stratalign.reporting.comparisons.contrasts import BASE
from stratalign.reporting.numbers import percent, plain
from stratalign.reporting.signatures.advice import Finding
from stratalign.reporting.signatures.case import Case

EMPTY = 0.05
"""Share of empty answers; a sound model has none."""
CUT, RAMBLES = 0.1, 0.5
"""Shares of answers cut at the limit: a tenth changes what is judged; half, and the base mostly does not end them."""
SIMILAR = 0.5
"""A run has a fault from its base where the base has at least so much of the run's share."""
ROOM = 1.5
"""An answer needs about so many times the mean length of chosen responses to end in most cases."""
NEXT_TURN = re.compile(r"\n+(?:user|User|Human|system|assistant|Assistant)(?::|\n)")
"""How another turn begins in an answer, with the template's special tokens left out."""

Fault = Callable[[Mapping[str, Any]], bool]


class Remedy(NamedTuple):
    """What the base's fault may come from, and what to change."""

    cause: str
    check: str
    changes: Mapping[str, object]
    suffix: str
    verb: str = "study"


LOOK = Remedy(
    "The model is weak on these prompts, or is asked in another form than it was tuned for.",
    "Some answers of base in the report; which template is used (`stratalign plan` says it).",
    {},
    "",
    "plan",
)


def is_empty(row: Mapping[str, Any]) -> bool:
    return not str(row.get("response") or "").strip()


def is_cut(row: Mapping[str, Any]) -> bool:
    return row.get("finish") == "length"


def base_empty(case: Case) -> Finding | None:
    """The base itself often answers nothing."""
    seen = _of_base(case, is_empty, EMPTY)
    remedy = for_empty(case, seen) if seen else LOOK
    return _found(case, seen, remedy, "base empty", "The base's own answers are empty", is_empty, "Empty")


def base_rambles(case: Case) -> Finding | None:
    """The base's own answers mostly run into the limit."""
    seen = _of_base(case, is_cut, RAMBLES)
    remedy = for_cut(case, seen) if seen else LOOK
    about = f"Cut at {limit(case)} tokens"
    return _found(
        case,
        seen,
        remedy,
        "base rambles",
        "The base does not end its answers within the limit",
        is_cut,
        about,
    )


def _of_base(case: Case, fault: Fault, least: float) -> list[str]:
    """The base's runs of whose answers at least this share has the fault."""
    names = [run.run for run in case.results.runs if run.condition == BASE]
    return [name for name in names if (case.share(name, fault) or 0.0) >= least]


def _found(
    case: Case, base: Sequence[str], remedy: Remedy, name: str, title: str, fault: Fault, about: str
) -> Finding | None:
    if not base:
        return None
    return Finding(
        name=name,
        title=title,
        seen=f"{about}: {in_words(shares_of(case, fault))}.",
        cause=f"This is not due to training: the base model already does it. {remedy.cause}",
        check=remedy.check,
        changes=remedy.changes,
        suffix=remedy.suffix,
        verb=remedy.verb,
        of_base=True,
    )


def shares_of(case: Case, fault: Fault, least: float = 0.0) -> dict[str, float]:
    """Run -> the share of its answers with a fault, of runs that have it in more than none and at least this share."""
    found = {run.run: case.share(run.run, fault) or 0.0 for run in case.results.runs}
    return {run: share for run, share in found.items() if share and share >= least}


def in_words(shares: Mapping[str, float]) -> str:
    return "; ".join(f"{run} {percent(share)}" for run, share in shares.items())


def from_base(case: Case, run: str, fault: Fault) -> bool:
    """Whether a run's base has the fault to a similar degree."""
    own = next(one for one in case.results.runs if one.run == run)
    share = case.share(run, fault) or 0.0
    return (case.share(case.base_of(own), fault) or 0.0) >= SIMILAR * share


def for_empty(case: Case, base: Sequence[str]) -> Remedy:
    """What may make the base answer nothing."""
    if case.lacks_template:
        return _with_template(case)
    rows = [row for run in base for row in case.answers.get(run, []) if is_empty(row)]
    ended = sum(not is_cut(row) for row in rows)
    if 2 * ended < len(rows):
        found = f"Most of these answers are white space or special tokens up to {limit(case)} tokens. "
        return LOOK._replace(cause=found + LOOK.cause)
    stop = (case.recipe.get("generation") or {}).get("stop", "auto")
    if isinstance(stop, list) and stop:
        return Remedy(
            "Most of these answers end at once, at an end token or at a text of generation.stop.",
            "Whether answers begin with one of these texts.",
            {"generation.stop": "auto"},
            "-no-stop",
        )
    return LOOK._replace(cause="Most of these answers end at once. " + LOOK.cause)


def for_cut(case: Case, base: Sequence[str]) -> Remedy:
    """What may make the base run into the limit."""
    if case.lacks_template:
        return _with_template(case)
    cut = [str(row["response"]) for run in base for row in case.answers.get(run, []) if is_cut(row)]
    turns = [match[0] for text in cut if (match := NEXT_TURN.search(text))]
    if turns and 2 * len(turns) >= len(cut):
        stop = (case.recipe.get("generation") or {}).get("stop", "auto")
        texts = [*(stop if isinstance(stop, list) else ()), *turns]
        return Remedy(
            f"{percent(len(turns) / len(cut))} of these answers go on with another turn, as they do where the "
            "token that ends a turn is not among the end tokens of the tokenizer and generation_config.json.",
            "The token that the template writes after an answer, and the model's eos_token_id.",
            {"generation.stop": list(dict.fromkeys(texts))},
            "-stop",
        )
    allowed, chosen = limit(case), _mean_chosen(case)
    if chosen is not None and allowed < ROOM * chosen:
        return Remedy(
            f"The limit leaves little room: held-out chosen responses have {plain(chosen, 0)} tokens on average, "
            f"generation.max_new_tokens is {allowed}.",
            "Some answers of base in the report: are they sound as far as they go?",
            {"generation.max_new_tokens": _enough(allowed, ROOM * chosen)},
            "-longer",
        )
    return Remedy(
        "The limit is too low for these prompts, or the model has not learnt to end its answers, as many without "
        "instruction tuning.",
        "Some answers of base in the report: do they come to an end and then go on?",
        {"generation.max_new_tokens": 2 * allowed},
        "-longer",
    )


def limit(case: Case) -> int:
    return int((case.recipe.get("generation") or {}).get("max_new_tokens") or 512)


def _with_template(case: Case) -> Remedy:
    known = (
        "although its tokenizer has a chat template"
        if case.template
        else "and its tokenizer may have a template"
    )
    return Remedy(
        f"The rows are given to the model as plain text (preferences.template: raw), {known}.",
        "Some answers of base in the report: do they continue the prompt in place of answering it?",
        {"preferences.template": "chat"},
        "-template",
    )


def _mean_chosen(case: Case) -> float | None:
    """Mean tokens of the held-out chosen responses."""
    rows = {row["prompt_id"]: row.get("tokens_chosen") for row in case.records.logprobs}
    lengths = [int(tokens) for tokens in rows.values() if tokens]
    return sum(lengths) / len(lengths) if lengths else None


def _enough(allowed: int, wanted: float) -> int:
    """The limit, doubled until it is as high as wanted."""
    while allowed < wanted:
        allowed *= 2
    return allowed

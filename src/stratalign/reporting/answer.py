"""The study's answer in plain words, drawn from its comparisons alone. Knows nothing of pages.

The words are chosen with care: an interval that excludes 0 says that training some layers suffices for an effect
under this recipe, never that the effect lives in them; an interval that includes 0 says "cannot tell", never "no
difference".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from stratalign.reporting.contrasts import Contrast
from stratalign.reporting.numbers import interval, listed, signed
from stratalign.reporting.results import Results

HEADLINE_DIMENSIONS, NAMED = 2, 5


class Answer(NamedTuple):
    """One sentence on the dimensions that the preferences are meant to move, and one on each other dimension."""

    headline: str
    elsewhere: tuple[str, ...]


def answer_in_words(results: Results) -> Answer:
    """What the comparisons over all seeds say, dimension by dimension; the objective's come first."""
    groups = _groups(results)
    if not groups:
        if results.comparisons:
            return Answer(
                "No dimension that was judged has a better direction, so none can be won or lost.", ()
            )
        return Answer(f"No answer yet: {_lowered(results.why_no_comparison or 'nothing was compared.')}", ())
    first = [group for group in groups if group[0].dimension in results.study.objective] or groups
    first = first[:HEADLINE_DIMENSIONS]
    trained = {run.condition for run in results.runs if run.layers}
    sentences = [_sentence(group, trained) for group in first]
    return Answer(
        " ".join(sentences), tuple(_sentence(group, trained) for group in groups if group not in first)
    )


def _groups(results: Results) -> list[list[Contrast]]:
    """The comparisons over all seeds of each measure that has a direction."""
    groups: dict[tuple[str, str, str], list[Contrast]] = {}
    for one in results.comparisons:
        if one.seed is None and one.better is not None and one.n:
            groups.setdefault((one.judge, one.protocol, one.dimension), []).append(one)
    order = [measure[:3] for measure in results.measures]
    return [groups[key] for key in sorted(groups, key=order.index)]


def _sentence(group: Sequence[Contrast], trained: set[str]) -> str:
    """One dimension: what suffices for a gain, what is worse, and for what this sample cannot tell."""
    dimension = group[0].dimension
    gains = [one for one in group if one.verdict == "better" and one.condition in trained]
    others = [one for one in group if one.verdict == "better" and one.condition not in trained]
    worse = [one for one in group if one.verdict == "worse"]
    unsure = [one.condition for one in group if one.verdict == "cannot tell"]
    clauses = []
    if gains:
        names = listed([one.condition for one in gains], "or")
        clauses.append(f"training {names} suffices to do better than base on {dimension} ({_sizes(gains)})")
    if others:
        names, verb = listed([one.condition for one in others]), "does" if len(others) == 1 else "do"
        clauses.append(f"{names} {verb} better than base on {dimension} without training ({_sizes(others)})")
    if worse:
        names, verb = listed([one.condition for one in worse]), "does" if len(worse) == 1 else "do"
        clauses.append(f"{names} {verb} worse than base on {dimension} ({_sizes(worse)})")
    if unsure and clauses:
        names = listed(unsure) if len(unsure) <= NAMED else f"{len(unsure)} other conditions"
        clauses.append(f"for {names} this sample cannot tell")
    elif unsure:
        names = listed(unsure, "or") if len(unsure) <= NAMED else f"any of {len(unsure)} conditions"
        clauses.append(f"on {dimension}, this sample cannot tell whether {names} differs from base")
    sentence = "; ".join(clauses) + "."
    return sentence if sentence.startswith(tuple(one.condition for one in group)) else _raised(sentence)


def _sizes(rows: Sequence[Contrast]) -> str:
    sizes = [f"{signed(one.net_win_rate, 2)} {interval(one.low, one.high, 2)}" for one in rows]
    if len(rows) == 1:
        return f"net win rate {sizes[0]}"
    return "net win rate: " + ", ".join(
        f"{one.condition} {size}" for one, size in zip(rows, sizes, strict=True)
    )


def _raised(text: str) -> str:
    return text[:1].upper() + text[1:]


def _lowered(text: str) -> str:
    return text[:1].lower() + text[1:]

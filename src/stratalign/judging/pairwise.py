"""Two answers to one prompt, judged in both orders, as one value. Knows nothing of runs, servers or files."""

from __future__ import annotations

from collections.abc import Mapping

from stratalign.judging.protocol import Item


def both_orders(prompt: str, answer: str, base_answer: str) -> tuple[Item, Item]:
    """The two items that a pairwise protocol is asked: the answer first, then the base's answer first."""
    return Item(prompt, (answer, base_answer)), Item(prompt, (base_answer, answer))


def against_base(answer_first: Mapping[str, int], base_first: Mapping[str, int]) -> dict[str, int]:
    """One value per dimension of an answer against the base's: 1 better, 0 tie, -1 worse.

    An answer is better, or worse, only where both orders say so. All else is a tie: two ties, but also a judge
    that prefers one place whatever stands there, and one that decides in one order alone (the conservative rule of
    Zheng et al. 2023, arXiv 2306.05685, section 3.4). The base's own value is 0, so that the mean of
    sign(value - 0) over prompts is the net win rate, as `stats.compare` counts it.

    Args:
        answer_first: what the judge said of (answer, base): 1 first better, 0 tie, -1 second better.
        base_first: what it said of (base, answer).

    Raises:
        ValueError: the two readings have other dimensions.
    """
    agreed = orders_agree(answer_first, base_first)
    return {name: value if agreed[name] else 0 for name, value in answer_first.items()}


def orders_agree(answer_first: Mapping[str, int], base_first: Mapping[str, int]) -> dict[str, bool]:
    """Whether the two orders say the same of a dimension; the share that do not is the judge's position bias.

    Raises:
        ValueError: the two readings have other dimensions.
    """
    if answer_first.keys() != base_first.keys():
        raise ValueError(
            f"Readings of {sorted(answer_first)} and of {sorted(base_first)} do not belong together."
        )
    return {name: value == -base_first[name] for name, value in answer_first.items()}

"""Where two numbers of one contrast seem to disagree, a sentence that says how both can be right. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from stratalign.reporting.comparisons.contrasts import Contrast
from stratalign.reporting.numbers import interval, p_value, signed


def with_notes(contrasts: Iterable[Contrast]) -> list[Contrast]:
    """The contrasts, after their correction, each with its `note`."""
    return [replace(one, note=disagreement(one)) for one in contrasts]


def disagreement(one: Contrast) -> str | None:
    """What a reader would stumble over, or None."""
    notes = [_interval_and_correction(one), _wins_and_mean(one), _missing(one)]
    return " ".join(note for note in notes if note) or None


def _interval_and_correction(one: Contrast) -> str | None:
    if one.p_holm is None:
        return None
    if one.verdict != "cannot tell" and not one.sure:
        return (
            f"By its own interval {one.verdict}, but not after Holm's correction for all tests {one.family} "
            f"(p {p_value(one.p_holm)}): conclusions count it as cannot tell."
        )
    if one.verdict == "cannot tell" and one.sure:
        return (
            f"Its interval contains 0 or its clusters are few, yet it survives Holm's correction for all tests "
            f"{one.family} (p {p_value(one.p_holm)}): the p value is exact, the interval is approximate."
        )
    return None


def _wins_and_mean(one: Contrast) -> str | None:
    rate, mean = one.net_win_rate, one.mean_difference
    if rate is None or mean is None or rate * mean >= 0:
        return None
    if rate > 0:
        return (
            f"More rows are higher than lower ({one.wins} to {one.losses}), yet the mean difference is "
            f"{signed(mean)}: the {one.losses} differ by more."
        )
    return (
        f"More rows are lower than higher ({one.losses} to {one.wins}), yet the mean difference is {signed(mean)}: "
        f"the {one.wins} differ by more."
    )


def _missing(one: Contrast) -> str | None:
    low, high = one.missing_low, one.missing_high
    if low is None or high is None or one.verdict == "cannot tell" or not low <= 0 <= high:
        return None
    return (
        f"The {one.missing} missing rows could undo it: between all lost and all won the rate lies in "
        f"{interval(low, high, 2)}."
    )

"""Which contrasts are tested together, and their p values after Holm's correction. Pure.

Three families, none of which mixes protocols: every candidate and control against base, the null controls against
base (which should find nothing), and every pair of conditions on what the preferences are meant to move.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from stratalign import stats
from stratalign.reporting.contrasts import LEVEL, Contrast

AGAINST_BASE, NULL_CONTROLS, HEAD_TO_HEAD = "against base", "null controls", "head to head"


def correct_against_base(
    contrasts: Sequence[Contrast], judged: tuple[str, str] | None, nulls: Collection[str]
) -> list[Contrast]:
    """Contrasts with base, corrected where they count: over all seeds, of the judged protocol (judge, protocol), on
    measures that have a better direction. Those of the conditions `nulls` form a family of their own."""

    def family(one: Contrast) -> str | None:
        if one.seed is not None or one.better is None or one.key[:2] != judged:
            return None
        return NULL_CONTROLS if one.condition in nulls else AGAINST_BASE

    return _corrected(contrasts, family)


def correct_pairs(contrasts: Sequence[Contrast]) -> list[Contrast]:
    """All contrasts between conditions, corrected as one family."""
    return _corrected(contrasts, lambda _: HEAD_TO_HEAD)


def _corrected(contrasts: Sequence[Contrast], family_of: Callable[[Contrast], str | None]) -> list[Contrast]:
    members: dict[str, list[int]] = defaultdict(list)
    for index, one in enumerate(contrasts):
        family = family_of(one)
        if family is not None and one.p_value is not None:
            members[family].append(index)
    found = list(contrasts)
    for family, indices in members.items():
        adjusted = stats.holm([contrasts[index].p_value for index in indices])
        for index, p_holm in zip(indices, adjusted, strict=True):
            found[index] = replace(
                contrasts[index],
                p_holm=p_holm,
                family=family,
                smallest_detectable_holm=stats.detectable_effect(
                    contrasts[index].standard_error, LEVEL, tests=len(indices)
                ),
            )
    return found

"""Which contrasts are tested together, and their p values after Holm's correction. Pure.

None of the families mixes what decides with what is only shown beside it. Those of contrasts with base: every
candidate and control on what the preferences are meant to move (`primary`), the same on everything else (`against
base`), and the null controls, which should find nothing. Then every pair of conditions on what the preferences are
meant to move. The primary outcome is declared in the recipe, before anything is seen, so it does not pay for the other
dimensions; where none of it was judged nothing is primary, and all contrasts with base are one family.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from stratalign import stats
from stratalign.reporting.comparisons.contrasts import LEVEL, Contrast

PRIMARY, AGAINST_BASE, NULL_CONTROLS, HEAD_TO_HEAD = (
    "primary", "against base", "null controls", "head to head",
)  # fmt: skip
CATEGORIES, ALL_BUT_OVERALL = "categories", "all but Overall"
PROFILE = "profile"
ABOUT = {
    PRIMARY: "conditions against base on what the preferences are meant to move",
    AGAINST_BASE: "conditions against base on every other dimension that has a better direction",
    NULL_CONTROLS: "controls that should move nothing against base, on every dimension that has a better direction",
    HEAD_TO_HEAD: "every pair of conditions on what the preferences are meant to move",
    PROFILE: "windows of layers, their random draws and shifted blocks against base, on every dimension that has a "
    "better direction",
    CATEGORIES: "conditions against base on the mean of each category",
    ALL_BUT_OVERALL: "conditions against base on the mean of all dimensions but Overall",
}


@dataclass(frozen=True)
class Family:
    """How many tests are corrected together, and what they are."""

    name: str
    tests: int
    about: str


def correct_against_base(
    contrasts: Sequence[Contrast],
    deciding: Collection[tuple[str, str]],
    nulls: Collection[str],
    primary: Collection[tuple[str, str, str]] = (),
    aside: Collection[str] = (),
) -> list[Contrast]:
    """Contrasts with base, corrected where they count: over all seeds, of the protocols `deciding` (judge, protocol),
    on measures that have a better direction. Those on the measures `primary` (their keys) form one family, those of
    the conditions `nulls` another, those of the conditions `aside` a third, and all others a fourth."""

    def family(one: Contrast) -> str | None:
        if one.seed is not None or one.better is None or one.key[:2] not in deciding:
            return None
        if one.condition in nulls:
            return NULL_CONTROLS
        if one.condition in aside:
            return PROFILE
        return PRIMARY if one.key in primary else AGAINST_BASE

    return corrected(contrasts, family)


def correct_pairs(contrasts: Sequence[Contrast]) -> list[Contrast]:
    """All contrasts between conditions, corrected as one family."""
    return corrected(contrasts, lambda _: HEAD_TO_HEAD)


def corrected(contrasts: Sequence[Contrast], family_of: Callable[[Contrast], str | None]) -> list[Contrast]:
    """The contrasts with Holm's p values within the family of each; those of no family stay as they are."""
    members: dict[str, list[int]] = defaultdict(list)
    for index, one in enumerate(contrasts):
        family = family_of(one)
        if family is not None and one.p_value is not None:
            members[family].append(index)
    found = list(contrasts)
    for family, indices in members.items():
        adjusted = stats.holm([contrasts[index].p_value for index in indices])
        for index, p_holm in zip(indices, adjusted, strict=True):
            one = contrasts[index]
            found[index] = replace(
                one,
                p_holm=p_holm,
                family=family,
                smallest_detectable_holm=stats.detectable_net_win_rate(
                    one.standard_error, one.n, one.clusters, LEVEL, tests=len(indices)
                ),
            )
    return found


def families(contrasts: Iterable[Contrast]) -> list[Family]:
    """The families of corrected contrasts and their sizes, in order of appearance."""
    sizes = Counter(one.family for one in contrasts if one.family is not None and one.p_holm is not None)
    return [Family(name, tests, ABOUT.get(name, name)) for name, tests in sizes.items()]

"""Which contrasts are tested together, and their p values after Holm's correction. Pure.

None of the families mixes what decides with what is only shown beside it. Those of contrasts with base: every
candidate on what the preferences are meant to move (`primary`), the same on everything else (`against base`), the
controls likewise (`controls` and `controls elsewhere`: random layers, equal parameters), and the null controls,
which should find nothing. Then the pairs of candidates on what the preferences are meant to move (`head to head`),
and the candidates beside controls (`against controls`), so that more controls take no power from the comparison
that the study is about. The primary outcome is declared in the recipe, before anything is seen, so it does not pay
for the other dimensions; where none of it was judged, the dimensions that stand in are primary. Where nothing was
judged at all, the one measure of training that is tested takes the place of what the preferences are meant to move.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from stratalign import stats
from stratalign.reporting.comparisons.contrasts import LEVEL, Contrast

PRIMARY, AGAINST_BASE, CONTROLS, NULL_CONTROLS = "primary", "against base", "controls", "null controls"
CONTROLS_ELSEWHERE = "controls elsewhere"
HEAD_TO_HEAD, AGAINST_CONTROLS = "head to head", "against controls"
CATEGORIES, ALL_BUT_OVERALL = "categories", "all but Overall"
PROFILE = "profile"
MEANT = "what the preferences are meant to move"
DIRECTED = "every dimension that has a better direction"
ABOUT = {
    PRIMARY: "candidates against base on {meant}",
    AGAINST_BASE: "candidates against base on every other dimension that has a better direction",
    CONTROLS: "random layers and equal parameters against base on {meant}",
    CONTROLS_ELSEWHERE: "the same on every other dimension that has a better direction",
    NULL_CONTROLS: "controls that should move nothing against base, on {every}",
    HEAD_TO_HEAD: "every pair of candidates on {meant}",
    AGAINST_CONTROLS: "candidates against random layers and equal parameters on {meant}",
    PROFILE: "windows of layers, their random draws and shifted blocks against base, on {every}",
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
    tested: Collection[tuple[str, str, str]],
    primary: Collection[tuple[str, str, str]],
    apart: Mapping[str, str],
) -> list[Contrast]:
    """Contrasts with base, corrected where they count: over all seeds, on the measures `tested`.

    Args:
        tested: keys of the measures that count: those with a better direction of the protocols that decide.
        primary: keys of the measures that form a family of their own.
        apart: condition -> the family that it belongs to, whatever the measure; that of controls is two, as
            candidates' is.
    """

    def family(one: Contrast) -> str | None:
        if one.seed is not None or one.key not in tested:
            return None
        own = apart.get(one.condition)
        if one.key in primary:
            return own or PRIMARY
        return CONTROLS_ELSEWHERE if own == CONTROLS else own or AGAINST_BASE

    return corrected(contrasts, family)


def correct_pairs(contrasts: Sequence[Contrast], controls: Collection[str] = ()) -> list[Contrast]:
    """Contrasts between conditions, corrected as two families: between candidates, and with `controls`."""
    return corrected(
        contrasts,
        lambda one: AGAINST_CONTROLS if {one.condition, one.against} & {*controls} else HEAD_TO_HEAD,
    )


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
                    one.standard_error,
                    one.n,
                    one.clusters,
                    LEVEL,
                    tests=len(indices),
                    freedom=one.freedom,
                ),
            )
    return found


def families(contrasts: Iterable[Contrast], meant: str = MEANT, every: str = DIRECTED) -> list[Family]:
    """The families of corrected contrasts and their sizes, in order of appearance.

    Args:
        contrasts: after their correction.
        meant: what is primary, in words.
        every: what null controls and windows are tested on, in words.
    """
    sizes = Counter(one.family for one in contrasts if one.family is not None and one.p_holm is not None)
    return [
        Family(name, tests, ABOUT.get(name, name).format(meant=meant, every=every))
        for name, tests in sizes.items()
    ]

"""The layer profile: the share of full's gain that each window of layers recovers, beside random draws, and what it
costs elsewhere; and the same for blocks whose boundaries were moved. Pure.

Shares are `shares`, costs the contrasts with base. Knows nothing of how it is drawn (`profile_plot`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stratalign.blocks import Added
from stratalign.reporting.comparisons.comparing import ScoreTable
from stratalign.reporting.comparisons.contrasts import Contrast
from stratalign.reporting.comparisons.shares import Share, Shares, one_more_draw, shares_of_full
from stratalign.reporting.findings.evidence import Evidence
from stratalign.reporting.inputs import StudyRecords
from stratalign.reporting.numbers import listed, plain, signed, spans

NAMED = 4
"""With more windows than this in a sentence their numbers are in the table alone."""
FULL = "full"
"""The condition whose gain is the whole; a recipe with a profile or boundaries always has it."""


@dataclass(frozen=True)
class Place:
    """One added condition: the layers that it trains, and its worst loss elsewhere, which is its lowest net win rate
    against base on any dimension outside of the objective, turned so that above 0 is better. That it is the lowest of
    many makes it lie below 0 by chance alone. None where nothing else was judged."""

    condition: str
    kind: str
    layers: tuple[int, ...]
    block: str | None
    shift: int
    worst_dimension: str | None
    worst: float | None
    worst_low: float | None
    worst_high: float | None

    @property
    def middle(self) -> float:
        """The depth of a window: the middle of its layers."""
        return (self.layers[0] + self.layers[-1]) / 2


@dataclass(frozen=True)
class BlockShares:
    """One block's shares on one measure under the shifted partitions; the band is the block under the recipe's own,
    where a condition trains it, so that `standing` says whether a shift makes a sure difference."""

    block: str
    shares: Shares


@dataclass(frozen=True)
class Profile:
    """Windows and draws are of `window` layers each, out of `layers`. One entry of `shares` for each dimension of the
    objective, the first of which is drawn, and of `boundaries` for each of them and each block. `words` say what can
    be told."""

    layers: int
    window: int | None
    places: tuple[Place, ...]
    shares: tuple[Shares, ...]
    boundaries: tuple[BlockShares, ...]
    words: tuple[str, ...]

    @property
    def by_name(self) -> dict[str, Place]:
        """Every added condition's place."""
        return {one.condition: one for one in self.places}


def layer_profile(records: StudyRecords, table: ScoreTable, evidence: Evidence) -> Profile | None:
    """The profile of a study whose recipe asks for one; None of any other, and while the model's depth is unknown."""
    added = [one for one in records.added if one.kind != "needed"]
    if not added:
        return None
    by_kind: dict[str, list[Added]] = {kind: [] for kind in ("window", "draw", "shifted")}
    for one in added:
        by_kind[one.kind].append(one)
    windows, draws = ([one.name for one in by_kind[kind]] for kind in ("window", "draw"))
    shares, boundaries = [], []
    for measure in evidence.objective:
        if windows:
            shares.append(shares_of_full(table, measure, FULL, windows, draws))
        for block in dict.fromkeys(one.block for one in by_kind["shifted"]):
            of_block = [one for one in by_kind["shifted"] if one.block == block]
            own = _untouched(str(block), records)
            boundaries.append(
                BlockShares(
                    str(block), shares_of_full(table, measure, FULL, [one.name for one in of_block], own)
                )
            )
    size = len(by_kind["window"][0].layers) if windows else None
    places = tuple(_place(one, evidence) for one in added)
    words = [sentence for one in shares for sentence in _told(one, size or 0, places)]
    told = {sentence for one in shares if (sentence := one.why_none)}  # of full's gain, not of a block's
    words += [_moved(one) for one in boundaries if one.shares.why_none not in told]
    if not evidence.objective:
        words = ["Nothing has been judged yet, so there is no profile to show."]
    depth = int(records.manifest["model"]["layers"])
    return Profile(depth, size, places, tuple(shares), tuple(boundaries), tuple(words))


def _untouched(block: str, records: StudyRecords) -> list[str]:
    """The condition that trains the block as the recipe's partition has it, and nothing else of it changed."""
    written = records.recipe.get("conditions") or ()
    names = (
        list(written) if isinstance(written, Mapping) else [one for one in written if isinstance(one, str)]
    )
    settings = written.get(block) if isinstance(written, Mapping) else None
    return [block] if block in names and not settings else []


def _place(one: Added, evidence: Evidence) -> Place:
    rest: Sequence[Contrast] = [
        row for row in evidence.against_base(one.name, evidence.others) if row.net_win_rate is not None
    ]
    worst = min(rest, key=lambda row: row.gain, default=None)
    low, high = worst.gain_bounds if worst else (None, None)
    return Place(
        one.name,
        one.kind,
        one.layers,
        one.block,
        one.shift,
        worst.dimension if worst else None,
        worst.gain if worst else None,
        low,
        high,
    )


def _told(one: Shares, size: int, places: Sequence[Place]) -> list[str]:
    """What the windows' shares say, in sentences."""
    if one.why_none is not None:
        return [one.why_none]
    layers = {place.condition: spans(place.layers) for place in places}

    def named(found: Sequence[Share]) -> str:
        if len(found) > NAMED:
            return listed([layers[row.condition] for row in found])
        return listed([f"{layers[row.condition]} ({_number(row)})" for row in found])

    if one.band is None:
        sure = [row for row in one.conditions if row.low is not None and row.low > 0]
        lead = (
            f"{one.dimension}: training layers {named(sure)} alone suffices for a share of full's gain above 0, one "
            "window at a time."
            if sure
            else f"{one.dimension}: of no window can it be told that training it alone gains anything."
        )
        return [f"{lead} No random draws stand beside them."]
    by_standing = {
        standing: [row for row in one.conditions if row.standing == standing]
        for standing in ("above", "below", "cannot tell")
    }
    count = len(one.band.draws)
    many = f"{count} random draw{'' if count == 1 else 's'} of {size} layers"
    words = []
    if by_standing["above"]:
        words.append(
            f"{one.dimension}: training layers {named(by_standing['above'])} alone suffices for more of full's gain "
            f"than each of the {many} does, with certainty (95 %, Holm over {len(one.conditions)} windows)."
        )
    else:
        words.append(
            f"{one.dimension}: no window lies above all of the {many} with certainty (95 %, Holm over "
            f"{len(one.conditions)} windows)."
        )
    if by_standing["below"]:
        words.append(
            f"{one.dimension}: training layers {named(by_standing['below'])} alone gains less than each of the draws, "
            "with certainty."
        )
    if by_standing["cannot tell"]:
        words.append(
            f"{one.dimension}: neither above nor below all of the draws with certainty: layers "
            f"{named(by_standing['cannot tell'])}."
        )
    band = one.band
    words.append(
        f"{one.dimension}: the draws recover {plain(band.lowest, 2)} to {plain(band.highest, 2)} of full's gain, "
        f"{plain(band.mean, 2)} on average. Certainty is about other prompts, not other draws: {one_more_draw(count)}."
    )
    return words


def _moved(one: BlockShares) -> str:
    """What shifting its boundaries does to one block's share."""
    found = one.shares
    who = f"{found.dimension}, {one.block}"
    if found.why_none is not None:
        return f"{who}: {found.why_none}"
    each = ", ".join(f"{row.condition} {_number(row)}" for row in found.conditions)
    if found.band is None or not found.band.draws:
        return f"{who} under shifted boundaries: {each or 'not judged yet'}."
    differing = [row.condition for row in found.conditions if row.standing in ("above", "below")]
    verdict = (
        f"{listed(differing)} {'differs' if len(differing) == 1 else 'differ'} from it with certainty"
        if differing
        else "none can be told from it"
    )
    own = _number(found.band.draws[0])
    return f"{who} recovers {own} as the partition has it; shifted: {each or 'not judged yet'}; {verdict}."


def _number(row: Share) -> str:
    """'0.52 [0.40, 0.66]'."""
    bounds = "" if row.low is None or row.high is None else f" [{_short(row.low)}, {_short(row.high)}]"
    return f"{_short(row.share)}{bounds}"


def _short(value: float | None) -> str:
    return plain(value, 2) if value is None or abs(value) >= 0.005 else signed(0.0)


def profile_rows(found: Profile) -> list[tuple[object, ...]]:
    """profile.csv: its header, then a line for each added condition and measure."""
    rows: list[tuple[object, ...]] = [HEADER]
    listed_shares = [*found.shares, *(one.shares for one in found.boundaries)]
    for shares in listed_shares:
        draws = shares.band.draws if shares.band is not None else ()
        for row in (*shares.conditions, *draws):
            place = next((one for one in found.places if one.condition == row.condition), None)
            if place is not None:
                rows.append(
                    (
                        place.condition,
                        place.kind,
                        " ".join(map(str, place.layers)),
                        shares.dimension,
                        shares.unit,
                        *(getattr(row, name) for name in SHARE_COLUMNS),
                        place.worst_dimension,
                        place.worst,
                        place.worst_low,
                        place.worst_high,
                    )
                )
    return rows


SHARE_COLUMNS = (
    "n", "clusters", "missing", "gain", "gain_low", "gain_high", "share", "low", "high", "p_value", "p_holm",
    "standing",
)  # fmt: skip
HEADER = (
    "condition", "kind", "layers", "dimension", "unit", *SHARE_COLUMNS,
    "worst_dimension", "worst", "worst_low", "worst_high",
)  # fmt: skip

"""How far a study's numbers carry, as the page's section "How sure" shows it: answers in sentences, tables behind them.

Everything is said from results; a question that a study has no numbers for is left out. Text stays raw: escaping is
the template's. Pure; knows nothing of HTML or LaTeX.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from stratalign.reporting.comparisons.agreement import Agreed
from stratalign.reporting.comparisons.contrasts import Contrast
from stratalign.reporting.comparisons.matched import ASSUMPTION
from stratalign.reporting.findings.evidence import objective_measures
from stratalign.reporting.numbers import NOTHING, interval, listed, percent, plain, signed
from stratalign.reporting.results import Results
from stratalign.reporting.tables.sheets import TextTable

SHOWN, NAMED = 4, 5
"""Sentences of one question that stand open, and names in a sentence; what is more is folded, or counted."""


class Part(NamedTuple):
    """One question: `words` answer it in the open; `more` sentences and the table are folded behind `summary`."""

    name: str
    title: str
    words: tuple[str, ...]
    summary: str = ""
    more: tuple[str, ...] = ()
    table: TextTable | None = None
    note: str = ""
    open: bool = False


def how_sure(results: Results) -> tuple[Part, ...]:
    """What there is to say, in the order to say it."""
    asked = (
        _categories(results),
        _disagreements(results),
        _missing(results),
        _seeds(results),
        _equal_length(results),
        _matched(results),
        _replies(results),
        _agreement(results),
        _spread(results),
        _halo(results),
        _families(results),
    )
    return tuple(part for part in asked if part is not None)


def could_see(contrasts: Iterable[Contrast]) -> str | None:
    """What true effect a table's rows would have found four times out of five: after the correction, by family, or each
    tested alone where none is corrected. None where nothing can be resampled."""
    rows = list(contrasts)
    corrected = any(one.family is not None for one in rows)
    seen: dict[str, list[float]] = defaultdict(list)
    for one in rows:
        effect = one.smallest_detectable_holm if corrected else one.smallest_detectable
        if effect is not None and (one.family is not None or not corrected):
            seen[one.family or ""].append(effect)
    if not seen:
        return None
    how = "after the correction" if corrected else "each test taken alone"
    small = [family for family, effects in seen.items() if min(effects) >= 1]
    sizes = [
        _between(effects) + (f" ({family})" if len(seen) > 1 else "")
        for family, effects in seen.items()
        if family not in small
    ]
    words = []
    if sizes:
        words.append(
            f"This sample finds a true net win rate, up or down, of {listed(sizes)} four times out of five, {how}. A "
            "smaller one may be there and go unseen."
        )
    if small:
        tests = f" for the tests {listed(small)}" if len(seen) > 1 else ""
        words.append(
            f"This sample is too small{tests} to find any net win rate four times out of five, {how}."
        )
    return " ".join(words)


def _between(effects: Sequence[float]) -> str:
    """'0.14', or '0.14 to 0.21' where rows differ; no net win rate is above 1."""
    low, high = (plain(min(value, 1.0), 2) for value in (min(effects), max(effects)))
    return low if low == high else f"{low} to {high}"


def _judged(results: Results) -> list[Contrast]:
    """Contrasts with base over all seeds, of the judge and protocol that decide; where nothing is judged, those that
    are tested."""
    rows = [one for one in results.comparisons if one.seed is None]
    if results.judged is None:
        return [one for one in rows if one.family is not None]
    return [one for one in rows if one.key[:2] == results.judged]


def _first(sentences: Sequence[str], what: str) -> tuple[tuple[str, ...], tuple[str, ...], str]:
    """Those that stand open, the others, and the fold's summary."""
    rest = tuple(sentences[SHOWN:])
    return tuple(sentences[:SHOWN]), rest, f"{len(rest)} more, and all as a table" if rest else what


def _some(names: Sequence[str], of: int) -> str:
    return listed(names) if len(names) <= NAMED else f"{len(names)} of {of} dimensions"


def _categories(results: Results) -> Part | None:
    grouped = results.categories
    rows = [*grouped.comparisons, *grouped.all_but_overall]
    if not rows:
        return None
    columns = list(dict.fromkeys(one.dimension for one in rows))
    cells = {(one.condition, one.dimension): _rate(one) for one in rows}
    members = "; ".join(f"{name}: {', '.join(its)}" for name, its in grouped.members.items())
    seen = could_see(rows)
    return Part(
        "categories",
        "By category",
        (seen,) if seen else (),
        "Net win rates of category means",
        table=TextTable(
            "Net win rate against base of each category's mean, with its 95 % interval; * survives the correction",
            ["condition", *columns],
            [
                [name, *(cells.get((name, column), NOTHING) for column in columns)]
                for name in dict.fromkeys(one.condition for one in rows)
            ],
            1,
        ),
        note=f"{members}." if members else "",
        open=True,
    )


def _rate(one: Contrast) -> str:
    return f"{signed(one.net_win_rate, 2)}{'*' * one.sure} {interval(one.low, one.high, 2)}"


def _disagreements(results: Results) -> Part | None:
    rows = [one for one in (*_judged(results), *results.pairs) if one.note]
    if not rows:
        return None
    return Part(
        "notes",
        "Where two numbers seem to disagree",
        (f"On {len(rows)} of {len([*_judged(results), *results.pairs])} contrasts, marked † in the tables.",),
        "What is behind each",
        tuple(f"{one.condition} against {one.against} on {one.dimension}: {one.note}" for one in rows),
    )


def _missing(results: Results) -> Part | None:
    rows = [one for one in (*_judged(results), *results.pairs) if one.missing_low is not None]
    if not rows:
        return None
    worst = max(rows, key=lambda one: one.missing / (one.n + one.missing))
    told = [one for one in rows if one.verdict != "cannot tell"]
    undone = [one for one in told if (one.missing_low or 0) <= 0 <= (one.missing_high or 0)]
    share = percent(worst.missing / (worst.n + worst.missing))
    words = (
        f"More than 1 % of the pairs of answers are missing on {len(rows)} contrasts; the most on {worst.condition} "
        f"against {worst.against} on {worst.dimension}: {share}."
    )
    if told:
        words += f" If all of them had been lost, or all won, {len(undone)} of {len(told)} verdicts could be undone."
    return Part(
        "missing",
        "What the missing answers could change",
        (words,),
        "Bounds: all missing pairs lost, and all won",
        table=TextTable(
            "Net win rate as it is, and if every missing pair had been lost or won",
            ["condition", "against", "dimension", "missing", "of", "net win rate", "all lost", "all won"],
            [
                [
                    one.condition,
                    one.against,
                    one.dimension,
                    plain(one.missing),
                    plain(one.n + one.missing),
                    signed(one.net_win_rate, 2),
                    signed(one.missing_low, 2),
                    signed(one.missing_high, 2),
                ]
                for one in rows
            ],
            3,
        ),
    )


def _seeds(results: Results) -> Part | None:
    rows = [one for one in results.seeds.effects if (one.judge, one.protocol) == results.judged]
    if not rows:
        return None
    measures = [one for one in results.measures if one.key[:2] == results.judged]
    meant = {one.dimension for one in objective_measures(measures, results.objective)}
    words, more, summary = _first([one.words for one in rows if one.dimension in meant], "Seed by seed")
    seeds = list(dict.fromkeys(seed for one in rows for seed in one.seeds))
    return Part(
        "seeds",
        "Another seed",
        (results.seeds.words, *words),
        summary,
        more,
        TextTable(
            "Net win rate under each seed; the 95 % interval is for other seeds and other prompts",
            [
                "condition", "against", "dimension", *(f"seed {seed}" for seed in seeds),
                "mean", "sd of seeds", "95 % interval",
            ],
            [
                [
                    one.condition,
                    one.against,
                    one.dimension,
                    *(
                        signed(dict(zip(one.seeds, one.net_win_rates, strict=True)).get(seed), 2)
                        for seed in seeds
                    ),
                    signed(one.mean, 2),
                    plain(one.between_seeds, 2),
                    interval(one.low, one.high, 2),
                ]
                for one in rows
            ],
            3,
        ),
    )  # fmt: skip


def _equal_length(results: Results) -> Part | None:
    rows = [one for one in results.equal_length if (one.judge, one.protocol) == results.judged and one.n]
    if not rows:
        return None
    said = [one.words for one in rows if one.words]
    words, more, summary = _first(said, "All as a table")
    return Part(
        "equal_length",
        "At equal length",
        words or ("At equal length no verdict would be another one.",),
        summary,
        more,
        TextTable(
            "Net win rate against base as it is, and off a linear regression at equal length",
            ["condition", "dimension", "tokens longer", "as it is", "at equal length", "95 % interval"],
            [
                [
                    one.condition,
                    one.dimension,
                    signed(one.mean_length_difference, 1),
                    signed(one.raw_net_win_rate, 2),
                    signed(one.net_win_rate, 2),
                    interval(one.low, one.high, 2),
                ]
                for one in rows
            ],
            2,
        ),
        note="A condition whose answers became longer may have been rewarded for that. One comparison at a time.",
    )


def _matched(results: Results) -> Part | None:
    rows = results.matched
    if not rows:
        return None
    told = [one.words for one in rows if one.verdict != "cannot tell"]
    unsure = [one for one in rows if one.verdict == "cannot tell"]
    words, more, summary = _first(told, "All as a table")
    if unsure:
        words += (f"On {len(unsure)} of {len(rows)} such contrasts this sample cannot tell.",)
    return Part(
        "matched_kl",
        "At the same distance from base",
        words,
        summary,
        (*more, *(one.words for one in unsure if one.kl is None)),
        TextTable(
            "Gains over base at the smaller KL of each two (nats per answer)",
            [
                "condition", "against", "dimension", "KL", "KL of the other", "gain", "gain of the other",
                "difference", "95 % interval", "verdict",
            ],
            [
                [
                    one.condition,
                    one.against,
                    one.dimension,
                    plain(one.kl_condition, 2),
                    plain(one.kl_against, 2),
                    signed(one.matched_condition, 2),
                    signed(one.matched_against, 2),
                    signed(one.difference, 2),
                    interval(one.low, one.high, 2),
                    one.verdict,
                ]
                for one in rows
            ],
            3,
        ),
        note=ASSUMPTION,
    )  # fmt: skip


def _replies(results: Results) -> Part | None:
    rows = results.judge_replies
    return Part("replies", "Which model judged?", tuple(one.words for one in rows)) if rows else None


def _agreement(results: Results) -> Part | None:
    if not results.agreement:
        return None
    groups: dict[str, list[Agreed]] = defaultdict(list)
    for one in results.agreement:
        groups[_rater(one)].append(one)
    words = []
    for rater, rows in groups.items():
        by_words: dict[str, list[str]] = defaultdict(list)
        for one in rows:
            by_words[one.words].append(one.dimension)
        clauses = [f"{said}, on {_some(names, len(rows))}" for said, names in by_words.items()]
        words.append(f"{rows[0].judge} with {rater}, on the same answers: {'; '.join(clauses)}.")
    return Part(
        "agreement",
        "Do judges agree?",
        tuple(words),
        "Alpha on every dimension",
        table=TextTable(
            "Krippendorff's alpha (ordinal) with its 95 % interval, Cohen's kappa (quadratic weights), equal scores",
            ["with", "dimension", "answers", "alpha", "95 % interval", "kappa", "equal", "so"],
            [
                [
                    rater,
                    one.dimension,
                    plain(one.answers),
                    plain(one.alpha, 2),
                    interval(one.low, one.high, 2),
                    plain(one.kappa, 2),
                    percent(one.exact),
                    one.words,
                ]
                for rater, rows in groups.items()
                for one in rows
            ],
            2,
        ),
    )


def _rater(one: Agreed) -> str:
    return {"itself": "itself", "people": f"people ({one.other})"}.get(one.kind, one.other)


def _spread(results: Results) -> Part | None:
    rows = results.spread
    if not rows:
        return None
    flagged = [one for one in rows if one.flagged]
    most = max(rows, key=lambda one: one.commonest_share)
    if flagged:
        shares = [
            f"{one.dimension} ({percent(one.commonest_share)} are {one.commonest:g})" for one in flagged
        ]
        words = (
            f"More than 90 % of the scores are one value on {listed(shares)}: little can be told apart there."
        )
    else:
        words = (
            f"No dimension has more than 90 % of its scores at one value; the most are {percent(most.commonest_share)} "
            f"({most.dimension}, {most.commonest:g})."
        )
    return Part(
        "spread",
        "Room on the scale",
        (words,),
        "Every dimension",
        table=TextTable(
            "Shares of all scores at the top of the scale, at its bottom and at the commonest value; prompts on which "
            "two runs tie",
            ["dimension", "scores", "top", "bottom", "commonest", "share", "ties", "bits", ""],
            [
                [
                    one.dimension,
                    plain(one.n),
                    percent(one.ceiling),
                    percent(one.floor),
                    f"{one.commonest:g}",
                    percent(one.commonest_share),
                    percent(one.ties),
                    plain(one.entropy, 2),
                    "one value" if one.flagged else "",
                ]
                for one in rows
            ],
            1,
        ),
    )


def _halo(results: Results) -> Part | None:
    found = results.categories.correlations
    if found is None or found.mean is None:
        return None
    words = (
        f"Scores of two dimensions correlate by {signed(found.mean, 2)} on average, within conditions. Near 1 they are "
        "one impression of the whole answer, and many dimensions say no more than a few."
    )
    overall = results.categories.correlation_to_overall
    if overall is not None:
        words += f" The mean of all but Overall correlates with Overall by {signed(overall, 2)}."
    return Part(
        "correlations",
        "Are the dimensions separate?",
        (words,),
        "Correlations of every two",
        table=TextTable(
            "Pearson correlations over all answers, each centred within its condition",
            ["dimension", *(str(at) for at in range(1, len(found.dimensions) + 1))],
            [
                [f"{at} {name}", *(signed(value, 2) for value in row)]
                for at, (name, row) in enumerate(zip(found.dimensions, found.matrix, strict=True), 1)
            ],
            1,
        ),
    )


def _families(results: Results) -> Part | None:
    if not results.families:
        return None
    return Part(
        "families",
        "Corrected together",
        (),
        "The families of tests and their sizes",
        table=TextTable(
            "Holm's correction is made within each family",
            ["family", "of", "tests"],
            [[one.name, one.about, plain(one.tests)] for one in results.families],
            2,
        ),
    )

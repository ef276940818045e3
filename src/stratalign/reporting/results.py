"""Records of one study -> its results: every run's means, every condition against base and against the others, and
the conclusions. Pure, and the same bytes for the same recipe.

Knows nothing of files, pages, times, hosts or paths, so that an interrupted and resumed study, or one on another
machine, gives the same results.json.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import combinations
from typing import Any, NamedTuple

from stratalign import stats
from stratalign.records import SCHEMA, Score
from stratalign.reporting.comparisons.agreement import Agreed, agreements, second_judges
from stratalign.reporting.comparisons.answers import with_a_sign_of_their_own
from stratalign.reporting.comparisons.categories import Categories, categories
from stratalign.reporting.comparisons.comparing import (
    ScoreTable,
    compare_pairs,
    compare_with_base,
    score_table,
)
from stratalign.reporting.comparisons.contrasts import ALPHA, BASE, LEVEL, RESAMPLES, SEED, Contrast, Measure
from stratalign.reporting.comparisons.disagreements import with_notes
from stratalign.reporting.comparisons.equal_length import EqualLength, at_equal_length
from stratalign.reporting.comparisons.equivalences import (
    MARGIN,
    SCALE_SHARE,
    Equivalence,
    NonInferiority,
    TaxTest,
    claims,
    equivalences,
    non_inferiority,
    tax_in_words,
    tax_tests,
)
from stratalign.reporting.comparisons.families import (
    CONTROLS,
    DIRECTED,
    MEANT,
    NULL_CONTROLS,
    PROFILE,
    Family,
    correct_against_base,
    correct_pairs,
    families,
)
from stratalign.reporting.comparisons.grids import score_grid
from stratalign.reporting.comparisons.levels import SeedLevels, seed_levels
from stratalign.reporting.comparisons.matched import ASSUMPTION, Matched, matched_pairs
from stratalign.reporting.comparisons.spreads import DimensionSpread, dimension_spreads
from stratalign.reporting.findings.conclusions import Conclusions, conclude
from stratalign.reporting.findings.contests import Contest, selector_contests
from stratalign.reporting.findings.controls import controls_in_words
from stratalign.reporting.findings.draws import AgainstDraws, against_draws
from stratalign.reporting.findings.evidence import (
    Evidence,
    gather,
    objective_measures,
    primary_measures,
)
from stratalign.reporting.findings.profile import Profile, layer_profile
from stratalign.reporting.findings.progress import unfinished
from stratalign.reporting.findings.roles import Role, condition_roles
from stratalign.reporting.findings.runs import RunResult, mean_scores, ordered_runs, run_result
from stratalign.reporting.findings.states import RunStates, run_states
from stratalign.reporting.findings.took_hold import NOT_JUDGED, TookHold, took_hold, training_measures
from stratalign.reporting.inputs import StudyRecords
from stratalign.reporting.judge_replies import JudgeReplies, judge_replies


@dataclass(frozen=True)
class Study:
    """What was studied. `model` has name, model_type, layers, parameters; `counts` the rows and the splits' sizes."""

    model: dict[str, Any]
    source: str
    objective: tuple[str, ...]
    partition: dict[str, list[int]]
    counts: dict[str, int]


class Judged(NamedTuple):
    """The judge and protocol that decide; whatever else was measured is shown beside it and decides nothing. Measures
    of text judge nothing, so of a study that has no others nothing decides."""

    judge: str
    protocol: str


@dataclass(frozen=True)
class Results:
    """All numbers of one study, and what they say. `why_no_comparison` is None where there are comparisons.

    `comparisons` are against base, of every protocol; `pairs` between the other conditions, of the judged protocol
    on what the preferences are meant to move. Where nothing is judged, both are tested on what `took_hold` names, which
    is None elsewhere. `controls_in_words` has many draws of one kind together, `against_draws` holds candidates beside
    their mean. `families` says how many tests are corrected together. Claims of equality are in `equivalences` and
    `non_inferiority` (head to head) and
    `tax_tests` (outside of the objective, with `tax_in_words` by condition); `equal_length` and `matched` hold
    contrasts at equal length and at equal KL to base, `seeds` those over seeds, `categories` those of means over
    dimensions; `states` counts what became of each run's answers; `agreement` holds the deciding judge against
    itself, further judges and people, `spread` how much of its scale it uses; `warnings` are what judges.json says
    against its judges, `judge_replies` which models answered when they were asked; `selectors` holds those of the
    recipe at equal budget; `profile` is what the recipe's `profile` and `boundaries` showed; `tuning` is tuning.json,
    empty where nothing is tuned.
    """

    study: Study
    judged: Judged | None
    measures: tuple[Measure, ...]
    roles: tuple[Role, ...]
    runs: tuple[RunResult, ...]
    comparisons: tuple[Contrast, ...]
    pairs: tuple[Contrast, ...]
    conclusions: Conclusions
    why_no_comparison: str | None
    missing: tuple[str, ...]
    took_hold: TookHold | None
    families: tuple[Family, ...]
    equivalences: tuple[Equivalence, ...]
    non_inferiority: tuple[NonInferiority, ...]
    tax_tests: tuple[TaxTest, ...]
    tax_in_words: tuple[str, ...]
    controls_in_words: tuple[str, ...]
    against_draws: tuple[AgainstDraws, ...]
    equal_length: tuple[EqualLength, ...]
    matched: tuple[Matched, ...]
    seeds: SeedLevels
    categories: Categories
    states: tuple[RunStates, ...]
    agreement: tuple[Agreed, ...]
    spread: tuple[DimensionSpread, ...]
    warnings: tuple[str, ...]
    judge_replies: tuple[JudgeReplies, ...]
    selectors: tuple[Contest, ...]
    profile: Profile | None
    tuning: Mapping[str, Any] = field(default_factory=dict)

    @property
    def aside(self) -> frozenset[str]:
        """The conditions of the layer profile and of shifted boundaries, which stand in a section of their own."""
        return frozenset(role.condition for role in self.roles if role.aside)

    @property
    def objective(self) -> tuple[str, ...]:
        """The dimensions that the conclusions are of: what the recipe names, or what stands in; what the recipe names
        where nothing is concluded."""
        return tuple(one.dimension for one in self.conclusions.winner) or self.study.objective

    @property
    def protocols(self) -> tuple[Judged, ...]:
        """Every judge and protocol that has measures, the judged one first."""
        return tuple(dict.fromkeys(Judged(*measure.key[:2]) for measure in self.measures))


def summarise(records: StudyRecords) -> Results:
    """The results of one study, in the order of its recipe."""
    every, records = records, that_decide(records)
    runs = ordered_runs(records)
    conditions = {run: condition for run, condition, _ in runs}
    measures = _measures(records)
    first = Judged(*measures[0].key[:2]) if measures else None
    judged = None if first in _measuring(records) else first
    tasks = _tasks(records, judged)
    study = _study(records)
    order = list(dict.fromkeys(condition for _, condition, _ in runs))
    roles = condition_roles(records, order)
    table = score_table(records.scores, conditions)
    nulls = {role.condition for role in roles if role.null}
    aside = {role.condition for role in roles if role.aside}
    controls = {role.condition for role in roles if role.control}
    apart = dict.fromkeys(nulls, NULL_CONTROLS) | dict.fromkeys(aside, PROFILE)
    apart |= dict.fromkeys(controls, CONTROLS)
    main = [condition for condition in order if condition not in aside]
    of_judge = [one for one in measures if one.key[:2] == judged]
    compared_on = with_a_sign_of_their_own(measures)
    against_base = compare_with_base(table, order, compared_on, nulls)
    found, _ = primary_measures(measures, judged, study.objective, against_base)
    meant = found or tuple(
        objective_measures(of_judge, study.objective)
    )  # without base, pairs are all there is
    training = () if judged is not None else training_measures(measures, first, against_base)
    primary = meant or training
    tested = {one.key for one in measures if one.better and one.key[:2] in {judged, *tasks}}
    keys = {one.key for one in primary}
    compared = with_notes(correct_against_base(against_base, tested | keys, keys, apart))
    held_together = [condition for condition in main if condition not in nulls]
    pairs = with_notes(correct_pairs(compare_pairs(table, held_together, primary, controls), controls))
    why_none = None if compared else _why_none(records, order)
    trained = [role.condition for role in roles if role.eligible]
    not_worse = non_inferiority(table, trained, meant)
    evidence = gather(_of_main(roles), judged, measures, study.objective, compared, pairs, tasks, not_worse)
    by_run: dict[str, list[Score]] = defaultdict(list)
    for score in records.scores:
        by_run[score.run].append(score)
    results = tuple(run_result(records, *run, mean_scores(by_run[run[0]], measures)) for run in runs)
    each = list(combinations(trained, 2))
    grouped = categories(table, main, of_judge, apart)
    full = _full(results, trained, study)
    claimed = _claimed(table, meant, trained, full, compared, pairs)
    taxed = tax_tests(table, trained, evidence.others, compared)
    parameters = {run.condition: run.parameters for run in results}
    beside = against_draws(table, evidence.roles, evidence.objective, parameters)
    held = None
    if judged is None and compared:
        held = took_hold(evidence.roles, training, compared, pairs, results)
    concluded = (
        Conclusions(NOT_JUDGED, (), ())
        if held is not None
        else conclude(evidence, why_none or _why_not_judged(compared, judged))
    )
    return Results(
        study=study,
        judged=judged,
        measures=tuple(measures),
        roles=roles,
        runs=results,
        comparisons=tuple(compared),
        pairs=tuple(pairs),
        conclusions=concluded,
        controls_in_words=controls_in_words(evidence, concluded.controls, beside),
        against_draws=beside,
        why_no_comparison=why_none,
        missing=(
            *(note for note in records.missing if not note.startswith("timings.json")),
            *unfinished(records),
        ),
        took_hold=held,
        families=(
            *families(
                [*compared, *pairs, *grouped.comparisons, *grouped.all_but_overall], *_tested(held, tasks)
            ),
            *_claims_as_families(claimed, taxed),
        ),
        equivalences=claimed,
        non_inferiority=not_worse,
        tax_tests=taxed,
        tax_in_words=tax_in_words(taxed),
        equal_length=at_equal_length(table, main, measures, compared),
        matched=matched_pairs(table, each, meant),
        seeds=seed_levels(table, main, compared_on, each, primary, records.seeds_vary),
        categories=grouped,
        states=run_states(records.scores, list(conditions)),
        agreement=agreements(every.scores, every.judges, judged),
        spread=dimension_spreads(score_grid(records.scores, of_judge)),
        warnings=tuple(dict.fromkeys(str(one["warning"]) for one in every.judges if one.get("warning"))),
        judge_replies=judge_replies(every.judges),
        tuning=records.tuning,
        selectors=selector_contests(records, table, evidence.objective, roles, full),
        profile=layer_profile(records, table, evidence),
    )


def that_decide(records: StudyRecords) -> StudyRecords:
    """The records without repeats and judges of a share, which are there to show agreement: one judgement of each
    answer decides."""
    second = second_judges(records.judges)
    return replace(
        records,
        scores=tuple(s for s in records.scores if s.repeat == 0 and (s.judge, s.protocol) not in second),
        judges=tuple(one for one in records.judges if not one.get("second")),
    )


def evidence_of(records: StudyRecords, results: Results) -> Evidence:
    """What the conclusions were drawn from, to be asked once more."""
    return gather(
        _of_main(results.roles),
        results.judged,
        results.measures,
        results.study.objective,
        results.comparisons,
        results.pairs,
        _tasks(records, results.judged),
        results.non_inferiority,
    )


def without_aside(results: Results) -> Results:
    """The results without the runs and contrasts of the layer profile and of shifted boundaries, for tables and
    figures that many windows would make unreadable."""
    aside = results.aside
    if not aside:
        return results
    return replace(
        results,
        roles=tuple(one for one in results.roles if not one.aside),
        runs=tuple(one for one in results.runs if one.condition not in aside),
        comparisons=tuple(one for one in results.comparisons if one.condition not in aside),
    )


def _of_main(roles: Sequence[Role]) -> tuple[Role, ...]:
    return tuple(role for role in roles if not role.aside)


def as_json(results: Results) -> dict[str, Any]:
    """The content of results.json."""
    numbers = asdict(results)
    if not results.tuning:
        del numbers["tuning"]
    return {
        "schema": SCHEMA,
        "bootstrap": {
            "resamples": RESAMPLES,
            "seed": SEED,
            "level": LEVEL,
            "interval": "percentile, clustered; t with C - 1 degrees of freedom below "
            f"{stats.FEW_CLUSTERS} clusters, and over seeds and clusters from {stats.RANDOM_SEEDS} seeds on",
        },
        "test": {
            "p_value": "two-sided sign flips of clusters, of the net win rate; from three seeds on the larger one of "
            "that and of a t test over seeds and clusters",
            "draws": RESAMPLES,
            "seed": SEED,
            "correction": "Holm, within each family",
            "alpha": ALPHA,
            "primary": "what the recipe's objective names or what stands in, of the judged protocol; where nothing is "
            "judged, what took_hold names; a family of its own",
            "difference_p": "two-sided sign flips of clusters, of the mean difference (from three seeds on the larger "
            "one of that and of a t test over seeds and clusters); uncorrected",
            "wilcoxon_p": "two-sided signed ranks, zeros left out, normal approximation; rows as if independent, "
            "uncorrected",
        },
        "margins": {
            "net_win_rate": MARGIN,
            "share_of_scale": SCALE_SHARE,
            "test": "two one-sided tests, by the same distributions as the intervals; the 90 % interval has to lie "
            "within",
            "chosen": "by stratalign",
        },
        "matched_kl": {"assumption": ASSUMPTION},
        **numbers,
        "judged": results.judged and results.judged._asdict(),
        "measures": [measure._asdict() for measure in results.measures],
    }


def public_name(value: object) -> str:
    """A model or source as text; of a path on someone's disk only the last part."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {public_name(part)}" for key, part in value.items() if part is not None)
    text = "" if value is None else str(value)
    if re.match(r"([/~\\]|\.\.?[/\\]|[A-Za-z]:[/\\])", text):
        return re.split(r"[/\\]", text.rstrip("/\\"))[-1]
    return text


def _measures(records: StudyRecords) -> list[Measure]:
    """What judges.json lists, in its order, then whatever else the scores have, by name."""
    listed = [
        Measure(
            *key,
            str(one.get("name", "")),
            str(one.get("unit") or ""),
            one.get("better") if one.get("better") in ("higher", "lower") else None,
            str(one.get("about") or ""),
            str(one["category"]) if one.get("category") else None,
            _scale(judge.get("scale")),
        )
        for key, judge in _judges(records)
        for one in judge.get("dimensions") or ()
    ]
    known = {(measure.judge, measure.protocol, measure.dimension) for measure in listed}
    seen = {(score.judge, score.protocol, score.dimension) for score in records.scores}
    return listed + [Measure(*key, unit="", better=None, about="") for key in sorted(seen - known)]


def _judges(records: StudyRecords) -> list[tuple[tuple[str, str], Mapping[str, Any]]]:
    return [((str(one.get("judge", "")), str(one.get("protocol", ""))), one) for one in records.judges]


def _measuring(records: StudyRecords) -> set[tuple[str, str]]:
    """What measures text and judges nothing (judge, protocol)."""
    return {key for key, judge in _judges(records) if judge.get("kind") == "measures"}


def _tested(held: TookHold | None, tasks: set[tuple[str, str]]) -> tuple[str, str]:
    """What is primary, and what null controls are tested on, in words."""
    if held is None:
        return MEANT, DIRECTED
    return held.what, f"{held.what}{' and on tasks' if tasks else ''}"


def _tasks(records: StudyRecords, judged: Judged | None) -> set[tuple[str, str]]:
    """Tasks that everyone scores alike (judge, protocol), unless they decide."""
    return {key for key, judge in _judges(records) if judge.get("kind") == "tasks" and key != judged}


def _scale(value: object) -> tuple[float, float] | None:
    """The lowest and the highest score, or None where the judge has no scale."""
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != 2:
        return None
    low, high = float(value[0]), float(value[1])
    return (low, high) if low < high else None


def _full(runs: Sequence[RunResult], trained: Sequence[str], study: Study) -> str | None:
    """The first trained condition that trains every layer."""
    count = study.model.get("layers")
    return next(
        (run.condition for run in runs if run.condition in trained and len(run.layers) == count), None
    )


def _claimed(
    table: ScoreTable,
    meant: Sequence[Measure],
    trained: Sequence[str],
    full: str | None,
    compared: Sequence[Contrast],
    pairs: Sequence[Contrast],
) -> tuple[Equivalence, ...]:
    listed = [(measure, claims(measure, trained, full, compared)) for measure in meant]
    return equivalences(table, listed, pairs)


def _claims_as_families(claimed: Sequence[Equivalence], taxed: Sequence[TaxTest]) -> list[Family]:
    sizes = (
        (
            "matches",
            sum(one.p is not None for one in claimed),
            "claims that a condition matches another, head to head",
        ),
        (
            "no loss",
            sum(one.p is not None for one in taxed),
            "claims that nothing larger than the margin is lost",
        ),
    )
    return [Family(*one) for one in sizes if one[1]]


def _study(records: StudyRecords) -> Study:
    model = records.manifest.get("model") or {}
    preferences = records.recipe.get("preferences") or {}
    rows, parts = records.preferences.get("rows") or {}, records.preferences.get("parts") or {}
    counts = {name: int(count) for name, count in rows.items()}
    counts |= {name: int(part["rows"]) for name, part in parts.items()}
    return Study(
        model={
            "name": public_name(model.get("name") or records.recipe.get("model")),
            **{name: model.get(name) for name in ("model_type", "layers", "parameters")},
        },
        source=public_name(preferences.get("source")),
        objective=tuple(str(name) for name in preferences.get("objective") or ()),
        partition={
            str(name): sorted(layers) for name, layers in (records.manifest.get("partition") or {}).items()
        },
        counts=counts,
    )


def _why_none(records: StudyRecords, order: Sequence[str]) -> str:
    if not records.scores:
        return "No answers have been judged yet."
    if BASE not in order:
        return "The study has no condition named base, and every comparison is against it."
    if not any(score.run.partition("@")[0] == BASE for score in records.scores):
        return "The answers of base have not been judged yet."
    return "No condition other than base has been judged yet."


def _why_not_judged(compared: Sequence[Contrast], judged: Judged | None) -> str | None:
    """Why nothing is concluded although something was compared: the protocol that decides has no scores."""
    if judged is None or any(one.key[:2] == judged for one in compared):
        return None
    return f"No answers have been judged by {judged.protocol} yet."

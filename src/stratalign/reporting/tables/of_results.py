"""Results -> CSV tables. Pure; knows nothing of files or pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import TYPE_CHECKING

from stratalign.reporting.comparisons.agreement import Agreed
from stratalign.reporting.comparisons.categories import Correlations
from stratalign.reporting.comparisons.contrasts import Contrast
from stratalign.reporting.comparisons.equal_length import EqualLength
from stratalign.reporting.comparisons.equivalences import Equivalence, TaxTest
from stratalign.reporting.comparisons.families import Family
from stratalign.reporting.comparisons.levels import SeedEffects
from stratalign.reporting.comparisons.matched import Matched
from stratalign.reporting.comparisons.spreads import DimensionSpread
from stratalign.reporting.findings.contests import Contestant
from stratalign.reporting.findings.profile import Profile, profile_rows
from stratalign.reporting.findings.runs import MeanScore
from stratalign.reporting.findings.states import States
from stratalign.reporting.results import Results
from stratalign.reporting.tables.costs import CostRow
from stratalign.reporting.tables.sheets import csv_text
from stratalign.reporting.tables.tradeoff import Tradeoff

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def csv_tables(results: Results) -> dict[str, str]:
    """File name -> content; selectors.csv and profile.csv where the recipe has such sections."""
    more = {} if results.profile is None else {"profile.csv": _profile(results.profile)}
    contestants = [row for contest in results.selectors for row in contest.rows]
    if contestants:
        more["selectors.csv"] = _table(Contestant, contestants)
    return {
        **more,
        "means.csv": _means(results),
        "comparisons.csv": _table(Contrast, results.comparisons),
        "pairs.csv": _table(Contrast, results.pairs),
        "families.csv": _table(Family, results.families),
        "equivalences.csv": _table(Equivalence, results.equivalences),
        "tax.csv": _table(TaxTest, results.tax_tests),
        "matched_kl.csv": _table(Matched, results.matched),
        "equal_length.csv": _table(EqualLength, results.equal_length),
        "seeds.csv": _table(SeedEffects, results.seeds.effects),
        "categories.csv": _table(
            Contrast, [*results.categories.comparisons, *results.categories.all_but_overall]
        ),
        "correlations.csv": _correlations(results.categories.correlations),
        "agreement.csv": _table(Agreed, results.agreement),
        "spread.csv": _table(DimensionSpread, results.spread),
        "runs.csv": _runs(results),
    }


def _means(results: Results) -> str:
    names = [field.name for field in fields(MeanScore)]
    return csv_text(
        ["run", "condition", "seed", *names],
        (
            [run.run, run.condition, run.seed, *asdict(mean).values()]
            for run in results.runs
            for mean in run.means
        ),
    )


def _table(kind: type[DataclassInstance], rows: Sequence[DataclassInstance]) -> str:
    """One line for each record; what a record has several of stands in one cell, with spaces between."""
    return csv_text(
        [field.name for field in fields(kind)],
        (
            [" ".join(map(str, cell)) if isinstance(cell, tuple) else cell for cell in asdict(one).values()]
            for one in rows
        ),
    )


def _profile(found: Profile) -> str:
    header, *rows = profile_rows(found)
    return csv_text(list(map(str, header)), rows)


def _correlations(found: Correlations | None) -> str:
    if found is None:
        return csv_text(["dimension"], [])
    rows = ([name, *row] for name, row in zip(found.dimensions, found.matrix, strict=True))
    return csv_text(["dimension", *found.dimensions], rows)


def _runs(results: Results) -> str:
    names = ["run", "condition", "seed", "labels", "rank", "alpha", "parameters", "steps"]
    names += ["final_loss", "final_margin", "final_accuracy", "same_as_base", "proven", "proof"]
    estimates = ["held_out_accuracy", "kl_to_base"]
    header = [*names, "layers", "targets"]
    header += [f"{name}{part}" for name in estimates for part in ("", "_standard_error", "_n")]
    rows: list[list[object]] = []
    for run in results.runs:
        row = [getattr(run, name) for name in names]
        row += [" ".join(map(str, run.layers)), " ".join(run.targets)]
        for name in estimates:
            estimate = getattr(run, name)
            row += [None] * 3 if estimate is None else [estimate.mean, estimate.standard_error, estimate.n]
        rows.append(row)
    return csv_text(header, rows)


def state_table(found: States | None) -> str:
    """states.csv: each run's answers by state."""
    names = [name for name, _ in found.names] if found else []
    rows = [[row.run, row.answers, row.valid, *row.others] for row in found.rows] if found else []
    return csv_text(["run", "answers", "valid", *names], rows)


def tradeoff_table(points: Sequence[Tradeoff]) -> str:
    """tradeoff.csv: gain on the objective and the worst other dimension, above 0 being better on both."""
    header = ["condition", "dimension", "gain", "gain_low", "gain_high"]
    header += ["worst_dimension", "worst", "worst_low", "worst_high"]
    return csv_text(
        header, ([one.condition, one.dimension, *one.gain, one.worst_dimension, *one.worst] for one in points)
    )


def time_table(costs: Sequence[CostRow]) -> str:
    """times.csv: seconds of each run, and its adapter's bytes."""
    header = ["run", "own_seconds", "shared_seconds", "alone_estimated_seconds", "adapter_bytes"]
    return csv_text(header, ([one.run.run, one.own, one.shared, one.alone, one.adapter] for one in costs))

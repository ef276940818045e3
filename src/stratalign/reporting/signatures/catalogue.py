"""The catalogue of signatures, and the search for all of them. To add one, write its function and a line here."""

from __future__ import annotations

from collections.abc import Callable

from stratalign.reporting.inputs import StudyRecords
from stratalign.reporting.results import Results
from stratalign.reporting.signatures import of_answers, of_base, of_scores, of_training
from stratalign.reporting.signatures.advice import Finding, reconciled
from stratalign.reporting.signatures.case import Case, Signature

CATALOGUE: dict[str, Callable[[Case], Finding | None]] = {
    "base differs from base": of_scores.base_differs,
    "shuffled labels win": of_scores.shuffled_labels_score,
    "base empty": of_base.base_empty,
    "base rambles": of_base.base_rambles,
    "nothing moved": of_answers.nothing_moved,
    "loss did not fall": of_training.loss_did_not_fall,
    "memorised pairs": of_training.memorised,
    "likelihood displacement": of_training.likelihood_displacement,
    "reward up, answers not": of_training.reward_without_answers,
    "alignment tax": of_scores.alignment_tax,
    "late layers insufficient": of_scores.late_layers_insufficient,
    "block misses the target": of_scores.block_misses,
    "below the anchor": of_scores.below_anchor,
    "truncated answers": of_answers.truncated,
    "empty answers": of_answers.empty_answers,
    "length explosion": of_answers.longer_answers,
    "answers shrank": of_answers.shorter_answers,
    "repetition": of_answers.repetitive,
    "KL explosion": of_answers.far_from_base,
    "ceiling": of_scores.ceiling,
    "missing scores": of_scores.missing_scores,
    "another model judged": of_scores.another_model_judged,
}
"""In the order in which to read them: what takes every other answer away comes first."""


def find_signatures(records: StudyRecords, results: Results) -> tuple[Signature, ...]:
    """Every signature that one study shows."""
    case = Case(records, results)
    found = [one for seen in CATALOGUE.values() if (one := seen(case)) is not None]
    return reconciled(found, case)

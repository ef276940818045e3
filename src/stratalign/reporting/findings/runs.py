"""What is known of each run: what it trained, how its loss ended, and its mean scores. Pure.

Knows nothing of other runs: comparing them is `comparisons`.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from stratalign import stats
from stratalign.records import Score, Standing
from stratalign.reporting.comparisons.comparing import valid
from stratalign.reporting.comparisons.contrasts import BASE, Measure
from stratalign.reporting.inputs import StudyRecords


@dataclass(frozen=True)
class MeanScore:
    """A run's mean on one measure, in the measure's unit, with its cluster-robust standard error."""

    judge: str
    protocol: str
    dimension: str
    unit: str
    better: str | None
    mean: float | None
    standard_error: float | None
    n: int
    clusters: int
    missing: int

    @property
    def key(self) -> tuple[str, str, str]:
        return self.judge, self.protocol, self.dimension


@dataclass(frozen=True)
class Estimate:
    """A mean over `n` rows with its cluster-robust standard error (None below two clusters)."""

    mean: float | None
    standard_error: float | None
    n: int


@dataclass(frozen=True)
class RunResult:
    """One run; what is None is not known yet, or there was nothing to train.

    `final_*` are means over the last tenth of the recorded steps. `held_out_accuracy` is the share of held-out
    pairs on which log pi - log pi_base is greater for the chosen answer. Demonstrations have no margin and neither
    accuracy. `kl_to_base` is KL(run || base) along the run's own answers, in nats per answer; `same_as_base` the share
    of the answers that equal base's to the same prompt, letter by letter. `proof` is where the proof stands today: made
    and holding, failed, unable to tell, or made of an adapter that has changed since.
    """

    run: str
    condition: str
    seed: int
    labels: str
    layers: tuple[int, ...]
    targets: tuple[str, ...]
    rank: int | None
    alpha: float | None
    parameters: int | None
    steps: int
    final_loss: float | None
    final_margin: float | None
    final_accuracy: float | None
    held_out_accuracy: Estimate | None
    kl_to_base: Estimate | None
    same_as_base: float | None
    proven: bool | None
    proof: Standing | None
    means: tuple[MeanScore, ...]

    @property
    def unsound(self) -> bool:
        """Whether what is recorded of the run need not be of the adapter that lies in its folder."""
        return self.proof in ("failed", "changed")

    def mean_of(self, measure: Measure) -> MeanScore | None:
        return next((mean for mean in self.means if mean.key == measure.key), None)


def ordered_runs(records: StudyRecords) -> list[tuple[str, str, int]]:
    """(run, condition, seed) of every run that any record names: in the recipe's order, then base, then by name.

    A condition that a list of values made (`tuned-5e-06`) stands where the recipe has the name it begins with.
    """
    listed = [str(name) for name in records.recipe.get("conditions") or ()]
    needed = [one.name for one in records.added if one.kind == "needed" and one.name not in listed]
    listed = [*needed, *listed, *(one.name for one in records.added if one.kind != "needed")]
    known = {
        run: (str(entry.get("condition", run)), int(entry.get("seed") or 0))
        for run, entry in _entries(records).items()
    }
    for row in (*records.training, *records.responses):
        known.setdefault(row["run"], _from_id(row["run"]))
    for score in records.scores:
        known.setdefault(score.run, (_from_id(score.run)[0], score.seed))

    def place(item: tuple[str, str, int]) -> tuple[int, bool, str, int, str]:
        run, condition, seed = item
        begins = [name for name in listed if condition == name or condition.startswith(name)]
        at = listed.index(max(begins, key=len)) if begins else len(listed)
        return at, condition != BASE, condition, seed, run

    return sorted(((run, *entry) for run, entry in known.items()), key=place)


def run_result(
    records: StudyRecords, run: str, condition: str, seed: int, means: tuple[MeanScore, ...]
) -> RunResult:
    entry = _entries(records).get(run, {})
    steps = sorted((row for row in records.training if row["run"] == run), key=lambda row: int(row["step"]))
    tail = steps[-math.ceil(len(steps) / 10) :] if steps else []
    proof = records.standing(run)

    def final(name: str) -> float | None:
        values = [row[name] for row in tail if row[name] is not None]
        return math.fsum(values) / len(values) if values else None

    return RunResult(
        run=run,
        condition=condition,
        seed=seed,
        labels=str(entry.get("labels") or ""),
        layers=tuple(sorted(entry.get("layers") or ())),
        targets=tuple(entry.get("targets") or ()),
        rank=entry.get("rank"),
        alpha=entry.get("alpha"),
        parameters=entry.get("parameters"),
        steps=len(steps),
        final_loss=final("loss"),
        final_margin=final("margin"),
        final_accuracy=final("accuracy"),
        held_out_accuracy=_held_out_accuracy(run, records) if steps else None,
        kl_to_base=_kl_to_base(run, records) if steps else None,
        same_as_base=_same_as_base(run, seed, records) if steps else None,
        proven=None if proof is None else proof == "proven",
        proof=proof,
        means=means,
    )


def mean_scores(scores: Sequence[Score], measures: Sequence[Measure]) -> tuple[MeanScore, ...]:
    rows: dict[tuple[str, str, str], list[Score]] = defaultdict(list)
    for score in sorted(scores, key=lambda score: (score.prompt_id, score.seed, score.repeat)):
        rows[score.judge, score.protocol, score.dimension].append(score)
    found = []
    for measure in measures:
        mine = rows.get(measure.key)
        if mine:
            mean = stats.clustered_mean([valid(score) for score in mine], [score.cluster for score in mine])
            found.append(MeanScore(*measure[:5], **asdict(mean)))
    return tuple(found)


def _entries(records: StudyRecords) -> dict[str, Mapping[str, Any]]:
    runs = records.manifest.get("runs") or {}
    return {str(run): entry for run, entry in runs.items() if isinstance(entry, Mapping)}


def _from_id(run: str) -> tuple[str, int]:
    condition, _, seed = run.partition("@")
    return condition, int(seed) if seed.isdigit() else 0


def _held_out_accuracy(run: str, records: StudyRecords) -> Estimate | None:
    """From the sign of the implicit reward's margin, so that it does not depend on beta."""
    return _estimate(
        (row, float(row["chosen"] - row["base_chosen"] > row["rejected"] - row["base_rejected"]))
        for row in records.logprobs
        if row["run"] == run and row["rejected"] is not None
    )


def _kl_to_base(run: str, records: StudyRecords) -> Estimate | None:
    return _estimate(
        (row, float(row["kl_to_base"]))
        for row in records.responses
        if row["run"] == run and row.get("kl_to_base") is not None
    )


def _same_as_base(run: str, seed: int, records: StudyRecords) -> float | None:
    """Against the base of the same seed, or its only one."""
    answers: dict[str, dict[str, str]] = defaultdict(dict)
    for row in records.responses:
        answers[row["run"]][str(row["prompt_id"])] = str(row["response"])
    bases = [name for name in answers if _from_id(name)[0] == BASE]
    base = answers[f"{BASE}@{seed}" if f"{BASE}@{seed}" in bases else bases[0]] if bases else {}
    both = [prompt for prompt in answers[run] if prompt in base]
    return sum(answers[run][one] == base[one] for one in both) / len(both) if both else None


def _estimate(values: Iterable[tuple[Mapping[str, Any], float]]) -> Estimate | None:
    """Mean of one value per row; summed by prompt, so that the order of the lines changes no bit."""
    ordered = sorted(values, key=lambda pair: str(pair[0]["prompt_id"]))
    if not ordered:
        return None
    mean = stats.clustered_mean([value for _, value in ordered], [row["cluster"] for row, _ in ordered])
    return Estimate(mean.mean, mean.standard_error, mean.n)

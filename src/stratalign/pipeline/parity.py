"""verify: a few steps with stock TRL + PEFT and with ours, on the user's own model and data, and the differences.

Both run in float32, whatever training.precision says, at a learning rate at which the loss moves, because at 1e-5 a
wrong rate passes unseen; where it does not move, verify says that it cannot tell. On deep models rounding alone can
exceed the fixed tolerances, since AdamW's first steps are about as large where a gradient is rounding as elsewhere. So
where one is exceeded, ours is trained again in float64, and what that changes decides what rounding explains. What TRL
is given, and what it does itself, stands in stock_trl.py.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from stratalign.blocks import Phase
from stratalign.engine import JointEngine, collate
from stratalign.errors import UserError, shortened
from stratalign.models import AdapterBank, load_model
from stratalign.pipeline.planned import Plan
from stratalign.pipeline.stock_trl import Outcome, train_with_trl, unlike_trl, updates
from stratalign.pipeline.verbs import Source, plan
from stratalign.preferences import Preference, Tree
from stratalign.records import Progress, read_jsonl, silent
from stratalign.training import MicroBatch, Run, train

LOSS_TOLERANCE = 1e-5
LOG_RATIO_TOLERANCE = 1e-4
UPDATE_TOLERANCE = 1e-3
LOSS_MUST_MOVE = 5e-3

ROUNDING_FACTOR = 3
"""Tolerance over what rounding changes in ours. The two float32 trainings are at most as far apart as both are from
float64 together; TRL's distance is not measured, and may be twice ours."""

LARGEST_UPDATE_TOLERANCE = 0.05
"""However large rounding is: a learning rate that is wrong by a tenth must not pass."""

ParityOutcome = Literal["differs", "rounding too large to tell", "moved too little to tell", "agrees"]
OUTCOMES: tuple[ParityOutcome, ...] = get_args(ParityOutcome)
"""The worst first."""


@dataclass(frozen=True)
class Differences:
    """Between two trainings of one condition, or the largest that are tolerated.

    Losses are compared step by step. Log-ratios, in nats summed over a response, are those of every pair after
    the last step. Updates are compared by the norm of the difference of B A alpha / rank over the norm of the other
    side's.
    """

    max_loss_difference: float
    max_log_ratio_difference: float
    relative_update_difference: float

    def beyond(self, tolerances: Differences) -> tuple[str, ...]:
        """Names of the measures that are not within the tolerances."""
        allowed = asdict(tolerances)
        return tuple(name for name in allowed if not getattr(self, name) <= allowed[name])


@dataclass(frozen=True)
class Agreement(Differences):
    """How one condition's training differs between TRL and us.

    `loss_moved` is the largest distance of TRL's loss from that of its first step, which for DPO is log 2, and
    `update_norm` the norm of TRL's update: without movement agreement would say nothing. `loss_scale` is the largest
    of TRL's losses or 1, whichever is more: IPO's begin at 25, where float32 is no finer than 2e-6. `noise` is how ours
    in float32 differs from ours in float64; None where it was not needed.
    """

    loss_moved: float
    update_norm: float
    loss_scale: float
    same_modules: bool
    same_tokens: bool
    noise: Differences | None = None

    @property
    def tolerances(self) -> Differences:
        """What agreement requires: within what rounding explains, and `LARGEST_UPDATE_TOLERANCE` of the update."""
        explained = self._explained()
        update = min(explained.relative_update_difference, LARGEST_UPDATE_TOLERANCE)
        return replace(explained, relative_update_difference=update)

    @property
    def outcome(self) -> ParityOutcome:
        if not (self.same_modules and self.same_tokens) or self.beyond(self._explained()):
            return "differs"
        if self.beyond(self.tolerances):
            return "rounding too large to tell"
        moved = self.loss_moved >= LOSS_MUST_MOVE and self.update_norm > 0
        return "agrees" if moved else "moved too little to tell"

    @property
    def needs_noise(self) -> bool:
        """Whether the same tokens through the same modules gave more than the fixed tolerances."""
        return self.same_modules and self.same_tokens and bool(self.beyond(self._explained()))

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {
            "tolerances": asdict(self.tolerances),
            "beyond": list(self.beyond(self.tolerances)),
            "outcome": self.outcome,
        }

    def _explained(self) -> Differences:
        """The fixed tolerances, or `ROUNDING_FACTOR` times the noise where that is more."""
        fixed = Differences(LOSS_TOLERANCE * self.loss_scale, LOG_RATIO_TOLERANCE, UPDATE_TOLERANCE)
        if self.noise is None:
            return fixed
        pairs = zip(astuple(fixed), astuple(self.noise), strict=True)
        return Differences(*(max(least, ROUNDING_FACTOR * noise) for least, noise in pairs))


@dataclass(frozen=True)
class Parity:
    """The result of `verify`, on one condition or more; `skipped` says which stock TRL cannot express, and why."""

    steps: int
    learning_rate: float
    conditions: Mapping[str, Agreement]
    skipped: Mapping[str, str]

    @property
    def outcome(self) -> ParityOutcome:
        """The worst of the conditions'."""
        found = {agreement.outcome for agreement in self.conditions.values()}
        return next(one for one in OUTCOMES if one in found)

    def to_json(self) -> dict[str, Any]:
        return {
            "steps": self.steps,
            "learning_rate": self.learning_rate,
            "conditions": {name: agreement.to_json() for name, agreement in self.conditions.items()},
            "skipped": dict(self.skipped),
            "outcome": self.outcome,
        }


MOST_STEPS = 10_000


def verify(
    recipe: Source,
    changes: Sequence[str] = (),
    *,
    steps: int = 12,
    learning_rate: float = 1e-3,
    progress: Progress = silent,
) -> Parity:
    """Train `steps` optimizer steps of every condition with TRL and jointly with ours, and compare.

    TRL trains one condition after another, so the time grows with steps times conditions. Where a fixed tolerance is
    exceeded, ours trains those conditions once more in float64, where the base takes 8 bytes a parameter.

    Raises:
        UserError: TRL is not installed, or the recipe has a problem.
    """
    try:
        import trl
    except ImportError:
        raise UserError("verify needs TRL as the other side: pip install 'stratalign[verify]'.") from None
    del trl
    if not 0 < learning_rate <= 1:
        raise UserError(f"--learning-rate must be above 0 and at most 1, got {learning_rate:g}.")
    if not 1 <= steps <= MOST_STEPS:
        raise UserError(f"--steps must be from 1 to {MOST_STEPS:,}, got {shortened(steps)}.")
    with tempfile.TemporaryDirectory() as scratch:
        planned = plan(recipe, changes, Path(scratch) / "study")
        if planned.recipe.model.quantization is not None:
            raise UserError(
                "verify compares with TRL on the base as it is stored, in float32. Take the quantization out: "
                "--set model.quantization=null."
            )
        if any(row.rejected is None for row in planned.parts.train):
            raise UserError(
                "verify compares with TRL's DPOTrainer, which needs chosen and rejected, but the preferences hold "
                "demonstrations. Give it pairs: training.loss: sft is then compared on their chosen responses."
            )
        runs, skipped = _comparable(planned, learning_rate)
        if not runs:
            raise UserError(f"No condition can be compared with TRL: {skipped or 'none of them trains'}.")
        conditions: dict[str, Agreement] = {}
        for order in dict.fromkeys(
            run.seed_of("order") for run in runs
        ):  # their pairs come in one order each
            together = [run for run in runs if run.seed_of("order") == order]
            rows, trees, windows = _material(planned, steps, order)
            ours = _train_ours(planned, together, trees, windows, Path(scratch), torch.float32)
            for run in together:
                progress("training with TRL", len(conditions), len(runs))
                theirs = train_with_trl(planned, run, rows, windows, trees, Path(scratch))
                conditions[run.id] = _compare(run, ours[run.id], theirs, trees)
            progress("training with TRL", len(conditions), len(runs))
            unsure = [run for run in together if conditions[run.id].needs_noise]
            if unsure:
                progress("training ours in float64", 0, 1)
                exact = _train_ours(planned, unsure, trees, windows, Path(scratch), torch.float64)
                for run in unsure:
                    noise = _differences(ours[run.id], exact[run.id])
                    conditions[run.id] = replace(conditions[run.id], noise=noise)
                progress("training ours in float64", 1, 1)
    return Parity(steps, learning_rate, {run.id: conditions[run.id] for run in runs}, skipped)


def _comparable(planned: Plan, learning_rate: float) -> tuple[list[Run], dict[str, str]]:
    """The runs that stock TRL can train too, at the rate of the comparison; and why the others cannot."""
    runs: list[Run] = []
    skipped: dict[str, str] = {}
    for run in planned.runs:
        condition = run.condition
        if not condition.trains:
            continue
        if len(condition.phases) > 1 or len(set(condition.phases[0].modules.values())) > 1:
            skipped[run.id] = "TRL has no phases and no learning rate per block"
            continue
        if run.settings.dropout:
            skipped[run.id] = "with dropout, equality is not promised"
            continue
        unlike = unlike_trl(run.settings)
        if unlike is not None:
            skipped[run.id] = unlike
            continue
        phase = Phase(dict.fromkeys(condition.modules, learning_rate))
        settings = run.settings.overridden({"learning_rate": learning_rate, "rank": condition.rank})
        settings = settings.overridden({"alpha": run.settings.alpha})
        runs.append(replace(run, condition=replace(condition, phases=(phase,)), settings=settings))
    skipped |= {
        spec.name: f"it is chosen by the record {spec.selection['by']} of a study's folder"
        for spec in planned.unresolved
    }
    return runs, skipped


def _material(
    planned: Plan, steps: int, order: int = 0
) -> tuple[list[Preference], list[Tree], list[list[MicroBatch]]]:
    """Training pairs in the order of runs whose `seed_of("order")` this is, repeated if there are too few, cut into
    full windows."""
    settings = planned.recipe.training
    drawn = [i for step in planned.steps_of(order) for micro in step for i in micro.pairs]
    count = steps * settings.gradient_accumulation * settings.batch_size
    picked = [drawn[i % len(drawn)] for i in range(count)]
    size, window = settings.batch_size, settings.gradient_accumulation
    windows = [
        [
            MicroBatch(tuple(range(first, first + size)), 1 / (size * window))
            for first in range(step * size * window, (step + 1) * size * window, size)
        ]
        for step in range(steps)
    ]
    return [planned.parts.train[i] for i in picked], [planned.train_trees[i] for i in picked], windows


def _train_ours(
    planned: Plan,
    runs: Sequence[Run],
    trees: Sequence[Tree],
    windows: list[list[MicroBatch]],
    scratch: Path,
    dtype: torch.dtype,
) -> dict[str, Outcome]:
    device = planned.execution.torch_device
    loaded = load_model(planned.recipe.model, dtype=dtype, device=device)
    bank = AdapterBank(loaded.model)
    for run in runs:
        bank.attach(run.adapter)
    engine = JointEngine(
        loaded.anatomy, bank, {run.id: run.first_layer(planned.shape.n_layers) for run in runs}
    )
    log = scratch / f"{dtype}.jsonl"
    train(engine, runs, trees, windows, log=log, checkpoint=scratch / "checkpoint", checkpoint_every=10**9)
    losses: dict[str, list[float]] = {run.id: [] for run in runs}
    for row in read_jsonl(log):
        losses[row["run"]].append(row["loss"])
    ratios: dict[str, list[Tensor]] = {run.id: [] for run in runs}
    with torch.no_grad():
        for micro in (micro for window in windows for micro in window):
            batch = collate([trees[i] for i in micro.pairs], device)
            passed = engine.base(batch)
            for run in runs:
                with engine.active(run.id):
                    ratios[run.id].append((engine.forward(batch, run.id, passed) - passed.reference).cpu())
    return {
        run.id: Outcome(
            losses[run.id],
            torch.cat(ratios[run.id]),
            updates({name: p.detach() for name, p in bank.parameters(run.id).items()}, run),
            [_sequences(tree) for tree in trees],
        )
        for run in runs
    }


def _sequences(tree: Tree) -> tuple[tuple[int, ...], ...]:
    return tuple((*tree.prefix, *branch.ids) for branch in tree.branches)


def _compare(run: Run, ours: Outcome, theirs: Outcome, trees: Sequence[Tree]) -> Agreement:
    tokens = [
        pair[::-1] if run.swaps(tree.row_id) else pair for pair, tree in zip(ours.tokens, trees, strict=True)
    ]
    return Agreement(
        **asdict(_differences(ours, theirs)),
        loss_moved=max(abs(loss - theirs.losses[0]) for loss in theirs.losses),
        update_norm=math.sqrt(_square(theirs.updates.values())),
        loss_scale=max(1.0, *map(abs, theirs.losses)),
        same_modules=set(ours.updates) == set(theirs.updates),
        same_tokens=all(own == pair[: len(own)] for own, pair in zip(tokens, theirs.tokens, strict=True)),
    )


def _differences(ours: Outcome, other: Outcome) -> Differences:
    """Updates are compared on the modules that both have."""
    shared = [module for module in ours.updates if module in other.updates]
    difference = _square(ours.updates[module] - other.updates[module] for module in shared)
    return Differences(
        max_loss_difference=max(abs(a - b) for a, b in zip(ours.losses, other.losses, strict=True)),
        max_log_ratio_difference=float((ours.log_ratios - other.log_ratios).abs().max()),
        relative_update_difference=_relative(difference, _square(other.updates.values())),
    )


def _square(tensors: Iterable[Tensor]) -> float:
    return sum(float(tensor.square().sum()) for tensor in tensors)


def _relative(difference: float, norm: float) -> float:
    """Square root of their ratio; two updates that are both zero do not differ."""
    if norm == 0:
        return math.inf if difference else 0.0
    return math.sqrt(difference / norm)

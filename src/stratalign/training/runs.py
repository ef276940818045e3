"""One run in training: its tensors, its phases, its own AdamW and its own clipping.

Runs share nothing that trains, so what one does cannot reach another. Tensors are fixed by name when the run is
made; no list is ever built from `requires_grad` flags.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stratalign.blocks import Condition
from stratalign.errors import StudyFailure, UserError
from stratalign.models import AdapterSpec
from stratalign.records import SEEDS_VARY, keyed_seed
from stratalign.training.schedules import rate_factor
from stratalign.training.settings import TrainingSettings

MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class Run:
    """A condition under one seed. `id` is the condition's name, or `condition@seed` where there are several; `varies`
    is what the seed draws, by the names of `VARIES`."""

    id: str
    condition: Condition
    seed: int
    settings: TrainingSettings
    varies: tuple[str, ...] = SEEDS_VARY

    def seed_of(self, what: str) -> int:
        """The seed that draws `what`: the run's own, or 0 where all seeds share it."""
        return self.seed if what in self.varies else 0

    @property
    def adapter(self) -> AdapterSpec:
        """What is attached for this run."""
        settings = self.settings
        return AdapterSpec(
            self.id,
            self.condition.modules,
            self.condition.rank,
            settings.alpha,
            settings.dropout,
            self.seed_of("init"),
        )

    def first_layer(self, n_layers: int) -> int:
        """The lowest layer with an adapter; the number of layers when nothing trains."""
        return min(self.condition.layers, default=n_layers)

    def swaps(self, row_id: str) -> bool:
        """Whether shuffled labels exchange this row's chosen and rejected: a coin keyed by (seed, row)."""
        return self.condition.labels == "shuffled" and bool(
            keyed_seed("labels", self.seed_of("init"), row_id) & 1
        )


def phase_bounds(condition: Condition, total: int) -> list[int]:
    """The first step of each phase, and `total` at the end.

    Raises:
        UserError: the phases do not fit, or one has fewer than the two steps that a proof of training needs
            (A gets its first gradient in the second step, because B starts at zero).
    """
    bounds = [0]
    for phase in condition.phases:
        bounds.append(total if phase.steps is None else bounds[-1] + phase.steps)
    lengths = [after - before for before, after in itertools.pairwise(bounds)]
    if len(lengths) == 1 and total < 2:
        raise UserError(
            f"The training of condition {condition.name!r} has {total} step, and proving what trains takes 2. Use more "
            "training pairs or epochs, or a smaller batch_size or gradient_accumulation."
        )
    if lengths and (bounds[-1] != total or min(lengths) < 2):
        raise UserError(
            f"The phases of condition {condition.name!r} take {', '.join(map(str, lengths))} steps of {total} in all. "
            "They must add up, and each needs at least 2 steps. Change the phases, epochs, batch_size, "
            "gradient_accumulation or the number of training pairs."
        )
    return bounds


class RunTrainer:
    """Optimizer steps of one run.

    Args:
        run: what to train.
        parameters: the run's tensors by name ("<module>.lora_A.weight").
        total: number of optimizer steps of the study.
    """

    def __init__(self, run: Run, parameters: Mapping[str, nn.Parameter], total: int) -> None:
        self.run = run
        self.parameters = dict(parameters)
        self.total = total
        self.bounds = phase_bounds(run.condition, total)
        self.trainable: frozenset[str] = frozenset()
        self.optimizer: torch.optim.AdamW | None = None
        self.phase = -1

    def begin(self, step: int) -> None:
        """Enter the phase that `step` belongs to (a new phase starts a new AdamW) and set its learning rates."""
        phase = max(i for i, first in enumerate(self.bounds[:-1]) if step >= first)
        if phase != self.phase:
            self._enter(phase)
        assert self.optimizer is not None
        settings = self.run.settings
        factor = rate_factor(step, self.total, settings.schedule, settings.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * factor

    @property
    def learning_rate(self) -> float:
        """The highest rate of the current step."""
        assert self.optimizer is not None
        return float(max(group["lr"] for group in self.optimizer.param_groups))

    def clip(self, step: int) -> float:
        """Clip the run's own gradient norm; the norm before clipping.

        Raises:
            StudyFailure: the norm is not finite; nothing of this step has been applied to any run.
        """
        tensors = [p for p in self.parameters.values() if p.grad is not None]
        largest = self.run.settings.clip
        norm = float(torch.nn.utils.clip_grad_norm_(tensors, float("inf") if largest is None else largest))
        if not norm < float("inf"):
            raise StudyFailure(
                f"Run {self.run.id!r}: the gradient norm of step {step} is {norm}. Nothing of this step was applied. "
                "Lower learning_rate, or train in float32."
            )
        return norm

    def step(self) -> None:
        """Apply the gradients and forget them."""
        assert self.optimizer is not None
        self.optimizer.step()
        self.forget()

    def forget(self) -> None:
        """Forget the gradients."""
        assert self.optimizer is not None
        self.optimizer.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Tensor]:
        """Everything that a checkpoint keeps of this run: tensors, and AdamW's moments and step counts."""
        kept = {f"{name}|value": p.detach() for name, p in self.parameters.items()}
        for name, p in self.parameters.items():
            moments = self.optimizer.state.get(p, {}) if self.optimizer is not None else {}
            kept |= {f"{name}|{key}": value for key, value in moments.items()}
        return {name: value.cpu().contiguous().clone() for name, value in kept.items()}

    def restore(self, state: Mapping[str, Tensor], step: int) -> None:
        """Continue before `step` from what `state` returned."""
        with torch.no_grad():
            for name, p in self.parameters.items():
                p.copy_(state[f"{name}|value"])
        if step >= self.total:
            return
        last_done = max(step - 1, 0)
        self._enter(max(i for i, first in enumerate(self.bounds[:-1]) if last_done >= first))
        assert self.optimizer is not None
        for name, p in self.parameters.items():
            if f"{name}|step" in state:
                self.optimizer.state[p] = {"step": state[f"{name}|step"].clone()} | {
                    key: state[f"{name}|{key}"].to(p.device, copy=True) for key in MOMENTS
                }

    def _enter(self, phase: int) -> None:
        self.phase = phase
        rates = self.run.condition.phases[phase].modules
        self.trainable = frozenset(rates)
        settings = self.run.settings
        by_rate: dict[float, list[nn.Parameter]] = {}
        for name, p in self.parameters.items():
            module = name.split(".lora_", 1)[0]
            if module in rates:
                by_rate.setdefault(rates[module], []).append(p)
        self.optimizer = torch.optim.AdamW(
            [{"params": tensors, "peak": rate, "lr": rate} for rate, tensors in by_rate.items()],
            betas=settings.betas,
            eps=1e-8,
            weight_decay=settings.weight_decay,
        )

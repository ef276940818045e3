"""The training loop: every step forward and backward for each run, then each run's own optimizer step.

One base pass per micro-batch serves all runs. What the loop promises is watched while it runs: only a run's own
tensors get its gradients, only they change in its step, and no step is applied on a number that is not finite.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from stratalign.engine import Batch, JointEngine, collate
from stratalign.errors import StudyFailure
from stratalign.losses import preference_loss, swap_labels
from stratalign.preferences import Tree
from stratalign.records import Progress, StepRecord, append_jsonl, keep_jsonl, keyed_seed, silent
from stratalign.training.checkpoints import Checkpoint, CheckpointClock, read_checkpoint, write_checkpoint
from stratalign.training.runs import Run, RunTrainer
from stratalign.training.schedules import MicroBatch
from stratalign.training.witness import Witness

DISK_BYTES_PER_SECOND = 200e6
"""Only the first guess at what a checkpoint costs; from then on the cost is measured."""


@dataclass(frozen=True)
class Trained:
    """What the loop leaves beside the tensors: the witness, and seconds by run, by "shared" and "checkpoints"."""

    witness: Witness
    seconds: Mapping[str, float]


@dataclass
class _Sums:
    """A run's weighted sums over the micro-batches of one step."""

    loss: float = 0.0
    chosen: float = 0.0
    rejected: float = 0.0
    accuracy: float = 0.0


@dataclass
class _Clock:
    """Seconds of processing by name; waits for the device, so that work is charged to who caused it."""

    device: torch.device
    seconds: dict[str, float] = field(default_factory=dict)
    _since: float = field(default_factory=time.perf_counter)

    def start(self) -> None:
        self._since = self._now()

    def charge(self, name: str) -> None:
        now = self._now()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._since
        self._since = now

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


def train(
    engine: JointEngine,
    runs: Sequence[Run],
    trees: Sequence[Tree],
    steps: Sequence[Sequence[MicroBatch]],
    *,
    log: Path,
    checkpoint: Path,
    checkpoint_every: int | str = "auto",
    progress: Progress = silent,
) -> Trained:
    """Train all runs together, continuing from the checkpoint if one is there.

    Args:
        engine: with every run's adapter attached.
        runs: what trains; each resolves to at least one module.
        trees: pairs, chosen branch first; `steps` index into them.
        steps: from `plan_steps`.
        log: training.jsonl; lines that the checkpoint does not cover are removed before going on.
        checkpoint: the file to continue from and to write.

    Raises:
        StudyFailure: a loss or gradient is not finite, or a tensor moved that should not have.
    """
    device = next(engine.model.parameters()).device
    trainers = {run.id: RunTrainer(run, engine.bank.parameters(run.id), len(steps)) for run in runs}
    witness = Witness(
        engine.model.named_parameters(), {run.id: engine.bank.parameters(run.id) for run in runs}
    )
    clock = _Clock(device)
    first = _restore(checkpoint, trainers, witness, clock)
    keep_jsonl(log, lambda row: row["run"] not in trainers or row["step"] <= first)
    size = sum(3 * p.numel() * p.element_size() for t in trainers.values() for p in t.parameters.values())
    saves = CheckpointClock(
        "auto" if checkpoint_every == "auto" else int(checkpoint_every), size / DISK_BYTES_PER_SECOND
    )

    for step in range(first, len(steps)):
        for trainer in trainers.values():
            trainer.begin(step)
        sums, tokens = _gradients(engine, trainers, trees, steps[step], witness, clock, step, device)
        records = _apply(trainers, witness, clock, sums, tokens, step)
        append_jsonl(log, records)
        progress("training", step + 1, len(steps))
        clock.start()
        if step + 1 < len(steps) and saves.due(step + 1):
            _save(checkpoint, step + 1, trainers, witness, clock)
            saves.wrote(clock.seconds["last checkpoint"])
    return Trained(
        witness, {name: value for name, value in clock.seconds.items() if name != "last checkpoint"}
    )


def _gradients(
    engine: JointEngine,
    trainers: Mapping[str, RunTrainer],
    trees: Sequence[Tree],
    step: Sequence[MicroBatch],
    witness: Witness,
    clock: _Clock,
    number: int,
    device: torch.device,
) -> tuple[dict[str, _Sums], int]:
    """Accumulate every run's gradient over the step's micro-batches."""
    sums = {run: _Sums() for run in trainers}
    tokens = 0
    for part, micro in enumerate(step):
        clock.start()
        batch = collate([trees[i] for i in micro.pairs], device)
        passed = engine.base(batch)
        tokens += batch.tokens
        clock.charge("shared")
        for name, trainer in trainers.items():
            run, settings = trainer.run, trainer.run.settings
            with (
                engine.active(name, trainer.trainable),
                _dropout(engine, run, number, part),
                witness.backward(name),
            ):
                policy = engine.forward(batch, name, passed)
                swapped = torch.tensor([run.swaps(item) for item in batch.items], device=device)
                pair = preference_loss(
                    swap_labels(policy, swapped),
                    swap_labels(passed.reference, swapped),
                    settings.beta,
                    settings.loss,
                )
                _check_finite(pair.loss, batch, name, number + 1)
                torch.autograd.backward(pair.loss.sum() * micro.weight)
            _add(sums[name], pair.loss.detach(), pair.reward_chosen, pair.reward_rejected, micro.weight)
            clock.charge(name)
    return sums, tokens


def _apply(
    trainers: Mapping[str, RunTrainer],
    witness: Witness,
    clock: _Clock,
    sums: Mapping[str, _Sums],
    tokens: int,
    step: int,
) -> list[StepRecord]:
    """Clip and step every run; all norms are checked before the first run moves."""
    norms: dict[str, float] = {}
    for name, trainer in trainers.items():
        witness.look(name)
        norms[name] = trainer.clip(step + 1)
    records: list[StepRecord] = []
    for name, trainer in trainers.items():
        clock.start()
        with witness.step(name):
            trainer.step()
        clock.charge(name)
        total = sums[name]
        records.append(
            StepRecord(
                run=name,
                step=step + 1,
                loss=total.loss,
                reward_chosen=total.chosen,
                reward_rejected=total.rejected,
                margin=total.chosen - total.rejected,
                accuracy=total.accuracy,
                grad_norm=norms[name],
                learning_rate=trainer.learning_rate,
                tokens=tokens,
            )
        )
    return records


def _add(sums: _Sums, loss: Tensor, chosen: Tensor, rejected: Tensor, weight: float) -> None:
    sums.loss += weight * loss.sum().item()
    sums.chosen += weight * chosen.sum().item()
    sums.rejected += weight * rejected.sum().item()
    sums.accuracy += weight * (chosen > rejected).sum().item()


def _check_finite(loss: Tensor, batch: Batch, run: str, step: int) -> None:
    finite = loss.detach().isfinite()
    if bool(finite.all()):
        return
    bad = int((~finite).nonzero()[0])
    raise StudyFailure(
        f"Run {run!r}: the loss of pair {batch.items[bad]} in step {step} is {loss[bad].item()}. Nothing of this step "
        "was applied, and the last checkpoint stands. Look at that row, lower learning_rate, or train in float32."
    )


def _dropout(engine: JointEngine, run: Run, step: int, part: int) -> AbstractContextManager[None]:
    """LoRA dropout drawn from (seed, step, micro-batch), so that other runs in the pass make no difference."""
    return (
        engine.bank.dropout(run.id, keyed_seed("dropout", run.seed, step, part))
        if run.settings.dropout
        else nullcontext()
    )


def _save(path: Path, step: int, trainers: Mapping[str, RunTrainer], witness: Witness, clock: _Clock) -> None:
    """Write a checkpoint; what it costs is charged to "checkpoints"."""
    before = time.perf_counter()
    states = {name: trainer.state() for name, trainer in trainers.items()}
    seen = {name: sorted(witness.seen[name]) for name in trainers}
    write_checkpoint(path, Checkpoint(step, states, seen, clock.seconds))
    clock.seconds["last checkpoint"] = time.perf_counter() - before
    clock.charge("checkpoints")


def _restore(path: Path, trainers: Mapping[str, RunTrainer], witness: Witness, clock: _Clock) -> int:
    """Put the runs where the checkpoint left them; the step to go on with."""
    found = read_checkpoint(path)
    if found is None or not set(trainers) <= set(found.states):
        return 0
    for name, trainer in trainers.items():
        trainer.restore(found.states[name], found.step)
        witness.seen[name] = set(found.seen[name])
    clock.seconds = dict(found.seconds)
    return found.step

"""The training loop: every step forward and backward for each run, then each run's own optimizer step.

One base pass per micro-batch serves all runs. What the loop promises is watched while it runs: only a run's own
tensors get its gradients, only they change in its step, and no step is applied on a number that is not finite.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from stratalign.engine import BasePass, Batch, JointEngine, for_each_pack
from stratalign.errors import StudyFailure, UserError
from stratalign.losses import PairLoss, preference_loss, swap_labels
from stratalign.preferences import Tree
from stratalign.records import STEPS, Progress, StepRecord, append_jsonl, keep_jsonl, keyed_seed, silent
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
    tokens: int = 0
    paired: bool = True

    def add(self, pair: PairLoss, weights: Tensor, tokens: int) -> None:
        columns = [pair.loss.detach(), pair.reward_chosen]
        self.paired = pair.reward_rejected is not None
        if pair.reward_rejected is not None:
            columns += [pair.reward_rejected, pair.reward_chosen > pair.reward_rejected]
        # one transfer from the device for all of them
        totals = torch.stack([column.to(weights) for column in columns]) @ weights
        loss, chosen, *others = totals.tolist()
        rejected, accuracy = others or (0.0, 0.0)
        self.loss += loss
        self.chosen += chosen
        self.rejected += rejected
        self.accuracy += accuracy
        self.tokens += tokens

    def record(self, run: str, step: int, grad_norm: float, learning_rate: float) -> StepRecord:
        return StepRecord(
            run=run,
            step=step,
            loss=self.loss,
            reward_chosen=self.chosen,
            reward_rejected=self.rejected if self.paired else None,
            margin=self.chosen - self.rejected if self.paired else None,
            accuracy=self.accuracy if self.paired else None,
            grad_norm=grad_norm,
            learning_rate=learning_rate,
            tokens=self.tokens,
        )


@dataclass
class _Clock:
    """Seconds of processing by name; waits for the device, so that work is charged to who caused it."""

    device: torch.device
    seconds: dict[str, float] = field(default_factory=dict)
    _since: float = field(default_factory=time.perf_counter)

    def start(self) -> None:
        self._since = self._now()

    def charge(self, name: str) -> float:
        """Add the time since the last start or charge to `name`; that time."""
        now = self._now()
        passed, self._since = now - self._since, now
        self.seconds[name] = self.seconds.get(name, 0.0) + passed
        return passed

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
    checkpoint_every: int | Literal["auto"] = "auto",
    reference: Tensor | None = None,
    after_step: Callable[[int], None] | None = None,
    progress: Progress = silent,
) -> Trained:
    """Train all runs together, continuing from the checkpoint if one is there.

    Args:
        engine: with every run's adapter attached.
        runs: what trains; each resolves to at least one module.
        trees: pairs, chosen branch first, or demonstrations; `steps` index into them.
        steps: from `plan_steps`.
        log: training.jsonl; lines that the checkpoint does not cover are removed before going on.
        checkpoint: the file to continue from and to write.
        reference: the base's log-probabilities of all trees [trees, branches] in nats, if they are known; else every
            base pass computes those of its own trees.
        after_step: called with the number of steps done, after each; it may look at the adapters, not change them.

    Raises:
        StudyFailure: a loss or gradient is not finite, or a tensor moved that should not have.
    """
    joint = _JointTraining(engine, runs, trees, len(steps), reference)
    first = joint.restore(checkpoint)
    keep_jsonl(log, lambda row: row["run"] not in joint.trainers or row["step"] <= first, STEPS)
    saves = CheckpointClock(checkpoint_every, joint.bytes / DISK_BYTES_PER_SECOND)

    for number, micro_batches in enumerate(steps[first:], start=first):
        sums = joint.accumulate(number, micro_batches)
        records = joint.apply(number, sums)
        append_jsonl(log, records)
        if after_step is not None:
            after_step(number + 1)
        progress(f"training: {_mean_loss(records)}", number + 1, len(steps))
        if number + 1 < len(steps) and saves.due(number + 1):
            joint.clock.start()
            write_checkpoint(checkpoint, joint.state(number + 1))
            saves.wrote(joint.clock.charge("checkpoints"))
    return Trained(joint.witness, joint.clock.seconds)


class _JointTraining:
    """The runs of one pass in training: their trainers, the witness and the clock."""

    def __init__(
        self,
        engine: JointEngine,
        runs: Sequence[Run],
        trees: Sequence[Tree],
        total: int,
        reference: Tensor | None,
    ) -> None:
        owned = {run.id: engine.bank.parameters(run.id) for run in runs}
        self.engine = engine
        self.trees = trees
        self.reference = reference
        self.device = next(engine.model.parameters()).device
        self.trainers = {run.id: RunTrainer(run, owned[run.id], total) for run in runs}
        self.witness = Witness(engine.model.named_parameters(), owned)
        self.clock = _Clock(self.device)

    @property
    def bytes(self) -> int:
        """Size of a checkpoint: every tensor and its two moments."""
        tensors = (p for trainer in self.trainers.values() for p in trainer.parameters.values())
        return sum(3 * p.numel() * p.element_size() for p in tensors)

    def accumulate(self, number: int, micro_batches: Sequence[MicroBatch]) -> dict[str, _Sums]:
        """Every run's gradient over the pairs of step `number` (from 0), and its weighted sums.

        Micro-batches say only what each pair weighs: the pairs of the whole step go through the engine together, in
        as few batches as memory allows, which leaves the gradient as it is. Where memory runs out, the step begins
        again from zero gradients, in smaller batches.
        """
        sums = {name: _Sums() for name in self.trainers}

        def undo() -> None:
            for name, trainer in self.trainers.items():
                trainer.forget()
                sums[name] = _Sums()

        for trainer in self.trainers.values():
            trainer.begin(number)
        pairs = [i for micro in micro_batches for i in micro.pairs]
        trees = [self.trees[i] for i in pairs]
        weights = torch.tensor(
            [micro.weight for micro in micro_batches for _ in micro.pairs], dtype=torch.float64
        )

        def add(part: int, picked: list[int]) -> None:
            self.clock.start()
            batch = self.engine.collate([trees[i] for i in picked])
            weight = weights[picked].to(self.device)
            known = None if self.reference is None else self.reference[[pairs[i] for i in picked]]
            passed = self.engine.base(batch, None if known is None else known.to(self.device))
            self.clock.charge("shared")
            for name, trainer in self.trainers.items():
                with (
                    self.engine.active(name, trainer.trainable),
                    self._dropout(trainer.run, number, part),
                    self.witness.backward(name),
                ):
                    pair = self._loss(trainer.run, batch, passed)
                    _check_finite(pair.loss, batch, name, number + 1)
                    torch.autograd.backward(pair.loss @ weight)
                sums[name].add(pair, weight, batch.tokens)
                self.clock.charge(name)

        for_each_pack(self.engine, trees, add, undo=undo)
        return sums

    def apply(self, number: int, sums: Mapping[str, _Sums]) -> list[StepRecord]:
        """Clip and step every run; all norms are checked before the first run moves."""
        norms: dict[str, float] = {}
        for name, trainer in self.trainers.items():
            self.witness.look(name)
            norms[name] = trainer.clip(number + 1)
        records: list[StepRecord] = []
        for name, trainer in self.trainers.items():
            self.clock.start()
            with self.witness.step(name):
                trainer.step()
            self.clock.charge(name)
            records.append(sums[name].record(name, number + 1, norms[name], trainer.learning_rate))
        return records

    def state(self, step: int) -> Checkpoint:
        """What a checkpoint before step `step` holds."""
        states = {name: trainer.state() for name, trainer in self.trainers.items()}
        seen = {name: sorted(self.witness.seen[name]) for name in self.trainers}
        return Checkpoint(step, states, seen, dict(self.clock.seconds))

    def restore(self, path: Path) -> int:
        """Put the runs where the checkpoint left them; the step to go on with."""
        found = read_checkpoint(path)
        if found is None or not set(self.trainers) <= set(found.states):
            return 0
        try:
            for name, trainer in self.trainers.items():
                trainer.restore(found.states[name], found.step)
                self.witness.seen[name] = set(found.seen[name])
        except (KeyError, RuntimeError) as error:
            raise UserError(
                f"The checkpoint {path} is damaged: it does not hold run {name!r} as it was trained ({error}). Delete "
                "it: training then starts from its beginning."
            ) from None
        self.clock.seconds = dict(found.seconds)
        return found.step

    def _loss(self, run: Run, batch: Batch, passed: BasePass) -> PairLoss:
        swapped = torch.tensor([run.swaps(item) for item in batch.items], device=self.device)
        policy = swap_labels(self.engine.forward(batch, run.id, passed), swapped)
        reference = swap_labels(passed.reference, swapped)
        tokens = swap_labels(batch.lengths(), swapped)
        return preference_loss(policy, reference, tokens, run.settings.objective)

    def _dropout(self, run: Run, number: int, part: int) -> AbstractContextManager[None]:
        """LoRA dropout drawn from (seed, step, batch), so that other runs in the pass make no difference. Another cut
        into batches draws other noise: dropout is the one thing that changes where memory runs out."""
        if not run.settings.dropout:
            return nullcontext()
        return self.engine.bank.dropout(run.id, keyed_seed("dropout", run.seed_of("init"), number, part))


def _mean_loss(records: Sequence[StepRecord]) -> str:
    mean = sum(record.loss for record in records) / len(records)
    return f"loss {mean:.3f}" + (f" (mean of {len(records)} runs)" if len(records) > 1 else "")


def _check_finite(loss: Tensor, batch: Batch, run: str, step: int) -> None:
    finite = loss.detach().isfinite()
    if bool(finite.all()):
        return
    bad = int((~finite).nonzero()[0])
    raise StudyFailure(
        f"Run {run!r}: the loss of pair {batch.items[bad]} in step {step} is {loss[bad].item()}. Nothing of this step "
        "was applied, and the last checkpoint stands. Look at that row, lower learning_rate, or train in float32."
    )

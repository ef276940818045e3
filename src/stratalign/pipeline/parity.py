"""verify: a few steps with stock TRL + PEFT and with ours, on the user's own model and data, and the differences.

TRL gets the rows, a `LoraConfig` with `layers_to_transform` as a user would write it, our A copied in, and the
same order of pairs; everything else is its own: tokenisation, reference, loss, clipping, optimizer, schedule.
Both run in float32 at a learning rate at which the loss moves, because at 1e-5 a wrong rate passes unseen.
"""

from __future__ import annotations

import math
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stratalign.blocks import Phase
from stratalign.engine import JointEngine, collate
from stratalign.errors import UserError
from stratalign.models import AdapterBank, AdapterSpec, draw_a, hushed, load_model, load_stock
from stratalign.pipeline.planning import Plan
from stratalign.pipeline.verbs import Source, plan
from stratalign.preferences import Preference, Tree
from stratalign.records import Progress, read_jsonl, silent
from stratalign.training import MicroBatch, Run, TrainingSettings, train

LOSS_TOLERANCE = 1e-5
LOG_RATIO_TOLERANCE = 1e-4
UPDATE_TOLERANCE = 1e-3
LOSS_MUST_MOVE = 5e-3


@dataclass(frozen=True)
class Agreement:
    """How one condition's training differs between TRL and us.

    Losses are compared step by step. Log-ratios, in nats summed over a response, are those of every pair after
    the last step. Updates are compared by the norm of the difference of B A alpha / rank over the norm of
    TRL's. `loss_moved` is the largest distance of TRL's loss from log 2: without movement the comparison would
    say little.
    """

    max_loss_difference: float
    max_log_ratio_difference: float
    relative_update_difference: float
    loss_moved: float
    same_modules: bool
    same_tokens: bool

    @property
    def agrees(self) -> bool:
        return (
            self.max_loss_difference <= LOSS_TOLERANCE
            and self.max_log_ratio_difference <= LOG_RATIO_TOLERANCE
            and self.relative_update_difference <= UPDATE_TOLERANCE
            and self.loss_moved >= LOSS_MUST_MOVE
            and self.same_modules
            and self.same_tokens
        )


@dataclass(frozen=True)
class Parity:
    """The result of `verify`; `skipped` names conditions that stock TRL cannot express, and why."""

    steps: int
    learning_rate: float
    conditions: Mapping[str, Agreement]
    skipped: Mapping[str, str]

    @property
    def agrees(self) -> bool:
        return bool(self.conditions) and all(agreement.agrees for agreement in self.conditions.values())

    def to_json(self) -> dict[str, Any]:
        return {
            "steps": self.steps,
            "learning_rate": self.learning_rate,
            "conditions": {
                name: asdict(agreement) | {"agrees": agreement.agrees}
                for name, agreement in self.conditions.items()
            },
            "skipped": dict(self.skipped),
            "agrees": self.agrees,
        }


@dataclass(frozen=True)
class _Outcome:
    losses: list[float]
    log_ratios: Tensor  # [pairs, 2]
    updates: dict[str, Tensor]  # module -> B A alpha / rank
    tokens: list[tuple[tuple[int, ...], ...]]


def verify(
    recipe: Source,
    changes: Sequence[str] = (),
    *,
    steps: int = 12,
    learning_rate: float = 1e-3,
    progress: Progress = silent,
) -> Parity:
    """Train `steps` optimizer steps of every condition with TRL and jointly with ours, and compare.

    Raises:
        UserError: TRL is not installed, or the recipe has a problem.
    """
    try:
        import trl
    except ImportError:
        raise UserError("verify needs TRL as the other side: pip install 'stratalign[verify]'.") from None
    del trl
    with tempfile.TemporaryDirectory() as scratch:
        planned = plan(recipe, changes, Path(scratch) / "study")
        runs, skipped = _comparable(planned, learning_rate)
        if not runs:
            raise UserError(f"No condition can be compared with TRL: {skipped or 'none of them trains'}.")
        rows, trees, windows = _material(planned, steps)
        ours = _train_ours(planned, runs, trees, windows, Path(scratch))
        conditions: dict[str, Agreement] = {}
        for done, run in enumerate(runs):
            progress("training with TRL", done, len(runs))
            theirs = _train_trl(planned, run, rows, windows, trees, Path(scratch))
            conditions[run.id] = _compare(run, ours[run.id], theirs, trees)
        progress("training with TRL", len(runs), len(runs))
    return Parity(steps, learning_rate, conditions, skipped)


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
        phase = Phase(dict.fromkeys(condition.modules, learning_rate))
        settings = run.settings.overridden({"learning_rate": learning_rate, "rank": condition.rank})
        settings = settings.overridden({"alpha": run.settings.alpha})
        runs.append(replace(run, condition=replace(condition, phases=(phase,)), settings=settings))
    return runs, skipped


def _material(planned: Plan, steps: int) -> tuple[list[Preference], list[Tree], list[list[MicroBatch]]]:
    """Training pairs in the study's order, repeated if there are too few, cut into full windows."""
    settings = planned.recipe.training
    order = [i for step in planned.steps for micro in step for i in micro.pairs]
    count = steps * settings.gradient_accumulation * settings.batch_size
    picked = [order[i % len(order)] for i in range(count)]
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
    planned: Plan, runs: Sequence[Run], trees: Sequence[Tree], windows: list[list[MicroBatch]], scratch: Path
) -> dict[str, _Outcome]:
    device = planned.execution.torch_device
    loaded = load_model(planned.recipe.model, dtype=torch.float32, device=device)
    bank = AdapterBank(loaded.model)
    for run in runs:
        spec = AdapterSpec(
            run.id, run.condition.modules, run.condition.rank, run.settings.alpha, 0.0, run.seed
        )
        bank.attach(spec)
    engine = JointEngine(
        loaded.anatomy, bank, {run.id: run.first_layer(planned.shape.n_layers) for run in runs}
    )
    log = scratch / "training.jsonl"
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
        run.id: _Outcome(
            losses[run.id],
            torch.cat(ratios[run.id]),
            _updates({name: p.detach() for name, p in bank.parameters(run.id).items()}, run),
            [_sequences(tree) for tree in trees],
        )
        for run in runs
    }


def _train_trl(
    planned: Plan,
    run: Run,
    rows: Sequence[Preference],
    windows: list[list[MicroBatch]],
    trees: Sequence[Tree],
    scratch: Path,
) -> _Outcome:
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import PrinterCallback
    from trl import DPOTrainer

    settings, condition = run.settings, run.condition
    device = planned.execution.torch_device
    model = load_stock(planned.recipe.model, dtype=torch.float32, device=device)
    lora = LoraConfig(
        task_type="CAUSAL_LM",
        r=condition.rank,
        lora_alpha=settings.alpha,
        lora_dropout=0.0,
        target_modules=list(settings.targets),
        layers_to_transform=list(condition.layers),
    )
    with _quiet():
        trainer = DPOTrainer(
            model=model,
            args=_trl_settings(settings, len(windows), scratch, device),
            train_dataset=Dataset.from_list([_columns(row, planned, run) for row in rows]),
            processing_class=planned.tokenizer,
            peft_config=lora,
        )
        _copy_a(trainer.model, run)
        losses = _record_losses(trainer)
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    tokens = [
        tuple((*row["prompt_ids"], *row[side]) for side in ("chosen_ids", "rejected_ids"))
        for row in trainer.train_dataset
    ]
    per_step = [
        sum(losses[i * settings.gradient_accumulation : (i + 1) * settings.gradient_accumulation])
        / settings.gradient_accumulation
        for i in range(len(windows))
    ]
    tensors = {
        name.removeprefix("base_model.model.").replace(".default.weight", ".weight"): p.detach()
        for name, p in trainer.model.named_parameters()
        if ".lora_" in name
    }
    ratios = _trl_log_ratios(trainer.model, trees, windows, device)
    return _Outcome(per_step, ratios, _updates(tensors, run), tokens)


def _trl_settings(settings: TrainingSettings, steps: int, scratch: Path, device: torch.device) -> Any:
    """The recipe's settings in TRL's words."""
    from trl import DPOConfig

    return DPOConfig(
        output_dir=str(scratch / "trl"),
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.gradient_accumulation,
        num_train_epochs=1,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.schedule,
        warmup_steps=math.ceil(settings.warmup * steps) if settings.warmup < 1 else int(settings.warmup),
        max_grad_norm=settings.clip or 0.0,
        weight_decay=settings.weight_decay,
        adam_beta1=settings.betas[0],
        adam_beta2=settings.betas[1],
        optim="adamw_torch",
        beta=settings.beta,
        loss_type=[settings.loss],
        max_length=None,
        train_sampling_strategy="sequential",
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=device.type == "cpu",
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """TRL, datasets and transformers keep their bars, notes and warnings to themselves."""
    import datasets
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), datasets.are_progress_bars_disabled()
    logging.set_verbosity_error()
    datasets.disable_progress_bars()
    try:
        with warnings.catch_warnings(), redirect_stdout(sys.stderr), hushed():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
        if not bars:
            datasets.enable_progress_bars()


def _columns(row: Preference, planned: Plan, run: Run) -> dict[str, Any]:
    """The row as TRL expects it; shuffled labels exchanged beforehand."""
    chosen, rejected = (row.rejected, row.chosen) if run.swaps(row.row_id) else (row.chosen, row.rejected)
    if planned.recipe.preferences.template == "chat" and row.kind != "messages":
        raise UserError(
            "verify hands TRL the rows as they are; with preferences.template: chat, give messages."
        )
    parts = {"prompt": row.prompt, "chosen": chosen, "rejected": rejected}
    return {
        key: value if isinstance(value, str) else [dict(turn) for turn in value]
        for key, value in parts.items()
    }


def _copy_a(model: Any, run: Run) -> None:
    with torch.no_grad():
        for name, p in model.named_parameters():
            if ".lora_A." in name:
                module = name.removeprefix("base_model.model.").split(".lora_A.")[0]
                p.copy_(draw_a(run.seed, module, p.shape[0], p.shape[1]))


def _record_losses(trainer: Any) -> list[float]:
    """The loss of every micro-batch as TRL computes it, before the trainer divides it by the accumulation."""
    losses: list[float] = []
    stock = trainer.compute_loss

    def recording(*args: Any, **kwargs: Any) -> Any:
        found = stock(*args, **kwargs)
        losses.append(float((found[0] if isinstance(found, tuple) else found).detach()))
        return found

    trainer.compute_loss = recording
    return losses


@torch.no_grad()
def _trl_log_ratios(
    model: Any, trees: Sequence[Tree], windows: list[list[MicroBatch]], device: torch.device
) -> Tensor:
    model.eval()
    rows: list[Tensor] = []
    for micro in (micro for window in windows for micro in window):
        batch = collate([trees[i] for i in micro.pairs], device)

        def log_probabilities(batch: Any = batch) -> Tensor:
            logits = model(input_ids=batch.ids, attention_mask=batch.mask, use_cache=False).logits.float()
            taken = logits[batch.rows, batch.positions].log_softmax(-1).gather(1, batch.labels[:, None])
            sums = torch.zeros(batch.ids.shape[0], dtype=torch.float64, device=device)
            return sums.index_add(0, batch.rows, taken[:, 0].double()).reshape(-1, batch.branches)

        policy = log_probabilities()
        with model.disable_adapter():
            rows.append((policy - log_probabilities()).cpu())
    return torch.cat(rows)


def _updates(tensors: Mapping[str, Tensor], run: Run) -> dict[str, Tensor]:
    scale = run.settings.alpha / run.condition.rank
    modules = dict.fromkeys(name.split(".lora_")[0] for name in tensors)
    return {
        module: (
            tensors[f"{module}.lora_B.weight"].float() @ tensors[f"{module}.lora_A.weight"].float() * scale
        ).cpu()
        for module in modules
    }


def _sequences(tree: Tree) -> tuple[tuple[int, ...], ...]:
    return tuple((*tree.prefix, *branch.ids) for branch in tree.branches)


def _compare(run: Run, ours: _Outcome, theirs: _Outcome, trees: Sequence[Tree]) -> Agreement:
    tokens = [
        pair[::-1] if run.swaps(tree.row_id) else pair for pair, tree in zip(ours.tokens, trees, strict=True)
    ]
    same_modules = set(ours.updates) == set(theirs.updates)
    shared = [module for module in ours.updates if module in theirs.updates]
    difference = sum(float((ours.updates[m] - theirs.updates[m]).square().sum()) for m in shared)
    norm = sum(float(update.square().sum()) for update in theirs.updates.values())
    return Agreement(
        max_loss_difference=max(abs(a - b) for a, b in zip(ours.losses, theirs.losses, strict=True)),
        max_log_ratio_difference=float((ours.log_ratios - theirs.log_ratios).abs().max()),
        relative_update_difference=math.sqrt(difference / norm) if norm else math.inf,
        loss_moved=max(abs(loss - math.log(2)) for loss in theirs.losses),
        same_modules=same_modules,
        same_tokens=tokens == theirs.tokens,
    )

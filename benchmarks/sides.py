"""The two sides: one optimizer step on a window by stratalign's joint engine, or by stock TRL.

Each builds its model, adapters and batches first; only the step itself is timed. Both start from the same weights
and the same A, so the gradient norms of the first step say whether both did the same work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from benchmarks.material import Groups, Material
from benchmarks.measuring import Clock
from benchmarks.shapes import Shape, random_model
from stratalign.blocks import expand_conditions, partition, resolve_condition
from stratalign.engine import JointEngine, collate, plan_memory
from stratalign.models import (
    AdapterBank,
    AdapterSpec,
    can_stop,
    check_packing,
    check_replay,
    find_anatomy,
    list_sites,
)
from stratalign.models.packing import fuses
from stratalign.models.tree_attention import segment_sizes
from stratalign.pipeline.stock_trl import copy_a, quiet
from stratalign.preferences import Tree
from stratalign.records import Progress, read_jsonl
from stratalign.training import OVERRIDE_KEYS, MicroBatch, Run, TrainingSettings, train

CONDITIONS = ("full", "local", "mid", "global")


@dataclass(frozen=True)
class Bench:
    """What all measurements share."""

    shape: Shape
    settings: TrainingSettings
    material: Material
    device: torch.device
    dtype: torch.dtype
    clock: Clock
    warmup: int  # untimed steps on the same window before the timed one
    scratch: Path
    stock_layers: bool = False  # ours without the fused layers of models/fused.py


@dataclass(frozen=True)
class Step:
    """The timed step: seconds, and each run's loss and gradient norm before clipping."""

    seconds: float
    loss: dict[str, float]
    grad_norm: dict[str, float]


@dataclass(frozen=True)
class TrlSetup:
    """How TRL is set up. `compact_head`: the head on completion positions only, which TRL does on GPUs."""

    checkpointing: bool
    precompute: bool
    compact_head: bool = True


@dataclass
class Reference:
    """TRL's precomputed reference of one window, and what computing it took; filled by the first training."""

    columns: dict[str, list[float]] = field(default_factory=dict)
    seconds: float | None = None


def make_runs(shape: Shape, settings: TrainingSettings, conditions: object = CONDITIONS) -> list[Run]:
    """The conditions, resolved against a model of this shape."""
    sites = list_sites(random_model(shape, torch.device("meta"), torch.float32))
    blocks = partition(shape.layers)
    runs = []
    for spec in expand_conditions(conditions, OVERRIDE_KEYS):
        own = settings.overridden(spec.overrides)
        condition = resolve_condition(
            spec, sites, blocks, learning_rate=own.learning_rate, targets=own.targets, rank=own.rank
        )
        runs.append(Run(spec.name, condition, 0, own))
    return runs


def _nothing() -> None:
    pass


def step_jointly(
    bench: Bench, runs: Sequence[Run], window: Groups, before: Callable[[], None] = _nothing
) -> Step:
    """One step of all runs together. `before` is called when everything is built."""
    log = bench.scratch / "training.jsonl"
    log.unlink(missing_ok=True)
    micro_batches = weighted(window)
    steps = [micro_batches] * (bench.warmup + 1)
    if len(steps) == 1:
        # a run has at least two steps; the second is as small as can be, and not timed
        shortest = min(window[0], key=lambda i: len(bench.material.trees[i].prefix))
        steps.append([MicroBatch((shortest,), 1.0)])
    engine = joint_engine(bench, runs)
    before()
    marks = [bench.clock.now()]
    train_jointly(engine, runs, bench, steps, log, lambda *_: marks.append(bench.clock.now()))
    timed = bench.warmup + 1
    rows = {row["run"]: row for row in read_jsonl(log) if row["step"] == timed}
    return Step(
        marks[timed] - marks[timed - 1],
        {name: row["loss"] for name, row in rows.items()},
        {name: row["grad_norm"] for name, row in rows.items()},
    )


def joint_engine(bench: Bench, runs: Sequence[Run]) -> JointEngine:
    """The engine as a study builds it, on random weights instead of a folder's."""
    model = random_model(bench.shape, bench.device, bench.dtype).requires_grad_(False)
    anatomy = find_anatomy(model)
    check_replay(model, anatomy)
    kernel = check_packing(model, anatomy)
    anatomy = anatomy._replace(
        packs=kernel is not None, kernel=kernel or "segments", stops=can_stop(model, anatomy)
    )
    anatomy = anatomy._replace(fused=fuses(model, anatomy) and not bench.stock_layers)
    bank = AdapterBank(model)
    for run in runs:
        condition, settings = run.condition, run.settings
        bank.attach(
            AdapterSpec(run.id, condition.modules, condition.rank, settings.alpha, settings.dropout, run.seed)
        )
    firsts = {run.id: run.first_layer(bench.shape.layers) for run in runs}
    engine = JointEngine(anatomy, bank, firsts)
    asked = None if bench.settings.checkpointing == "auto" else bench.settings.checkpointing
    plan = plan_memory(engine, bench.material.trees, asked)
    engine.checkpointing, engine.pack_tokens = plan.checkpointing, plan.pack_tokens
    return engine


def train_jointly(
    engine: JointEngine,
    runs: Sequence[Run],
    bench: Bench,
    steps: Sequence[Sequence[MicroBatch]],
    log: Path,
    progress: Progress,
) -> None:
    """The study's own training loop, without checkpoints on disk; `progress` is called after every step."""
    train(
        engine,
        runs,
        bench.material.trees,
        steps,
        log=log,
        checkpoint=bench.scratch / "no-checkpoint",
        checkpoint_every=10**9,
        progress=progress,
    )


def laid_out(trees: Sequence[Tree]) -> tuple[int, int]:
    """Tokens and query-key products of one layer as the joint engine lays trees out in one row."""
    batch = collate(trees, torch.device("cpu"), packed=True)
    assert batch.spans is not None
    return batch.ids.numel(), sum(size**2 for size in segment_sizes(batch.spans.ends))


def step_with_trl(
    bench: Bench,
    run: Run,
    window: Groups,
    setup: TrlSetup,
    reference: Reference,
    before: Callable[[], None] = _nothing,
) -> Step:
    """One step of one run by TRL. `before` is called when everything is built, before the first step."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import PrinterCallback

    rows = [bench.material.rows[i] for group in window for i in group]
    columns = [{"prompt": row.prompt, "chosen": row.chosen, "rejected": row.rejected} for row in rows]
    lora = LoraConfig(
        task_type="CAUSAL_LM",
        r=run.condition.rank,
        lora_alpha=run.settings.alpha,
        lora_dropout=run.settings.dropout,
        target_modules=list(run.settings.targets),
        layers_to_transform=list(run.condition.layers),
    )
    with ExitStack() as stack:
        stack.enter_context(quiet())
        if setup.compact_head:
            stack.enter_context(compact_head())
        trainer = _trainer_class()(
            reference,
            bench,
            model=random_model(bench.shape, bench.device, bench.dtype),
            args=_trl_arguments(bench, run, setup),
            train_dataset=Dataset.from_list(columns * (bench.warmup + 1)),
            processing_class=bench.material.tokenizer,
            peft_config=lora,
        )
        copy_a(trainer.model, run)
        trainer.remove_callback(PrinterCallback)
        marks = _mark_steps(trainer, bench.clock)
        before()
        trainer.train()
    logged = [entry for entry in trainer.state.log_history if "grad_norm" in entry][bench.warmup]
    return Step(marks[bench.warmup], {run.id: logged["loss"]}, {run.id: logged["grad_norm"]})


@contextmanager
def compact_head() -> Iterator[None]:
    """TRL's head on completion positions alone, as on a GPU; elsewhere it runs on every padded position.

    TRL 1.16 asks one function in trainer/utils.py whether to gather the positions first. The kernels ask a
    function of their own module, so on a CPU they stay the plain torch ones.
    """
    with patch("trl.trainer.utils._use_triton", lambda device: True):
        yield


def _trainer_class() -> Any:
    """DPOTrainer with a precomputed reference that can be handed from condition to condition.

    Stock TRL keeps it under a hash of model and adapters, so each condition would compute it again; an expert
    would store it once. The numbers are those of its own `compute_ref_log_probs`.
    """
    from trl import DPOTrainer

    class SharedReferenceTrainer(DPOTrainer):  # type: ignore[misc]
        def __init__(self, reference: Reference, bench: Bench, **kwargs: Any) -> None:
            self._shared, self._clock, self._copies = reference, bench.clock, bench.warmup + 1
            with patch("trl.trainer.dpo_trainer.hash_module", lambda module: ""):  # minutes on a large model
                super().__init__(**kwargs)

        def _precompute_ref_logps(self, dataset: Any, name: str, batch_size: int) -> Any:
            if not self._shared.columns:
                batches = [dataset[i : i + batch_size] for i in range(0, len(dataset), batch_size)]
                rows = [
                    [dict(zip(b, row, strict=True)) for row in zip(*b.values(), strict=True)] for b in batches
                ]
                inputs = [
                    {key: value.to(self._clock.device) for key, value in self.data_collator(group).items()}
                    for group in rows
                ]
                start = self._clock.now()
                found = [self.compute_ref_log_probs(self.model, batch) for batch in inputs]
                self._shared.seconds = (self._clock.now() - start) / self._copies
                for place, column in enumerate(("ref_chosen_logps", "ref_rejected_logps")):
                    self._shared.columns[column] = [float(x) for pair in found for x in pair[place]]
            for column, values in self._shared.columns.items():
                dataset = dataset.add_column(column, values)
            return dataset

    return SharedReferenceTrainer


def _trl_arguments(bench: Bench, run: Run, setup: TrlSetup) -> Any:
    from trl import DPOConfig

    settings = run.settings
    return DPOConfig(
        output_dir=str(bench.scratch / "trl"),
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.gradient_accumulation,
        num_train_epochs=1,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.schedule,
        max_grad_norm=settings.clip or 0.0,
        weight_decay=settings.weight_decay,
        adam_beta1=settings.betas[0],
        adam_beta2=settings.betas[1],
        optim="adamw_torch",
        beta=settings.beta,
        loss_type=[settings.loss],
        max_length=None,
        train_sampling_strategy="sequential",  # windows come in their final order
        gradient_checkpointing=setup.checkpointing,
        precompute_ref_log_probs=setup.precompute,
        bf16=bench.dtype == torch.bfloat16,
        use_cpu=bench.device.type == "cpu",
        report_to=[],
        save_strategy="no",
        logging_strategy="steps",
        logging_steps=1,
        disable_tqdm=True,
    )


def _mark_steps(trainer: Any, clock: Clock) -> list[float]:
    """Seconds of every optimizer step, from the first micro-batch's forward pass (its batches are collated by
    then) to the optimizer's and the schedule's step; filled while training."""
    from transformers import TrainerCallback

    marks: list[float] = []
    starts: list[float] = []

    class Marker(TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            starts.append(clock.now())

        def on_step_end(self, *_: Any, **__: Any) -> None:
            marks.append(clock.now() - starts[-1])

    trainer.add_callback(Marker())
    return marks


def weighted(window: Groups) -> list[MicroBatch]:
    """The window's micro-batches with TRL's weights."""
    return [MicroBatch(tuple(group), 1 / (len(group) * len(window))) for group in window]

"""Stock TRL + PEFT as the other side of `verify`: trains one condition on given rows and gives back what came out.

TRL gets a `LoraConfig` with `layers_to_transform` as a user would write it, our A copied in, and the rows in our
order; everything else is its own: tokenisation, reference, loss, clipping, optimizer, schedule. A mixture of experts
gets no auxiliary loss.
"""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stratalign.engine import collate
from stratalign.models import draw_a, hushed, load_stock
from stratalign.pipeline.planned import Plan
from stratalign.preferences import Preference, Tree, as_messages
from stratalign.training import MicroBatch, Run, TrainingSettings


@dataclass(frozen=True)
class Outcome:
    """What a training of one condition left, by TRL or by us."""

    losses: list[float]
    log_ratios: Tensor  # [pairs, 2]
    updates: dict[str, Tensor]  # module -> B A alpha / rank
    tokens: list[tuple[tuple[int, ...], ...]]


def unlike_trl(settings: TrainingSettings) -> str | None:
    """Why TRL's DPOTrainer cannot train with this loss as we do; None where it can."""
    if settings.loss == "simpo":
        return "TRL's DPOTrainer has no simpo"
    if settings.loss == "sigmoid" and settings.label_smoothing:
        return "TRL's DPOTrainer does not smooth the labels of sigmoid"
    if (settings.loss == "sft" or settings.nll) and settings.batch_size > 1:
        return (
            "TRL takes the mean log-likelihood over all tokens of a micro-batch, we over those of each response; "
            "they are equal with training.batch_size: 1"
        )
    return None


def train_with_trl(
    planned: Plan,
    run: Run,
    rows: Sequence[Preference],
    windows: list[list[MicroBatch]],
    trees: Sequence[Tree],
    scratch: Path,
) -> Outcome:
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import PrinterCallback
    from trl import DPOTrainer

    settings, condition = run.settings, run.condition
    device = planned.execution.torch_device
    model = load_stock(planned.recipe.model, dtype=torch.float32, device=device)
    text = model.config.get_text_config(decoder=True)
    if getattr(text, "router_aux_loss_coef", 0.0):
        text.router_aux_loss_coef = 0.0  # TRL would add the loss that balances experts; ours has none
    lora = LoraConfig(
        task_type="CAUSAL_LM",
        r=condition.rank,
        lora_alpha=settings.alpha,
        lora_dropout=0.0,
        target_modules=list(condition.targets),
        layers_to_transform=list(condition.layers),
    )
    with quiet():
        trainer = DPOTrainer(
            model=model,
            args=_trl_settings(settings, len(windows), scratch, device),
            train_dataset=Dataset.from_list([_columns(row, planned, run) for row in rows]),
            processing_class=planned.tokenizer,
            peft_config=lora,
        )
        copy_a(trainer.model, run)
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
    return Outcome(per_step, ratios, updates(tensors, run), tokens)


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
        loss_type=[settings.loss, "sft"] if settings.nll else [settings.loss],
        loss_weights=[1.0, settings.nll] if settings.nll else None,
        label_smoothing=settings.label_smoothing,
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
def quiet() -> Iterator[None]:
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
    if planned.recipe.preferences.template == "chat":
        row = as_messages(row)
    chosen, rejected = (row.rejected, row.chosen) if run.swaps(row.row_id) else (row.chosen, row.rejected)
    parts = {"prompt": row.prompt, "chosen": chosen, "rejected": rejected}
    tools = {"tools": row.tools} if row.tools else {}
    return tools | {
        key: value if isinstance(value, str) else [dict(turn) for turn in value]
        for key, value in parts.items()
        if value is not None
    }


def copy_a(model: Any, run: Run) -> None:
    with torch.no_grad():
        for name, p in model.named_parameters():
            if ".lora_A." in name:
                module = name.removeprefix("base_model.model.").split(".lora_A.")[0]
                p.copy_(draw_a(run.seed_of("init"), module, p.shape[0], p.shape[1]))


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


def updates(tensors: Mapping[str, Tensor], run: Run) -> dict[str, Tensor]:
    scale = run.settings.alpha / run.condition.rank
    modules = dict.fromkeys(name.split(".lora_")[0] for name in tensors)
    return {
        module: (
            tensors[f"{module}.lora_B.weight"].float() @ tensors[f"{module}.lora_A.weight"].float() * scale
        ).cpu()
        for module in modules
    }

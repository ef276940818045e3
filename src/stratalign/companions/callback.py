"""A callback for transformers' Trainer and TRL's trainers: only the block trains, and backward stops below it.

It looks at names, flags and gradients, never at weights or data, and changes one thing: the hook that makes the
embedding's output require gradients. Knows nothing of the loss.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, TrainerCallback

from stratalign.blocks import PartitionSettings, describe_layers
from stratalign.companions.confining import Block, confine, transformers_model
from stratalign.errors import StudyFailure, UserError
from stratalign.models import find_anatomy
from stratalign.models.adapter_files import PREFIX
from stratalign.records import write_json

FILE = "targeting.json"
"""What the callback leaves in the trainer's output folder."""

EMBEDDING_HOOKS = ("make_inputs_require_grads", "make_inputs_require_grad")
"""What transformers and PEFT call the hook that makes the embedding's output require gradients."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TargetingProof:
    """What trained. `proven`: a nonzero gradient was seen on each tensor of the block, and none on any other.

    `backward` says how far down the backward pass went; `steps` counts optimizer steps.
    """

    proven: bool
    layers: tuple[int, ...]
    modules: tuple[str, ...]
    tensors: int
    parameters: int
    steps: int
    without_gradient: tuple[str, ...]
    backward: str


class BlockCallback(TrainerCallback):  # type: ignore[misc]
    """Asserts that LoRA trains a block and nothing else, and stops the backward pass at the block's lowest layer.

    - When training begins, the trainable parameters must be the LoRA tensors of the block's modules, all of them
      and no other, and the optimizer must hold them.
    - In the first optimizer steps each of them must receive a nonzero gradient (A has none in the first step, since
      B is zero then); in all steps no other parameter may receive one.
    - Trainers that checkpoint activations make the embedding's output require gradients, so that backward and
      recomputation run down to layer 0 whatever is trained. Only reentrant checkpointing needs that. Without it the
      callback takes the hooks away and keeps new ones out while training; losses and gradients stay as they are.
    - At the end `proof` holds what trained, and `targeting.json` in the trainer's output folder.

    Args:
        block: what was given to `lora_config`.
        targets: module kinds with adapters, as given to `lora_config`.
        partition: how layers are divided into blocks, as given to `lora_config`.
        within: optimizer steps in which every tensor must have had a nonzero gradient.

    Raises (from the trainer's `train`):
        UserError: something else would train, or not all of the block; or parameters are sharded.
        StudyFailure: a tensor of the block had no gradient in time, or another parameter had one.
    """

    def __init__(
        self,
        block: Block,
        *,
        targets: Sequence[str] | None = None,
        partition: PartitionSettings | Mapping[str, Any] | None = None,
        within: int = 5,
    ) -> None:
        if within < 3:
            raise UserError(
                f"within must be at least 3 steps, got {within}: LoRA's A gets no gradient before B has moved, "
                "and the first step of a warm-up moves nothing."
            )
        self.proof: TargetingProof | None = None
        self._block = block
        self._targets = targets
        self._partition = partition
        self._within = within
        self._release: list[Callable[[], None]] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._let_go()  # a trainer that looks for a batch size begins several times
        model: nn.Module = kwargs["model"]
        named = {name.removeprefix(PREFIX): p for name, p in model.named_parameters()}
        _refuse_shards(args, named)
        base = transformers_model(model)
        found = confine(base, self._block, targets=self._targets, partition=self._partition)
        check_trainable(named, found.modules)
        self._modules, self._layers = found.modules, found.layers
        self._own = {name: p for name, p in named.items() if p.requires_grad}
        self._others = {name: p for name, p in named.items() if not p.requires_grad}
        _check_optimizer(kwargs.get("optimizer"), self._own)
        self._unseen = set(self._own)
        self._steps = 0
        self._from_below = False
        self._reentrant = _reentrant(base)
        if self._reentrant:
            logger.warning(
                "Reentrant activation checkpointing needs a gradient at the embedding, so the backward pass runs down "
                "to layer 0. To stop it at layer %d, set gradient_checkpointing_kwargs={'use_reentrant': False}.",
                min(self._layers),
            )
        else:
            self._release.append(_without_embedding_hooks(base))
        entry = find_anatomy(base).layers[min(self._layers)]
        self._release.append(entry.register_forward_pre_hook(self._enters, with_kwargs=True).remove)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._steps += 1
        strays = [name for name, p in self._others.items() if p.grad is not None]
        if strays:
            self._fail(f"{_some(strays)}, outside of the block, received a gradient in step {self._steps}.")
        self._unseen -= {name for name in self._unseen if _has_gradient(self._own[name])}
        if self._unseen and self._steps == self._within:
            self._fail(
                f"{_some(sorted(self._unseen))} had no nonzero gradient in {self._steps} steps. Is the adapter used in "
                "the forward pass, and is the learning rate above 0 in these steps?"
            )

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._let_go()
        self.proof = TargetingProof(
            proven=not self._unseen,
            layers=self._layers,
            modules=self._modules,
            tensors=len(self._own),
            parameters=sum(p.numel() for p in self._own.values()),
            steps=self._steps,
            without_gradient=tuple(sorted(self._unseen)),
            backward=self._depth(),
        )
        if self._unseen:
            logger.warning(
                "Not proven: %s had no nonzero gradient, %d steps may be too few.",
                _some(sorted(self._unseen)),
                self._steps,
            )
        if state.is_world_process_zero:
            write_json(Path(args.output_dir) / FILE, asdict(self.proof))

    def _enters(self, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Notes whether hidden states that enter the lowest trained layer carry a gradient further down."""
        hidden: Tensor = args[0] if args else kwargs["hidden_states"]
        self._from_below |= layer.training and torch.is_grad_enabled() and hidden.requires_grad

    def _depth(self) -> str:
        if not self._from_below:
            return f"stopped at layer {min(self._layers)}"
        return f"ran to the embedding{', as reentrant checkpointing needs' if self._reentrant else ''}"

    def _fail(self, message: str) -> None:
        self._let_go()
        raise StudyFailure(f"Block {describe_layers(self._layers)}: {message}")

    def _let_go(self) -> None:
        """Leaves the model as it would be without the callback, but for the hooks that were taken away."""
        while self._release:
            self._release.pop()()


def check_trainable(named: Mapping[str, nn.Parameter], modules: Sequence[str]) -> None:
    """Raise a UserError unless the trainable ones are the LoRA tensors of `modules`: A and B of each, and no other.

    Args:
        named: every parameter by its name without PEFT's prefix.
        modules: full module names.
    """
    trainable = [name for name, p in named.items() if p.requires_grad]
    halves: dict[str, set[str]] = {}
    for name in trainable:
        module, lora, tensor = name.partition(".lora_")
        if lora:
            halves.setdefault(module, set()).add(tensor[0])
    problems = []
    others = [name for name in trainable if ".lora_" not in name]
    if others:
        problems.append(f"{_some(others)} would train and is no LoRA tensor: freeze it")
    outside = sorted(set(halves) - set(modules))
    if outside:
        problems.append(f"{_some(outside)} has an adapter and is outside of the block: configure PEFT anew")
    missing = [module for module in modules if not {"A", "B"} <= halves.get(module, set())]
    if missing:
        problems.append(f"{_some(missing)} is in the block and has no adapter that trains")
    if problems:
        raise UserError(
            f"What would train is not the block: {'; '.join(problems)}. `stratalign.lora_config` makes a configuration "
            "that fits; give it and the callback the same block, targets and partition."
        )


def _refuse_shards(args: Any, named: Mapping[str, nn.Parameter]) -> None:
    sharded = any(hasattr(p, "device_mesh") for p in named.values())  # a DTensor, whoever made it
    if args.deepspeed_plugin or args.fsdp or sharded:
        raise UserError(
            "BlockCallback reads whole gradients, and FSDP or DeepSpeed cut them up. Train without the callback; "
            "`stratalign audit` then tells what the saved adapter touches."
        )


def _check_optimizer(optimizer: Any, own: Mapping[str, nn.Parameter]) -> None:
    """The optimizer steps every tensor of the block; one that was made before the adapter holds others."""
    if optimizer is None:
        return
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    left_out = [name for name, p in own.items() if id(p) not in held]
    if left_out:
        raise UserError(
            f"The optimizer does not hold {_some(left_out)}. Make it after the adapter is attached, or let the trainer "
            "make it."
        )


def _has_gradient(p: nn.Parameter) -> bool:
    """Nonzero and finite: a loss scaler that overflows leaves infinities, and its step is skipped."""
    return p.grad is not None and bool(p.grad.any()) and bool(p.grad.isfinite().all())


def _reentrant(model: PreTrainedModel) -> bool:
    """Whether a layer checkpoints in a way that may be reentrant; what does not say so may be."""
    return any(
        getattr(getattr(module, "_gradient_checkpointing_func", None), "keywords", {}).get("use_reentrant")
        is not False
        for module in model.modules()
        if getattr(module, "gradient_checkpointing", False)
    )


def _without_embedding_hooks(model: PreTrainedModel) -> Callable[[], None]:
    """Take away the hooks that make the embedding's output require gradients, and let nobody add one.

    Removing them once does not last: TRL switches checkpointing off and on around every reference pass, and each time
    transformers calls `enable_input_require_grads`.

    Returns:
        What lets hooks be added again.
    """
    for module in model.modules():
        for key, hook in list(module._forward_hooks.items()):
            if getattr(hook, "__name__", "") in EMBEDDING_HOOKS:
                del module._forward_hooks[key]
    model.enable_input_require_grads = lambda: None

    def undo() -> None:
        del model.enable_input_require_grads

    return undo


def _some(names: Sequence[str]) -> str:
    """The first names of a list, and how many more there are."""
    more = len(names) - 3
    return ", ".join(names[:3]) + (f" and {more} more" if more > 0 else "")

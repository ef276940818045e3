"""What another checkpoint of a model differs in: whole updates of its linear modules, and everything else by name.

A fully trained model has no adapter. The difference of its weights and the base's stands in for one: a hook adds
gate x update x input to a module's output. Knows nothing of gates' meaning, runs or losses.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from stratalign.errors import UserError
from stratalign.models.loading import ModelSettings, load_stock

Gate = Tensor | float


@dataclass(frozen=True)
class Difference:
    """Two checkpoints of one architecture.

    `updates` has W_tuned - W_base of every linear module that differs, shaped and stored as the module stores its
    weight; `others` the relative change |tuned - base| / |base| of every other tensor that differs (embeddings, norms,
    biases, the head), which no gate reaches.
    """

    updates: dict[str, Tensor]
    others: dict[str, float]


class WholeUpdates:
    """Updates of modules, added in their forward pass, each times its gate; the weights are never written to."""

    def __init__(self, model: nn.Module, updates: Mapping[str, Tensor]) -> None:
        self._modules = {name: model.get_submodule(name) for name in updates}
        self._updates = dict(updates)
        self.gates: dict[str, Gate] = dict.fromkeys(updates, 1.0)

    @contextmanager
    def hooked(self) -> Iterator[None]:
        """Within the block the modules are the base's plus their gated updates."""
        handles = [
            module.register_forward_hook(self._adder(name, isinstance(module, Conv1D)))
            for name, module in self._modules.items()
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def update(self, name: str) -> Tensor:
        """The whole update of a module, without its gate."""
        return self._updates[name]

    def _adder(self, name: str, transposed: bool) -> Any:
        update = self._updates[name] if transposed else self._updates[name].t()

        def add(_module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
            gate = self.gates[name]
            return output if isinstance(gate, float) and gate == 0 else output + (args[0] @ update) * gate

        return add


@torch.no_grad()
def read_difference(model: PreTrainedModel, names: Sequence[str], tuned: str) -> Difference:
    """Load another checkpoint, in the precision of this one, and take the difference; only the updates are kept.

    Args:
        model: the base, without adapters.
        names: of its linear modules.
        tuned: hub id or folder.

    Raises:
        UserError: it cannot be loaded, has other tensors, or differs in no linear module.
    """
    own = dict(model.named_parameters())
    first = next(iter(own.values()))
    other = load_stock(ModelSettings(base=tuned), dtype=first.dtype, device=torch.device("cpu"))
    theirs = dict(other.named_parameters())
    odd = sorted(
        set(own) ^ set(theirs) | {n for n in own.keys() & theirs.keys() if own[n].shape != theirs[n].shape}
    )
    if odd:
        raise UserError(
            f"{tuned} is no checkpoint of this study's model: {len(odd)} tensors are missing or have another shape "
            f"({', '.join(odd[:3])}). Give one that was trained from it."
        )
    weights = {f"{name}.weight": name for name in names}
    found = Difference({}, {})
    for name, tensor in own.items():
        wide = torch.promote_types(tensor.dtype, torch.float32)
        change = theirs[name].to(tensor.device, wide) - tensor.to(wide)
        if not change.any():
            continue
        if name in weights:
            found.updates[weights[name]] = change.to(tensor.dtype)
        else:
            found.others[name] = float(change.norm() / tensor.to(wide).norm())
    if not found.updates:
        raise UserError(
            f"No linear module of {tuned} differs from the study's model. Give a checkpoint that was trained from it."
        )
    return found

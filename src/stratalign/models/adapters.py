"""LoRA adapters of many runs on one frozen model: attach on exact modules, switch, save, load.

PEFT makes the layers and does the arithmetic; this file decides which modules get one, draws A so that it does
not depend on what else is attached, keeps one run active at a time, and writes PEFT's format with the same
bytes every time. Knows nothing of optimizers, losses or data.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from safetensors.torch import save
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from stratalign.errors import StudyFailure
from stratalign.models.adapter_files import PREFIX, load_tensors, module_of
from stratalign.models.hushing import hushed
from stratalign.models.lora import LoraLinear
from stratalign.models.mixing import Delta, Mixture
from stratalign.models.updates import Gate, WholeUpdates
from stratalign.records import keyed_seed, replacing_folder, told, write_bytes, write_json


@dataclass(frozen=True)
class AdapterSpec:
    """One run's adapter: `scale` alpha / rank multiplies B A; `seed` draws A."""

    run: str
    modules: tuple[str, ...]
    rank: int
    alpha: float
    dropout: float = 0.0
    seed: int = 0


class AdapterBank:
    """The adapters of all runs on one model, one of them active at a time, or none.

    Parameters are float32 whatever the base's precision (float64 under a float64 base), as in TRL.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self.specs: dict[str, AdapterSpec] = {}
        self.current: str | None = None
        self._layers: dict[str, LoraLayer] = {}
        self._parameters: dict[str, dict[str, nn.Parameter]] = {}
        self._everywhere = dict(model.named_modules())
        self._whole: dict[str, WholeUpdates] = {}

    def attach(self, spec: AdapterSpec) -> None:
        """Add a run's adapter: B zero, A drawn from (seed, module name); nothing else of the model changes.

        Raises:
            StudyFailure: PEFT put the adapter on other modules than the resolved ones.
        """
        if spec.run in self.specs:
            raise StudyFailure(f"Run {spec.run!r} has an adapter already.")
        if not spec.modules:
            self.specs[spec.run] = spec
            self._parameters[spec.run] = {}
            return
        name = _peft_name(spec.run)
        config = self._config(spec)
        config._register_custom_module({nn.Linear: LoraLinear})
        with hushed():
            inject_adapter_in_model(config, self.model, adapter_name=name)
        on = {
            path: module
            for path, module in self.model.named_modules()
            if isinstance(module, LoraLayer) and name in module.lora_A
        }
        if set(on) != set(spec.modules):
            wrong = sorted(set(on) ^ set(spec.modules))
            raise StudyFailure(
                f"The adapter of run {spec.run!r} is on other modules than resolved: {', '.join(wrong)}."
            )
        self.model.eval()  # new layers come in training mode, with their dropout on
        self._layers |= on
        self.specs[spec.run] = spec
        self._parameters[spec.run] = {}
        # the embedding says what the base computes in; weights in 4 bits do not
        wide = self.model.get_input_embeddings().weight.dtype == torch.float64
        dtype = torch.float64 if wide else torch.float32
        for module in spec.modules:
            layer = on[module]
            a, b = layer.lora_A[name], layer.lora_B[name]
            a.to(dtype), b.to(dtype)
            with torch.no_grad():
                a.weight.copy_(draw_a(spec.seed, module, a.weight.shape[0], a.weight.shape[1]))
                b.weight.zero_()
            self._parameters[spec.run] |= {
                f"{module}.lora_A.weight": a.weight,
                f"{module}.lora_B.weight": b.weight,
            }
        self.deactivate()

    def attach_whole(self, run: str, updates: Mapping[str, Tensor]) -> None:
        """Add a run whose updates are whole matrices, as another checkpoint's difference; it is never trained or saved.

        Args:
            updates: module -> update, shaped as the module's weight.
        """
        self.specs[run] = AdapterSpec(run, tuple(updates), 0, 0.0)
        self._parameters[run] = {}
        self._whole[run] = WholeUpdates(self.model, updates)

    def parameters(self, run: str) -> dict[str, nn.Parameter]:
        """The run's tensors by name ("<module>.lora_A.weight"), in model order; fixed by name, never by flags."""
        return self._parameters[run]

    @contextmanager
    def active(self, run: str, trainable: Iterable[str] | None = None) -> Iterator[None]:
        """Within the block the model is base plus the run's adapter, and only that adapter takes gradients.

        The backward pass belongs inside the block too: under activation checkpointing the recomputation uses
        whichever adapter is active then. `trainable` limits gradients to these modules.
        """
        self.current = run
        name = _peft_name(run)
        for layer in self._layers.values() if run not in self._whole else ():
            layer.enable_adapters(True)
            layer.set_adapter(name)
        if trainable is not None:
            wanted = set(trainable)
            for tensor, parameter in self._parameters[run].items():
                parameter.requires_grad_(module_of(tensor) in wanted)
        try:
            with self._whole[run].hooked() if run in self._whole else nullcontext():
                yield
        finally:
            self.deactivate()

    @contextmanager
    def gated(self, run: str, gates: Mapping[str, Gate]) -> Iterator[None]:
        """Within the block the run's update of each named module is multiplied by its gate.

        A gate is a number, or a tensor of one number, by which the gradient can then be taken. Nothing of the adapter
        is written to.
        """
        name = _peft_name(run)
        # where each module's factor stands: in one mapping of whole updates, or in PEFT's mapping of its own layer
        whole = self._whole.get(run)
        places: dict[str, tuple[dict[str, Gate], str]] = {
            module: (self._layers[module].scaling, name) if whole is None else (whole.gates, module)
            for module in gates
        }
        before = {module: place[key] for module, (place, key) in places.items()}
        for module, (place, key) in places.items():
            place[key] = before[module] * gates[module]
        try:
            yield
        finally:
            for module, (place, key) in places.items():
                place[key] = before[module]

    @contextmanager
    def mixed(self, runs: Sequence[str]) -> Iterator[Mixture]:
        """Within the block row i of a batch goes through base plus the adapter of `runs[i]`; no gradients.

        Rows of a run should lie together. Where rows leave the batch, call `assign` of what this yields.
        """
        self.deactivate()
        deltas: dict[nn.Module, dict[str, Delta]] = {}
        for run in dict.fromkeys(runs):
            spec, own = self.specs[run], self._parameters[run]
            for module in spec.modules:
                a, b = own[f"{module}.lora_A.weight"], own[f"{module}.lora_B.weight"]
                deltas.setdefault(self._layers[module], {})[run] = Delta(a, b, spec.alpha / spec.rank)
        mixture = Mixture(deltas)
        mixture.assign(runs)
        with mixture.hooked():
            yield mixture

    def deactivate(self) -> None:
        """Make the model the base alone; no adapter takes gradients."""
        self.current = None
        for layer in self._layers.values():
            layer.enable_adapters(False)

    @contextmanager
    def dropout(self, run: str, seed: int) -> Iterator[None]:
        """Within the block the run's LoRA dropout is on, drawn from `seed`; the base's own dropout never is."""
        name = _peft_name(run)
        drops = [self._layers[module].lora_dropout[name] for module in self.specs[run].modules]
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            for drop in drops:
                drop.train()
            try:
                yield
            finally:
                for drop in drops:
                    drop.eval()

    def save(self, run: str, folder: Path, base: str, revision: str | None, notes: Mapping[str, Any]) -> None:
        """Write the adapter in PEFT's format, the same bytes for the same tensors; replaces the folder whole."""
        spec = self.specs[run]
        with told(folder), replacing_folder(folder) as temporary:
            write_bytes(
                temporary / "adapter_model.safetensors", save(self.tensors(run), metadata={"format": "pt"})
            )
            settings = self._config(spec).to_dict()
            settings |= {"base_model_name_or_path": base, "revision": revision, "inference_mode": True}
            write_json(
                temporary / "adapter_config.json", {key: _plain(settings[key]) for key in sorted(settings)}
            )
            write_json(temporary / "stratalign.json", dict(notes))

    def load(self, run: str, folder: Path) -> None:
        """Fill the attached adapter with the tensors of a folder.

        Raises:
            StudyFailure: the file's tensors are not exactly those of the run's modules.
        """
        self.fill(run, load_tensors(folder))

    def fill(self, run: str, tensors: Mapping[str, Tensor]) -> None:
        """Copy tensors, keyed as in PEFT's file, into the attached adapter."""
        own = self._parameters[run]
        names = {PREFIX + tensor for tensor in own}
        if names != set(tensors):
            wrong = sorted(names ^ set(tensors))
            raise StudyFailure(
                f"The tensors for run {run!r} are not those of its modules: {', '.join(wrong[:4])}."
            )
        with torch.no_grad():
            for tensor, parameter in own.items():
                parameter.copy_(tensors[PREFIX + tensor])

    def tensors(self, run: str) -> dict[str, Tensor]:
        """The run's tensors on the CPU, keyed as in PEFT's file."""
        return {
            PREFIX + tensor: value.detach().cpu().contiguous()
            for tensor, value in self._parameters[run].items()
        }

    def _config(self, spec: AdapterSpec) -> LoraConfig:
        first = _base_of(self._everywhere[spec.modules[0]])
        return LoraConfig(
            task_type="CAUSAL_LM",
            r=spec.rank,
            lora_alpha=spec.alpha,
            lora_dropout=spec.dropout,
            target_modules=list(spec.modules),
            fan_in_fan_out=isinstance(first, Conv1D),
            bias="none",
        )


def draw_a(seed: int, module: str, rank: int, in_features: int) -> Tensor:
    """LoRA's A [rank, in_features], uniform in +-1/sqrt(in_features), float64, drawn from (seed, module name).

    The distribution is PEFT's default (Kaiming uniform with a = sqrt(5)). The key makes A equal across
    conditions, processes and sharding; a larger rank begins with the rows of a smaller one.
    """
    generator = torch.Generator().manual_seed(keyed_seed("lora A", seed, module))
    bound = 1 / math.sqrt(in_features)
    return (torch.rand(rank, in_features, generator=generator, dtype=torch.float64) * 2 - 1) * bound


def _plain(value: Any) -> Any:
    """Sets sorted, everything else as JSON has it: PEFT's own file lists sets in the order of the day."""
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    return (
        value
        if isinstance(value, (str, int, float, bool, type(None)))
        else str(getattr(value, "value", value))
    )


def _base_of(module: nn.Module) -> nn.Module:
    base: nn.Module = module.get_base_layer() if isinstance(module, LoraLayer) else module
    return base


def _peft_name(run: str) -> str:
    """A run's name as the key of a module: no dots, and no name that torch's containers use themselves."""
    return "run:" + run.replace(".", "%2E")

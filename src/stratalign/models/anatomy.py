"""Where a decoder's layers, final norm and head are: found by structure, checked by replay, never guessed.

`find_anatomy` works on a model without weights (meta device), so that a plan can name exact modules before
anything is loaded. `check_replay` runs a probe batch through a loaded model and refuses the architecture unless
replaying captured layers gives the stock logits. Knows nothing of adapters, conditions or data.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from stratalign.blocks import Site
from stratalign.errors import UserError


class Anatomy(NamedTuple):
    """The parts of a decoder that a forward pass goes through, in order."""

    decoder: nn.Module
    layers: nn.ModuleList
    after: list[nn.Module]  # what the decoder applies after its layers: the final norm
    head: nn.Module
    finish: Callable[[Tensor], Tensor]  # what the model does to the head's logits: scaling, soft-capping
    packs: bool = False  # whether packed rows were found to give the stock logits; if not, rows are padded


class Captured(NamedTuple):
    """What one forward pass left for replaying: the hidden states on entry to some layers, and every layer's
    keyword arguments (masks and rotary embeddings differ between kinds of layers)."""

    hidden: dict[int, Tensor]  # layer -> [rows, T, width]; the number of layers itself keys the last output
    arguments: dict[int, dict[str, Any]]


def find_anatomy(model: PreTrainedModel) -> Anatomy:
    """Find the parts of `model` (weights not needed).

    Raises:
        UserError: no list of decoder layers of the configured length, several of them, or no output head.
    """
    kind = type(model).__name__
    n_layers = getattr(model.config.get_text_config(decoder=True), "num_hidden_layers", None)
    lists = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and 0 < len(module) == n_layers and _is_layer(module[0])
    ]
    if len(lists) != 1:
        found = ", ".join(name for name, _ in lists) or "none"
        raise UserError(
            f"{kind} is not supported: its layers must be one list of {n_layers} decoder layers, found {found}."
        )
    path, layers = lists[0]
    head = model.get_output_embeddings()
    if head is None:
        raise UserError(
            f"{kind} is not supported: it has no output embeddings, so it is no causal language model."
        )
    decoder = model.get_submodule(path.rpartition(".")[0])
    return Anatomy(decoder, layers, _final_norms(decoder, kind), head, _finish(model))


def list_sites(model: PreTrainedModel) -> list[Site]:
    """Every linear module of every layer, with its full name; the places where an adapter can go."""
    layers = find_anatomy(model).layers
    names = {module: name for name, module in model.named_modules()}
    sites: list[Site] = []
    for number, layer in enumerate(layers):
        for kind, module in layer.named_modules():
            if isinstance(module, nn.Linear):
                sites.append(Site(names[module], number, kind, module.in_features, module.out_features))
            elif isinstance(module, Conv1D):  # GPT-2 stores its weights transposed
                inputs, outputs = module.weight.shape
                sites.append(Site(names[module], number, kind, inputs, outputs))
    return sites


def capture(
    anatomy: Anatomy, starts: Iterable[int], masks: Sequence[Tensor] | None = None, **inputs: Any
) -> Captured:
    """Run the decoder once, without gradient, and keep the hidden states on entry to the layers in `starts`.

    `starts` may contain the number of layers: the output of the last one. `no_grad`, not `inference_mode`:
    what is captured takes part in later backward passes. `masks` gives every layer its own attention mask in
    place of the one that the decoder made.
    """
    wanted = set(starts)
    last = len(anatomy.layers)
    captured = Captured({}, {})

    def before(number: int) -> Callable[..., Any]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            rest = _by_name(module, args) | kwargs
            hidden = rest.pop("hidden_states")
            if masks is not None:
                rest["attention_mask"] = masks[number]
            if number in wanted:
                captured.hidden[number] = hidden
            if number >= min(wanted):
                captured.arguments[number] = rest
            return (hidden,), rest

        return hook

    def after(_module: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
        if last in wanted:
            captured.hidden[last] = _first(output)

    handles = [
        layer.register_forward_pre_hook(before(number), with_kwargs=True)
        for number, layer in enumerate(anatomy.layers)
    ]
    handles.append(anatomy.layers[-1].register_forward_hook(after))
    try:
        with torch.no_grad():
            # without it the config's default would create a cache, and a replay would append to it twice
            anatomy.decoder(**{"use_cache": False} | inputs)
    finally:
        for handle in handles:
            handle.remove()
    return captured


def replay(
    anatomy: Anatomy,
    captured: Captured,
    start: int,
    call: Callable[..., Any] = lambda layer, hidden, **arguments: layer(hidden, **arguments),
) -> Tensor:
    """Hidden states after the last layer, replaying layers `start` and above; [rows, T, width].

    `call` runs one layer; a caller may wrap it (activation checkpointing).
    """
    hidden = captured.hidden[start]
    for number in range(start, len(anatomy.layers)):
        hidden = _first(call(anatomy.layers[number], hidden, **captured.arguments[number]))
    return hidden


def to_logits(anatomy: Anatomy, hidden: Tensor) -> Tensor:
    """Final norm, head and scaling on any positions: [..., width] to [..., vocabulary]."""
    for module in anatomy.after:
        hidden = module(hidden)
    return anatomy.finish(anatomy.head(hidden))


@torch.no_grad()
def check_replay(model: PreTrainedModel, anatomy: Anatomy) -> float:
    """Replay a probe batch from several layers and compare with the stock forward; the largest difference.

    Raises:
        UserError: the difference is more than rounding, so this architecture is refused.
    """
    n_layers = len(anatomy.layers)
    device = next(model.parameters()).device
    vocabulary = model.config.get_text_config(decoder=True).vocab_size
    ids = (torch.arange(2 * 24, device=device).reshape(2, 24) * 7919 + 13) % vocabulary
    mask = torch.ones_like(ids)
    mask[1, 17:] = 0
    stock = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
    starts = sorted({0, n_layers // 3, (2 * n_layers) // 3, n_layers})
    captured = capture(anatomy, starts, input_ids=ids, attention_mask=mask)
    real = mask.bool()
    worst: float = max(
        (to_logits(anatomy, replay(anatomy, captured, start)) - stock)[real].abs().max().item()
        for start in starts
    )
    allowed = rounding(stock.dtype) * max(1.0, stock[real].abs().max().item())
    if not worst <= allowed:
        raise UserError(
            f"{type(model).__name__} is not supported: replaying its layers differs from its own forward pass by "
            f"{worst:.2g} (at most {allowed:.2g} is rounding). What it does around its layers is not known to us."
        )
    return worst


def rounding(dtype: torch.dtype) -> float:
    """Relative difference that two orders of the same sum may show in `dtype`."""
    return {torch.float64: 1e-10, torch.float32: 1e-5}.get(dtype, 2e-2)


def _by_name(layer: nn.Module, args: Sequence[Any]) -> dict[str, Any]:
    """Positional arguments of a layer by name (GPT-2 hands its mask over as the third); the first is the hidden
    states, whatever it is called."""
    if len(args) < 2:
        return {"hidden_states": args[0]} if args else {}
    names = list(inspect.signature(layer.forward).parameters)
    return dict(zip(["hidden_states", *names[1:]], args, strict=False))


def _is_layer(module: nn.Module) -> bool:
    """A decoder layer holds linear modules; lists of convolutions, experts or norms do not count."""
    return any(isinstance(part, (nn.Linear, Conv1D)) for part in module.modules()) and not isinstance(
        module, nn.Linear
    )


def _final_norms(decoder: nn.Module, kind: str) -> list[nn.Module]:
    """The norm beside the layers, by the names that the field uses; replay decides whether it was the right one."""
    names = ("norm", "final_layernorm", "final_layer_norm", "ln_f", "final_norm")
    norms = [getattr(decoder, name) for name in names if isinstance(getattr(decoder, name, None), nn.Module)]
    if len(norms) > 1:
        raise UserError(f"{kind} is not supported: it has {len(norms)} modules that could be the final norm.")
    return norms


def _finish(model: PreTrainedModel) -> Callable[[Tensor], Tensor]:
    """What the model does to its logits, by the keys that configs use for it (Gemma 2, Cohere, Granite)."""
    config = model.config.get_text_config(decoder=True)
    cap: float | None = getattr(config, "final_logit_softcapping", None)
    times: float = getattr(config, "logit_scale", None) or 1.0
    over: float = getattr(config, "logits_scaling", None) or 1.0

    def finish(logits: Tensor) -> Tensor:
        if times != 1.0 or over != 1.0:
            logits = logits * times / over
        return logits if cap is None else torch.tanh(logits / cap) * cap

    return finish


def _first(output: Any) -> Tensor:
    """A layer's hidden states: some architectures return a tuple whose first item they are."""
    result: Tensor = output[0] if isinstance(output, Sequence) else output
    return result

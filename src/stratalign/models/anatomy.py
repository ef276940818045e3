"""Where a decoder's layers, final norm and head are: found by structure, checked by replay, never guessed.

`find_anatomy` works on a model without weights (meta device), so that a plan can name exact modules before
anything is loaded. `check_replay` runs a probe batch through a loaded model and refuses the architecture unless
replaying captured layers gives the stock logits. Knows nothing of adapters, conditions or data.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from stratalign.errors import UserError
from stratalign.models.fused import run_fused
from stratalign.models.out_of_memory import is_out_of_memory
from stratalign.models.tree_attention import Kernel, TreeMask, attending_to_trees


class Anatomy(NamedTuple):
    """The parts of a decoder that a forward pass goes through, in order."""

    decoder: nn.Module
    layers: nn.ModuleList
    after: list[nn.Module]  # what the decoder applies after its layers: the final norm
    head: nn.Module
    vocabulary: int
    finish: Callable[[Tensor], Tensor]  # what the model does to the head's logits: scaling, soft-capping
    packs: bool = False  # whether packed rows were found to give the stock logits; if not, rows are padded
    kernel: Kernel = "segments"  # how attention over packed rows is computed
    fused: bool = False  # whether layers over packed rows run in fewer passes over memory (fused.py)
    stops: bool = False  # whether a pass can stop at the highest layer asked for; if not, all layers run


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
    vocabulary = model.config.get_text_config(decoder=True).vocab_size
    return Anatomy(decoder, layers, _final_norms(decoder, kind), head, vocabulary, _finish(model))


def capture(
    anatomy: Anatomy, starts: Iterable[int], masks: Sequence[TreeMask] | None = None, **inputs: Any
) -> Captured:
    """Run the decoder once, without gradient, and keep the hidden states on entry to the layers in `starts`.

    `starts` may contain the number of layers: the output of the last one. Without it, layers that nobody asks the
    output of are not computed, where the model lets itself be stopped. `no_grad`, not `inference_mode`:
    what is captured takes part in later backward passes. `masks` says what the tokens of a packed row see in
    every layer.
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
    stop = max(wanted) if anatomy.stops else last
    packed = nullcontext() if masks is None else attending_to_trees(anatomy.decoder.config)
    try:
        with torch.no_grad(), packed, _idle(list(anatomy.layers)[stop:]):
            # without it the config's default would create a cache, and a replay would append to it twice
            anatomy.decoder(**{"use_cache": False} | inputs)
    finally:
        for handle in handles:
            handle.remove()
    return captured


@contextmanager
def _idle(layers: Sequence[nn.Module]) -> Iterator[None]:
    """Within the block these layers are called, so that their arguments are seen, and give back what they got."""
    for layer in layers:
        layer.forward = lambda hidden_states, *_args, **_kwargs: hidden_states
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def replay(
    anatomy: Anatomy,
    captured: Captured,
    start: int,
    wrap: Callable[[Callable[..., Any]], Callable[..., Any]] = lambda run_layer: run_layer,
    at: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Hidden states after the last layer, replaying layers `start` and above; [rows, T, width].

    Args:
        wrap: is given the function that runs one layer, and what it returns is called in its place (activation
            checkpointing).
        at: rows and columns [labels]; only the hidden states there are wanted, [labels, width].
    """
    run_layer = wrap(partial(_run_layer, anatomy))
    hidden = captured.hidden[start]
    last = len(anatomy.layers) - 1
    for number in range(start, last + 1):
        arguments = captured.arguments[number]
        if number == last and at is not None and _runs_fused(anatomy, arguments):
            only: Tensor = run_layer(anatomy.layers[number], hidden, keep=at[1], **arguments)
            return only[0]
        hidden = run_layer(anatomy.layers[number], hidden, **arguments)
    return hidden if at is None else hidden[at]


def advance(anatomy: Anatomy, captured: Captured, starts: Iterable[int]) -> None:
    """Fill in the hidden states on entry to `starts` from those on entry to layer 0, without gradient."""
    wanted = set(starts)
    hidden = captured.hidden[0]
    with torch.no_grad():
        for number in range(max(wanted)):
            hidden = _run_layer(anatomy, anatomy.layers[number], hidden, **captured.arguments[number])
            if number + 1 in wanted:
                captured.hidden[number + 1] = hidden


def _run_layer(anatomy: Anatomy, layer: nn.Module, hidden: Tensor, **arguments: Any) -> Tensor:
    if _runs_fused(anatomy, arguments):
        return run_fused(layer, hidden, **arguments)
    if isinstance(arguments.get("attention_mask"), TreeMask):
        with attending_to_trees(anatomy.decoder.config):
            return _first(layer(hidden, **arguments))
    return _first(layer(hidden, **arguments))


def _runs_fused(anatomy: Anatomy, arguments: Mapping[str, Any]) -> bool:
    return anatomy.fused and isinstance(arguments.get("attention_mask"), TreeMask)


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


@torch.no_grad()
def can_stop(model: PreTrainedModel, anatomy: Anatomy) -> bool:
    """Whether a pass that stops in the middle leaves the same hidden states and arguments as a whole one."""
    n_layers = len(anatomy.layers)
    device = next(model.parameters()).device
    ids = torch.arange(12, device=device)[None] % anatomy.vocabulary
    starts = sorted({0, n_layers // 2})
    inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    whole = capture(anatomy._replace(stops=False), starts, **inputs)
    try:
        # a model may survive few idle layers and not many (BLOOM takes the first item of what each one returns)
        return all(
            torch.equal(replay(anatomy, short, start), replay(anatomy, whole, start))
            for stopped in ([0], starts)
            for short in [capture(anatomy._replace(stops=True), stopped, **inputs)]
            for start in stopped
        )
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        if is_out_of_memory(error):
            raise
        return False  # layers that return more than hidden states


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
    names = ("norm", "final_layernorm", "final_layer_norm", "ln_f", "norm_f", "final_norm")
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

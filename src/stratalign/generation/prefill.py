"""The prompts' keys and values, and the first logits: for one model, or for many runs that answer the same prompts.

Below its first trained layer a run is the base. So the base goes through the prompts once, and each run starts from
what the base left at that layer; its keys and values below are the base's. One run at a time also keeps the
activations of long prompts small. Knows nothing of what follows the prompts.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from stratalign.generation.cache import roomy_cache
from stratalign.models import (
    AdapterBank,
    Anatomy,
    Captured,
    Mixture,
    capture,
    find_anatomy,
    replay,
    to_logits,
)


class Prompts(NamedTuple):
    """Prompts of a batch, padded on the left; each [rows, width]."""

    ids: Tensor
    mask: Tensor  # 1 on tokens, 0 on padding
    positions: Tensor


class Prefilled(NamedTuple):
    """The cache after the prompts, and the logits of what follows them [rows, vocabulary]."""

    cache: DynamicCache
    logits: Tensor


@torch.no_grad()
def prefill(model: PreTrainedModel, prompts: Prompts) -> Prefilled:
    """One pass over all rows, with whatever adapters are on."""
    cache = roomy_cache(model)
    logits = model(
        input_ids=prompts.ids,
        attention_mask=prompts.mask,
        position_ids=prompts.positions,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    ).logits[:, -1]
    return Prefilled(cache, logits)


@torch.no_grad()
def prefill_shared(bank: AdapterBank, mixture: Mixture, runs: Sequence[str], prompts: Prompts) -> Prefilled:
    """The same for rows of which the first are `prompts` under `runs[0]`, the next the same prompts under `runs[1]`,
    and so on; `mixture` is left with these rows assigned. A model with another kind of cache gets one pass over all.
    """
    model, count = bank.model, len(prompts.ids)
    anatomy = find_anatomy(model)
    starts = _first_layers(bank, anatomy, runs)
    base = DynamicCache(config=model.config)
    mixture.assign([_BASE] * count)
    captured = capture(
        anatomy,
        starts.values(),
        input_ids=prompts.ids,
        attention_mask=prompts.mask,
        position_ids=prompts.positions,
        past_key_values=base,
        use_cache=True,
    )
    if not _known(base, captured, anatomy):
        mixture.assign([run for run in runs for _ in range(count)])
        return prefill(model, Prompts(*(part.repeat(len(runs), 1) for part in prompts)))
    caches, logits = [], []
    for run in runs:
        mixture.assign([run] * count)
        cache = DynamicCache(config=model.config)
        cache.layers[: starts[run]] = base.layers[: starts[run]]
        own = {
            number: {name: cache if value is base else value for name, value in arguments.items()}
            for number, arguments in captured.arguments.items()
        }
        hidden = replay(anatomy, Captured(captured.hidden, own), starts[run])
        logits.append(to_logits(anatomy, hidden[:, -1]))
        caches.append(cache)
    mixture.assign([run for run in runs for _ in range(count)])
    return Prefilled(_joined(model, caches), torch.cat(logits))


_BASE = ""
"""No run's name: rows of it get no adapter."""


def _known(base: DynamicCache, captured: Captured, anatomy: Anatomy) -> bool:
    """Whether every layer keeps keys and values of its own, in the cache that it is handed."""
    kinds = {type(layer) for layer in base.layers}
    handed = all(any(value is base for value in given.values()) for given in captured.arguments.values())
    one_each = len(base.layers) == len(anatomy.layers) and all(layer.is_initialized for layer in base.layers)
    return kinds <= {DynamicLayer, DynamicSlidingWindowLayer} and handed and one_each


def _first_layers(bank: AdapterBank, anatomy: Anatomy, runs: Sequence[str]) -> Mapping[str, int]:
    """Each run's lowest layer with an adapter; the number of layers for the base."""
    names = {module: name for name, module in bank.model.named_modules()}
    paths = [f"{names[layer]}." for layer in anatomy.layers]

    def first(run: str) -> int:
        modules = bank.specs[run].modules
        trained = (i for i, path in enumerate(paths) if any(name.startswith(path) for name in modules))
        return next(trained, len(paths))

    return {run: first(run) for run in runs}


def _joined(model: PreTrainedModel, caches: Sequence[DynamicCache]) -> DynamicCache:
    """One cache with the rows of all, one after the other; empties those layer by layer."""
    joint = roomy_cache(model)
    for number, layer in enumerate(joint.layers):
        parts = [cache.layers[number] for cache in caches]
        keys, values = torch.cat([part.keys for part in parts]), torch.cat([part.values for part in parts])
        if isinstance(layer, DynamicSlidingWindowLayer):
            joint.layers[number] = copy.copy(parts[0])  # knows how much has passed through the window
            joint.layers[number].keys, joint.layers[number].values = keys, values
        else:
            layer.update(keys, values)
        for cache in caches:
            cache.layers[number] = layer
    return joint

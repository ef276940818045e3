"""What training many runs on one captured pass rests on, tried on a loaded model: `check_replay` sees the frozen base
alone, here its layers are changed as an adapter would change them.

Two things could go wrong without a wrong number in the base. Something besides the hidden states may pass from layer
to layer (keys and values shared by later layers, a first layer's output used by all): a replay would take the base's,
or what another run left there. And a token's logits may depend on later tokens, on padding or on the row beside it
(attention in both directions, experts with room for so many tokens): then padded rows do not give a sequence's own
log-probability. Both are refused. Knows nothing of adapters, conditions or data.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from stratalign.errors import UserError
from stratalign.models.anatomy import Anatomy, capture, check_replay, replay, rounding, to_logits
from stratalign.models.linears import list_sites
from stratalign.models.out_of_memory import is_out_of_memory

_REAL = 17
"""Tokens of the shorter of the two probe rows; the longer one has 24."""


def check_support(model: PreTrainedModel, anatomy: Anatomy) -> float:
    """`check_replay`, `check_changes` and `check_rows`; the largest difference that the first found.

    Raises:
        UserError: one of them fails, or the layers cannot be run as they would have to be; the model is refused.
    """
    try:
        difference = check_replay(model, anatomy)
        check_changes(model, anatomy)
        check_rows(model)
    except (AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        if is_out_of_memory(error):
            raise
        raise UserError(
            f"{type(model).__name__} is not supported: its layers cannot be run apart from it "
            f"({type(error).__name__}: {(str(error).splitlines() or [''])[0]})."
        ) from error
    return difference


@torch.no_grad()
def check_changes(model: PreTrainedModel, anatomy: Anatomy) -> None:
    """Replay layers whose linear modules are changed, then as they were, all from one captured pass.

    The first must give what the stock forward gives with the same change; the second, from the top down, what it
    gives without: a change that stays behind between layers would show there.

    Raises:
        UserError: one of them differs, so this architecture is refused.
    """
    ids, mask = _rows(model)
    n_layers = len(anatomy.layers)
    stock = _logits(model, ids, mask)
    starts = sorted({0, n_layers // 3, (2 * n_layers) // 3, n_layers - 1}, reverse=True)
    captured = capture(anatomy, starts, input_ids=ids, attention_mask=mask)
    with _changed(model):
        pairs = [
            (_logits(model, ids, mask), to_logits(anatomy, replay(anatomy, captured, 0)), "changed layers")
        ]
    for start in starts:
        pairs.append((stock, to_logits(anatomy, replay(anatomy, captured, start)), f"layers from {start}"))
    for wanted, got, what in pairs:
        difference = (got - wanted)[mask.bool()].abs().max().item()
        if not difference <= rounding(wanted.dtype) * max(1.0, wanted[mask.bool()].abs().max().item()):
            raise UserError(
                f"{type(model).__name__} is not supported: something besides the hidden states passes between its "
                f"layers, and replaying {what} gets it wrong (logits differ by {difference:.2g})."
            )


@torch.no_grad()
def check_rows(model: PreTrainedModel) -> None:
    """A sequence's logits must be the same alone, beside another row, before padding, and before more of itself.

    Compared by the median token: in low precision a router may choose other experts for a few of them.

    Raises:
        UserError: they differ, so this architecture is refused.
    """
    ids, mask = _rows(model)
    together = _logits(model, ids, mask)[:, :_REAL]
    for row, why in ((0, "on later tokens"), (1, "on padding or on other rows")):
        alone = _logits(model, ids[row : row + 1, :_REAL], torch.ones_like(mask[:1, :_REAL]))[0]
        difference = (together[row] - alone).abs().amax(-1).median().item()
        allowed = {torch.float64: 1e-5, torch.float32: 1e-4}.get(alone.dtype, 6e-2)
        if not difference <= allowed * max(1.0, alone.abs().max().item()):
            raise UserError(
                f"{type(model).__name__} is not supported: a token's logits depend {why} (they differ by "
                f"{difference:.2g}), so the log-probability of a response is not its own."
            )


@contextmanager
def _changed(model: PreTrainedModel) -> Iterator[None]:
    """Within the block every module that may have an adapter adds to its output, as an adapter does."""

    def change(_module: nn.Module, _args: tuple[Any, ...], output: Tensor) -> Tensor:
        return output + 0.1 * output.flip(-1)

    handles = [
        model.get_submodule(site.name).register_forward_hook(change)
        for site in list_sites(model)
        if site.frozen is None
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _rows(model: PreTrainedModel) -> tuple[Tensor, Tensor]:
    """Token ids and mask [2, 24]; the second row ends in padding."""
    device = next(model.parameters()).device
    vocabulary = model.config.get_text_config(decoder=True).vocab_size
    ids = (torch.arange(2 * 24, device=device).reshape(2, 24) * 7919 + 13) % vocabulary
    mask = torch.ones_like(ids)
    mask[1, _REAL:] = 0
    return ids, mask


def _logits(model: PreTrainedModel, ids: Tensor, mask: Tensor) -> Tensor:
    logits: Tensor = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
    return logits

"""The joint engine: one frozen model, many adapters, each condition's log-probabilities from shared activations.

`base(batch)` runs the model once without adapters; it yields the reference log-probabilities and the hidden
states on entry to each condition's lowest trained layer. `forward(batch, run, passed)` replays the layers from
there with one run's adapter. Nothing below a condition's first layer is computed twice, and the backward pass
stops there by itself, because what was captured carries no gradient.

Layers are never called from outside this module. Knows nothing of losses, optimizers or files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from itertools import count
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from stratalign.engine.batches import Batch, collate
from stratalign.engine.cutting import UNPLANNED_TOKENS, cut_by_tokens, tokens_in
from stratalign.engine.labels import label_log_probabilities
from stratalign.errors import StudyFailure, UserError
from stratalign.models import (
    AdapterBank,
    Anatomy,
    Captured,
    advance,
    capture,
    packed_inputs,
    replay,
    to_logits,
)
from stratalign.preferences import Tree

Wrap = Callable[[Callable[..., Tensor]], Callable[..., Tensor]]
"""Is given the function that runs one layer; what it returns is called in its place."""


class BasePass(NamedTuple):
    """What `JointEngine.base` leaves, without gradient: reference log-probabilities [items, branches] in nats, the
    activations that `forward` starts from, and, unless the reference was known, the base's last hidden states where a
    label is predicted [labels, width]."""

    reference: Tensor
    captured: Captured
    states: Tensor | None


class JointEngine(nn.Module):
    """Log-probabilities of every run on a batch.

    Args:
        anatomy: the parts of the frozen base model.
        bank: the adapters; a run without modules is the base itself.
        first_layers: run -> its lowest layer with an adapter (the number of layers for a run that has none).
        checkpointing: recompute activations in the backward pass, layer by layer, only where gradients flow.
        pack_tokens: tokens that `cut` puts into one batch.
        halved: called with the tokens of a batch that did not fit and with those that batches have from then on.
    """

    def __init__(
        self,
        anatomy: Anatomy,
        bank: AdapterBank,
        first_layers: Mapping[str, int],
        *,
        checkpointing: bool = False,
        pack_tokens: int = UNPLANNED_TOKENS,
        halved: Callable[[int, int], None] = lambda _tokens, _smaller: None,
    ) -> None:
        super().__init__()
        self.model = bank.model
        self.anatomy = anatomy
        self.bank = bank
        self.first_layers = dict(first_layers)
        self.checkpointing = checkpointing
        self.pack_tokens = pack_tokens
        self.halved = halved

    def cut(self, trees: Sequence[Tree], most: int | None = None) -> list[list[int]]:
        """Indices of the trees in batches of at most `pack_tokens` (or fewer); a longer tree is a batch of its own."""
        budget = self.pack_tokens if most is None else min(most, self.pack_tokens)
        return cut_by_tokens(trees, budget, packed=self.packs)

    def halve(self, trees: Sequence[Tree], lower: str) -> None:
        """From now on cut batches of half the tokens of this one, for which memory was too small.

        Raises:
            UserError: it has only one tree; the message names the setting to `lower`.
        """
        tokens = tokens_in(trees, packed=self.packs)
        if len(trees) == 1:
            keeps = torch.is_grad_enabled() and not self.checkpointing
            raise UserError(
                f"Memory ran out on row {trees[0].row_id!r} alone, which has {tokens:,} tokens. Lower {lower}, "
                f"{'set training.checkpointing: true, ' if keeps else ''}take a smaller model, or free memory that "
                "other programs hold."
            )
        self.pack_tokens = tokens // 2
        self.halved(tokens, self.pack_tokens)

    def collate(self, trees: Sequence[Tree]) -> Batch:
        """The trees as a batch on the model's device: packed rows where the architecture takes them."""
        return collate(trees, next(self.model.parameters()).device, packed=self.packs)

    @property
    def packs(self) -> bool:
        """Whether `collate` packs."""
        return self.anatomy.packs

    def base(self, batch: Batch, reference: Tensor | None = None) -> BasePass:
        """Run the base once; adapters are off.

        Args:
            reference: the base's log-probabilities [items, branches], if they are known: then the pass ends where
                the highest run begins.
        """
        self.bank.deactivate()
        n_layers = len(self.anatomy.layers)
        starts = set(self.first_layers.values())
        if self.anatomy.fused and batch.spans is not None:
            captured = capture(self.anatomy, [0], **self._inputs(batch))
            advance(self.anatomy, captured, starts or {0})
        else:
            wanted = starts if reference is not None else {*starts, n_layers}
            captured = capture(self.anatomy, wanted, **self._inputs(batch))
        if reference is not None:
            return BasePass(reference, captured, None)
        with torch.no_grad():
            at = (batch.rows, batch.positions)
            states = replay(self.anatomy, captured, max(captured.hidden), at=at)
            return BasePass(self._log_probabilities(states, batch), captured, states)

    def active(self, run: str, trainable: frozenset[str] | None = None) -> AbstractContextManager[None]:
        """Make the run's adapter active; forward and backward of the run belong inside this block."""
        return self.bank.active(run, trainable)

    def forward(self, batch: Batch, run: str, passed: BasePass, watch: Wrap | None = None) -> Tensor:
        """Log-probabilities of a run, summed over each branch's labels: [items, branches], in nats.

        Must be called inside `active(run)`. Differentiable with respect to the run's adapter. `watch` wraps what runs
        a layer; activations are kept then, whatever the engine does by itself.
        """
        return self._log_probabilities(self._states(run, batch, passed, watch), batch)

    def logits(self, batch: Batch, run: str, passed: BasePass) -> Tensor:
        """Logits of a run at the batch's labelled positions: [labels, vocabulary]. Inside `active(run)`."""
        return to_logits(self.anatomy, self._states(run, batch, passed))

    def base_logits(self, batch: Batch, passed: BasePass) -> Tensor:
        """Logits of the base at the batch's labelled positions: [labels, vocabulary]; of a pass without a reference."""
        assert passed.states is not None, "the pass was given its reference and ended early"
        return to_logits(self.anatomy, passed.states)

    @torch.no_grad()
    def walk(self, batch: Batch, passed: BasePass, visit: Callable[[int, Tensor], None]) -> Tensor:
        """Show `visit` the hidden states of all positions on entry to each layer and, as the number of layers, after
        the last one; [rows, T, width] each, one at a time. Gives back log-probabilities [items, branches] in nats.

        The model is the base, or the run that is active. `passed` is the base's, of an engine that has a run that
        begins at layer 0; what enters layer 0 is the same for all runs.
        """
        numbers = count()

        def watched(run_layer: Callable[..., Tensor]) -> Callable[..., Tensor]:
            def call(layer: nn.Module, hidden: Tensor, **arguments: Any) -> Tensor:
                visit(next(numbers), hidden)
                return run_layer(layer, hidden, **arguments)

            return call

        states = replay(self.anatomy, passed.captured, 0, watched)
        visit(len(self.anatomy.layers), states)
        return self._log_probabilities(states[batch.rows, batch.positions], batch)

    @torch.no_grad()
    def resume(self, batch: Batch, passed: BasePass, layer: int, hidden: Tensor) -> Tensor:
        """Log-probabilities [items, branches] in nats of whatever is active, with these hidden states [rows, T,
        width] on entry to a layer, or after the last one; `passed` as in `walk`."""
        captured = Captured({layer: hidden}, passed.captured.arguments)
        return self._log_probabilities(
            replay(self.anatomy, captured, layer, at=(batch.rows, batch.positions)), batch
        )

    def _inputs(self, batch: Batch) -> dict[str, Any]:
        if batch.spans is None:
            return {"input_ids": batch.ids, "attention_mask": batch.mask}
        return packed_inputs(self.anatomy, batch.ids, batch.spans)

    def _states(self, run: str, batch: Batch, passed: BasePass, watch: Wrap | None = None) -> Tensor:
        """The run's last hidden states where a label is predicted, [labels, width]."""
        if watch is None and self.checkpointing and torch.is_grad_enabled():
            watch = partial(self._checkpointed, run)
        at = (batch.rows, batch.positions)
        return replay(self.anatomy, passed.captured, self.first_layers[run], watch or _plainly, at)

    def _checkpointed(self, run: str, run_layer: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """Runs one layer under checkpointing. The recomputation happens in the backward pass, with whatever
        adapter is active then: another one would give wrong gradients without an error (peft#2832)."""

        def guarded(layer: nn.Module, hidden: Tensor, **arguments: Any) -> Tensor:
            if self.bank.current != run:
                raise StudyFailure(
                    f"The backward pass of run {run!r} recomputes its layers while {self.bank.current!r} is active. "
                    "It belongs inside the block in which the run is active."
                )
            return run_layer(layer, hidden, **arguments)

        def call(layer: nn.Module, hidden: Tensor, **arguments: Any) -> Tensor:
            recomputed: Tensor = checkpoint(guarded, layer, hidden, use_reentrant=False, **arguments)
            return recomputed

        return call

    def _log_probabilities(self, states: Tensor, batch: Batch) -> Tensor:
        head = partial(to_logits, self.anatomy)
        return batch.totals(label_log_probabilities(head, states, batch.labels, self.anatomy.vocabulary))


def _plainly(run_layer: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return run_layer

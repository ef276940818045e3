"""Gathers gradients: of each loss on each chunk of pairs, by module, kept so that inner products can be taken.

Knows nothing of what the products are read for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from stratalign.blocks import Site
from stratalign.diagnostics.concentration import Floats
from stratalign.diagnostics.loss_table import LossTable
from stratalign.diagnostics.sketches import ChunkGradients
from stratalign.engine import JointEngine
from stratalign.losses import Objective, preference_loss
from stratalign.models import tapped
from stratalign.preferences import Tree
from stratalign.records import Progress

BASELINE = "sft"
"""The loss that stands beside every other one."""

References = dict[tuple[int, int], torch.Tensor]
"""The base's log-probabilities [items, branches] by (chunk, batch within the chunk)."""


@dataclass(frozen=True)
class Gathered:
    """The gradients of one preference source: each loss on each chunk, by module."""

    chunks: Sequence[Sequence[Tree]]
    losses: Mapping[str, Objective]
    kept: Mapping[str, ChunkGradients]

    @property
    def sizes(self) -> Floats:
        """Pairs in each chunk [C]."""
        return np.array([len(chunk) for chunk in self.chunks], dtype=np.float64)

    def products(self, module: str, loss: str, other: Gathered, other_loss: str) -> Floats:
        """Inner products [C, C] of the chunks' summed gradients of one loss with those of another source's."""
        slots, others = self._slots(loss), other._slots(other_loss)
        found: Floats = self.kept[module].gram(slots, other.kept[module], others).numpy()
        return found

    def table(
        self,
        loss: str,
        sites: Sequence[Site],
        blocks: Mapping[str, Sequence[int]],
        weights: Mapping[str, float],
    ) -> LossTable:
        """The products of one loss's chunks, by module; `weights` are the modules' norms."""
        grams = np.stack([self.products(site.name, loss, self, loss) for site in sites])
        return LossTable(sites, blocks, grams, self.sizes, weights)

    def _slots(self, loss: str) -> slice:
        first = list(self.losses).index(loss) * len(self.chunks)
        return slice(first, first + len(self.chunks))


def losses_of(trees: Sequence[Tree], objective: Objective) -> dict[str, Objective]:
    """The losses to measure on these rows: the preference loss if they are pairs, and plain likelihood beside it."""
    losses = {BASELINE: Objective(BASELINE)}
    if len(trees[0].branches) > 1 and objective.loss != BASELINE:
        losses = {objective.loss: objective} | losses
    return losses


def chunk_gradients(
    engine: JointEngine,
    run: str,
    sites: Sequence[Site],
    chunks: Sequence[Sequence[Tree]],
    losses: Mapping[str, Objective],
    progress: Progress,
    references: References | None = None,
) -> dict[str, ChunkGradients]:
    """Module -> the chunks' summed gradients, a slot for each loss and chunk, loss by loss.

    One base pass and one forward pass serve all losses of a batch. `references` found in one call are given to the
    next on the same chunks, whose base passes then end at once.
    """
    references = {} if references is None else references
    kept = {
        site.name: ChunkGradients(site.name, site.out_features, site.in_features, len(losses) * len(chunks))
        for site in sites
    }
    slot = 0

    def receive(name: str, inputs: torch.Tensor, slopes: torch.Tensor) -> None:
        kept[name].add(slot, inputs, slopes)

    on_base = not engine.bank.specs[run].modules
    with tapped(engine.model, kept, receive):
        for number, chunk in enumerate(chunks):
            for at, part in enumerate(engine.cut(chunk)):
                batch = engine.collate([chunk[i] for i in part])
                # of the base itself the reference is its own policy, so that the base pass can end at once
                unknown = torch.zeros(len(part), batch.branches, dtype=torch.float64)
                known = references.get((number, at), unknown if on_base else None)
                passed = engine.base(batch, known)
                passed.captured.hidden[0].requires_grad_()
                with engine.active(run, frozenset()):
                    policy = engine.forward(batch, run, passed)
                    reference = references[number, at] = policy.detach() if on_base else passed.reference
                    for place, objective in enumerate(losses.values()):
                        slot = place * len(chunks) + number
                        loss = preference_loss(policy, reference, batch.lengths(), objective).loss.sum()
                        torch.autograd.backward(loss, retain_graph=place + 1 < len(losses))
                        passed.captured.hidden[0].grad = None
            progress("gradients", number + 1, len(chunks))
    for own in kept.values():
        own.to_cpu()
    return kept

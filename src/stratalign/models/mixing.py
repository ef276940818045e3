"""Rows of one batch under different adapters: the base's module once for all rows, then each run's delta on its own.

The modules' own adapters are off while rows are mixed; a hook on each of them adds scale x B A x to the rows of the
runs that have an adapter there. Rows of a run should lie together: every stretch of rows of one run costs two small
matrix products per module. For evaluation only, without dropout. Knows nothing of what the rows are.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from stratalign.errors import StudyFailure


class Delta(NamedTuple):
    """What a run adds to one module: scale x B A x, with A [rank, inputs] and B [outputs, rank]."""

    a: Tensor
    b: Tensor
    scale: float


class Unmixable(StudyFailure):
    """A module sees something else than the batch's rows, a mixture's expert for instance."""


class Mixture:
    """Which run each row of a batch belongs to; `assign` may be called anew between forward passes."""

    def __init__(self, deltas: Mapping[nn.Module, Mapping[str, Delta]]) -> None:
        self._deltas = deltas
        self._stretches: list[tuple[str, slice]] = []
        self._rows = 0

    def assign(self, runs: Sequence[str]) -> None:
        """Name the run of each row of the batches to come; a run without an adapter is the base."""
        self._stretches, self._rows = [], 0
        for run, stretch in itertools.groupby(runs):
            end = self._rows + len(list(stretch))
            self._stretches.append((run, slice(self._rows, end)))
            self._rows = end

    @contextmanager
    def hooked(self) -> Iterator[Mixture]:
        """Within the block the modules add to each row what its run adds."""
        handles = [module.register_forward_hook(self._add) for module in self._deltas]
        try:
            yield self
        finally:
            for handle in handles:
                handle.remove()

    @torch.no_grad()
    def _add(self, module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        x = inputs[0]
        if x.ndim != 3 or len(x) != self._rows:
            raise Unmixable(
                f"Inputs of shape {list(x.shape)} where a batch of {self._rows} rows was expected."
            )
        deltas = self._deltas[module]
        for run, rows in self._stretches:
            if run in deltas:
                a, b, scale = deltas[run]
                # under a bfloat16 base the sum is formed in float32 and rounded once, as in PEFT
                output[rows].add_(x[rows].to(a.dtype) @ a.T @ b.T, alpha=scale)
        return output

"""Gradients of many chunks, kept so that every inner product between two of them can be taken at the end.

A small weight's gradients are kept as they are. Of a large one's only a sketch is kept: a random linear map to a few
numbers that preserves inner products on average. Linear, so that a chunk's gradient may arrive in parts, batch by
batch; and computed from inputs and slopes directly, so that no tensor of the weight's size is ever made. Knows nothing
of what the gradients are of.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from stratalign.records import keyed_seed

EXACT_ENTRIES = 2**18
"""Weights with up to so many entries are kept as they are."""

WIDTH = 2**16
"""Numbers in a sketch. An inner product <g, h> is right on average, and off by one to three |g| |h| / sqrt(WIDTH) (one
standard deviation): 0.4 % for gradients like noise, about 1 % where a few directions have it all."""

ALL = slice(None)

TOKENS_AT_ONCE = 256
"""Tokens transformed at a time, so that their spectra take no more than 256 MiB."""


class _Hash(NamedTuple):
    """A bucket in 0 .. width - 1 and a sign for every entry of a vector."""

    buckets: Tensor
    signs: Tensor


class ChunkGradients:
    """Gradients of one weight [out, in] for numbered slots; a slot is one loss on one chunk of the data.

    Args:
        name: the module's name, from which its sketch is drawn: the same in every process.
        slots: how many there are.
        exact: keep whole gradients; by default where the weight is small enough.
    """

    def __init__(
        self,
        name: str,
        out_features: int,
        in_features: int,
        slots: int,
        *,
        exact: bool | None = None,
        width: int = WIDTH,
        seed: int = 0,
    ) -> None:
        self.name = name
        self.shape = (out_features, in_features)
        self.exact = out_features * in_features <= EXACT_ENTRIES if exact is None else exact
        self.width = width
        self.seed = seed
        self._kept: list[Tensor | None] = [None] * slots
        self._hashes: tuple[_Hash, _Hash] | None = None

    def add(self, slot: int, inputs: Tensor, slopes: Tensor) -> None:
        """Add slopes^T inputs, the gradient of some tokens [tokens, in] and [tokens, out], to a slot."""
        part = slopes.t() @ inputs if self.exact else self._sketched(inputs, slopes)
        kept = self._kept[slot]
        self._kept[slot] = part if kept is None else kept.add_(part)

    def gram(
        self, own: slice = ALL, other: ChunkGradients | None = None, others: slice | None = None
    ) -> Tensor:
        """Inner products of slots with each other: [slots, slots] float64, on the CPU.

        Args:
            own: which slots; all by default.
            other: gradients of the same weight, kept elsewhere; the products are then with its slots.
            others: which slots they are multiplied with; those of `own` by default.
        """
        rows = self._stacked(own)
        columns = (self if other is None else other)._stacked(own if others is None else others)
        found = torch.zeros(len(rows), len(columns), dtype=torch.float64, device=rows.device)
        pieces = (torch.split(stacked, 2**20, dim=1) for stacked in (rows, columns))
        for one, two in zip(*pieces, strict=True):  # in pieces: sums of many products in float64
            found += one.double() @ two.double().t()
        return found.cpu()

    def to_cpu(self) -> None:
        """Move what was kept to the machine's own memory, once no more is added."""
        self._kept = [None if kept is None else kept.cpu() for kept in self._kept]

    def _stacked(self, slots: slice) -> Tensor:
        device = next(kept.device for kept in self._kept if kept is not None)
        width = self.shape[0] * self.shape[1] if self.exact else self.width
        return torch.stack(
            [
                torch.zeros(width, device=device) if kept is None else kept.flatten()
                for kept in self._kept[slots]
            ]
        )

    def _sketched(self, inputs: Tensor, slopes: Tensor) -> Tensor:
        """Sketch [width] of slopes^T inputs: the sum over tokens of the convolution of two count sketches.

        TensorSketch (Pham and Pagh 2013, KDD, "Fast and scalable polynomial kernels via explicit feature maps"): an
        entry (o, i) of the weight goes to bucket h(o) + h'(i) modulo the width with sign s(o) s'(i). Convolutions are
        products of spectra, so tokens are summed there and transformed back once.
        """
        if self._hashes is None:
            self._hashes = self._draw(inputs.device, slopes.dtype)
        out_hash, in_hash = self._hashes
        total: Tensor | None = None
        for x, g in zip(
            torch.split(inputs, TOKENS_AT_ONCE), torch.split(slopes, TOKENS_AT_ONCE), strict=True
        ):
            spectra = [
                torch.fft.rfft(
                    values.new_zeros(len(values), self.width).index_add_(1, own.buckets, values * own.signs)
                )
                for values, own in ((g, out_hash), (x, in_hash))
            ]
            summed = (spectra[0] * spectra[1]).sum(dim=0)
            total = summed if total is None else total + summed
        assert total is not None
        found: Tensor = torch.fft.irfft(total, n=self.width)
        return found

    def _draw(self, device: torch.device, dtype: torch.dtype) -> tuple[_Hash, _Hash]:
        draws = []
        for side, size in zip(("out", "in"), self.shape, strict=True):
            generator = torch.Generator().manual_seed(keyed_seed("sketch", self.seed, self.name, side))
            buckets = torch.randint(0, self.width, (size,), generator=generator)
            signs = torch.randint(0, 2, (size,), generator=generator) * 2 - 1
            draws.append(_Hash(buckets.to(device), signs.to(device, dtype)))
        return draws[0], draws[1]

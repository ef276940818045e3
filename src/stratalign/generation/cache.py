"""A key-value cache with room to grow: a new token is written into it, not concatenated to a copy of all before.

With the stock cache every step copies the keys and values of every row. Layers of other kinds (sliding windows)
keep their stock caches.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

ROOM, LEAST_ROOM = 0.25, 16
"""Room that is made when there is none left: a share of the length, and tokens. It costs memory; growing, a copy."""


def roomy_cache(model: PreTrainedModel) -> DynamicCache:
    """An empty cache for `model`."""
    cache = DynamicCache(config=model.config)
    cache.layers = [_RoomyLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


class _RoomyLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values of one layer [rows, heads, length, size]: the filled part of larger buffers."""

    def __init__(self) -> None:
        super().__init__()
        self._buffers: list[Tensor] = []

    def update(
        self, key_states: Tensor, value_states: Tensor, *_args: Any, **_kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Append keys and values [rows, heads, new, size]; all of them so far."""
        start = self.get_seq_length()
        end = start + key_states.shape[-2]
        new = (key_states, value_states)
        if not self._buffers:
            self.lazy_initialization(*new)
            self._buffers = [_with_room(states, end) for states in new]
        elif self._buffers[0].shape[-2] < end:
            grown = [_with_room(states, end) for states in new]
            for larger, buffer in zip(grown, self._buffers, strict=True):
                larger[:, :, :start] = buffer[:, :, :start]
            self._buffers = grown
        for buffer, states in zip(self._buffers, new, strict=True):
            buffer[:, :, start:end] = states
        self.keys, self.values = (buffer[:, :, :end] for buffer in self._buffers)
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep these rows."""
        length = self.get_seq_length()
        self._buffers = [buffer.index_select(0, indices) for buffer in self._buffers]
        if length:
            self.keys, self.values = (buffer[:, :, :length] for buffer in self._buffers)


def _with_room(states: Tensor, length: int) -> Tensor:
    rows, heads, _, size = states.shape
    return states.new_empty(rows, heads, length + int(ROOM * length) + LEAST_ROOM, size)

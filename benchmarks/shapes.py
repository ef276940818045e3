"""Shapes of the benchmark's models, and random weights for them, made on the device without a file.

Training time does not depend on what the weights are, so nothing has to be downloaded. Knows nothing of data.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch

from stratalign.errors import unknown_name


@dataclass(frozen=True)
class Shape:
    """The sizes of a decoder with gated MLPs; `kind` is its model type."""

    kind: str
    layers: int
    width: int
    heads: int
    kv_heads: int
    head_width: int
    inner: int
    vocabulary: int

    @property
    def qkv_weights(self) -> int:
        """Weights of one layer's query, key and value projections."""
        return self.width * (self.heads + 2 * self.kv_heads) * self.head_width

    @property
    def rest_weights(self) -> int:
        """Weights of one layer's output projection and MLP: all that follows the attention."""
        return self.width * self.heads * self.head_width + 3 * self.width * self.inner

    def adapter_weights(self, rank: int) -> int:
        """LoRA's A and B on query, key, value and output projection of one layer."""
        inputs_and_outputs = 4 * self.width + 2 * (self.heads + self.kv_heads) * self.head_width
        return rank * inputs_and_outputs


NAMED = {
    "llama-3.1-8b": Shape("llama", 32, 4096, 32, 8, 128, 14336, 128256),
    "qwen2.5-7b": Shape("qwen2", 28, 3584, 28, 4, 128, 18944, 152064),
}
SMALL_KINDS = ("llama", "qwen3")


def small_shape(kind: str, layers: int, width: int, heads: int | None, vocabulary: int) -> Shape:
    """A small model in which matrix products still dominate: heads of 64, two query heads to a key head.

    Raises:
        UserError: an unknown kind.
    """
    if kind not in SMALL_KINDS:
        raise unknown_name("kind of model", kind, SMALL_KINDS)
    heads = heads or max(1, width // 64)
    kv_heads = heads // 2 if heads % 2 == 0 else heads
    inner = 32 * round(width * 2.75 / 32)
    return Shape(kind, layers, width, heads, kv_heads, width // heads, inner, vocabulary)


def named_shape(name: str, *, shrunk: bool, vocabulary: int) -> Shape:
    """A shape of `NAMED`; shrunk for a dry run to three layers, a sixteenth of the width and a small vocabulary.

    Raises:
        UserError: an unknown name.
    """
    if name not in NAMED:
        raise unknown_name("shape", name, NAMED)
    shape = NAMED[name]
    if not shrunk:
        return shape
    return replace(
        shape,
        layers=3,
        width=shape.width // 16,
        heads=2,
        kv_heads=1,
        inner=shape.inner // 16,
        vocabulary=vocabulary,
    )


def random_model(shape: Shape, device: torch.device, dtype: torch.dtype) -> Any:
    """The stock transformers model of this shape; the same weights every time on the same device."""
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(
        shape.kind,
        num_hidden_layers=shape.layers,
        hidden_size=shape.width,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_width,
        intermediate_size=shape.inner,
        vocab_size=shape.vocabulary,
        max_position_embeddings=4096,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=None,
    )
    torch.manual_seed(0)
    with torch.device(device):
        return AutoModelForCausalLM.from_config(config, dtype=dtype).eval()

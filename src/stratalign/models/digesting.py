"""A digest of a model's tensors in memory: the proof that something that only looked left every bit as it was."""

from __future__ import annotations

import hashlib

import torch
from torch import nn


def weights_digest(model: nn.Module) -> str:
    """SHA-256 of all parameters, adapters included, with their names."""
    state = hashlib.sha256()
    for name, parameter in model.named_parameters():
        state.update(f"{name}\x1f{parameter.dtype}\x1f{tuple(parameter.shape)}\x1f".encode())
        whole = parameter.detach().cpu().contiguous().flatten()
        state.update(whole.view(torch.uint8).numpy().data)
    return state.hexdigest()

"""A digest of a model's tensors in memory: the proof that something that only looked left every bit as it was."""

from __future__ import annotations

import hashlib

import torch
from torch import nn

from stratalign.models.quantized import scales


def weights_digest(model: nn.Module) -> str:
    """SHA-256 of all parameters, adapters included, with their names; of those in 4 bits the scales as well."""
    state = hashlib.sha256()
    for name, parameter in model.named_parameters():
        for part, tensor in {"": parameter, **scales(parameter)}.items():
            state.update(f"{name}{part}\x1f{tensor.dtype}\x1f{tuple(tensor.shape)}\x1f".encode())
            whole = tensor.detach().cpu().contiguous().flatten()
            state.update(whole.view(torch.uint8).numpy().data)
    return state.hexdigest()

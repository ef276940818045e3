"""Which errors say that memory ran out: every device's allocator has its own, and only CUDA's has a class."""

from __future__ import annotations

import torch

_MESSAGES = ("DefaultCPUAllocator: ", "MPS backend out of memory")
"""What RuntimeErrors of the allocators of CPUs ("can't allocate memory", on Windows "not enough memory") and of Apple's
GPUs say."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device's memory was too small for what was asked of it."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(message in str(error) for message in _MESSAGES)

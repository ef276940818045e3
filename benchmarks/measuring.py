"""Clocks, the rate of matrix products, and peak memory, on a CPU or a CUDA device.

On a CPU time is that of the process, not of the wall, so that a loaded machine disturbs little. Knows nothing of
who is measured.
"""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

import torch

from benchmarks.shapes import Shape

PROBE_ROWS = 1024
PROBE_SECONDS = 0.4

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


class Clock:
    """Processor seconds of this process; on CUDA wall seconds up to the end of all work given to the device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            return time.perf_counter()
        return time.process_time()


def gemm_rate(shape: Shape, dtype: torch.dtype, clock: Clock) -> float:
    """Operations per second of the products of one layer (query-key-value, output, both halves of the MLP), each
    in one piece, over `PROBE_ROWS` rows."""
    sizes = [
        (shape.width, (shape.heads + 2 * shape.kv_heads) * shape.head_width),
        (shape.heads * shape.head_width, shape.width),
        (shape.width, 2 * shape.inner),
        (shape.inner, shape.width),
    ]
    device = clock.device
    factors = [
        (
            torch.randn(PROBE_ROWS, inputs, device=device).to(dtype),
            torch.randn(outputs, inputs, device=device).to(dtype).t(),
        )
        for inputs, outputs in sizes
    ]
    once = sum(2 * PROBE_ROWS * inputs * outputs for inputs, outputs in sizes)
    for left, right in factors:
        left @ right
    rounds, start = 0, clock.now()
    while (passed := clock.now() - start) < PROBE_SECONDS:
        for left, right in factors:
            left @ right
        rounds += 1
    return once * rounds / passed


class PeakMemory:
    """Bytes that training takes above what was held before it: resident set, or allocated on the CUDA device.

    The resident set of a process hardly falls, so each side has to be measured in a process of its own.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.before = 0

    def start(self) -> None:
        """Take the baseline and forget earlier peaks."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            self.before = torch.cuda.memory_allocated(self.device)
            return
        if _CLEAR.exists():
            _CLEAR.write_text("5")  # the kernel sets the peak back to what is resident now
        self.before = _peak_resident()

    def above(self) -> int:
        """Bytes of the peak above the baseline."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) - self.before
        return _peak_resident() - self.before


def _peak_resident() -> int:
    if _STATUS.exists():
        line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        return 1024 * int(line.split()[1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak

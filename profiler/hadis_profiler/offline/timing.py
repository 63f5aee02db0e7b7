"""How long a batch takes: repeated until its median is known well enough."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

_LEAST, _MOST = 5, 200
_WIDTH = 0.05
"""Width of the median's 95% interval to reach, as a share of the median."""


@dataclass(frozen=True)
class BatchTiming:
    """A batch size: seconds of the whole batch, and how well they are known."""

    batch: int
    p50_s: float
    p95_s: float
    low_s: float
    high_s: float
    runs: int
    memory_bytes: int
    energy_j: float | None


def time_batch(call: Callable[[], object], batch: int, limit_s: float, device: str) -> BatchTiming:
    """Return the times of a call, repeated until its median is known to `_WIDTH` or `limit_s` has passed."""
    call()  # the first call chooses kernels and takes memory
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    taken: list[float] = []
    energy, began = _energy_j(device), time.perf_counter()
    while len(taken) < _MOST:
        start = time.perf_counter()
        call()
        if device == "cuda":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - start)
        low, high = median_interval(taken)
        known = len(taken) >= _LEAST and high - low < _WIDTH * float(np.median(taken))
        if known or (time.perf_counter() - began > limit_s and len(taken) >= 2):
            break
    energy_after = _energy_j(device)
    low, high = median_interval(taken)
    return BatchTiming(
        batch=batch,
        p50_s=float(np.median(taken)),
        p95_s=float(np.quantile(taken, 0.95)),
        low_s=low,
        high_s=high,
        runs=len(taken),
        memory_bytes=torch.cuda.max_memory_allocated() if device == "cuda" else 0,
        energy_j=None if energy is None or energy_after is None else (energy_after - energy) / len(taken),
    )


def median_interval(values: list[float]) -> tuple[float, float]:
    """Return the 95% interval of the median from the order of the values, whatever their distribution.

    The binomial's normal approximation: ranks n/2 -+ 1.96 sqrt(n)/2 (Conover, Practical Nonparametric Statistics, 3.2).
    """
    ordered, n = sorted(values), len(values)
    half = 1.96 * math.sqrt(n) / 2
    return ordered[max(0, math.floor(n / 2 - half))], ordered[min(n - 1, math.ceil(n / 2 + half))]


def _energy_j(device: str) -> float | None:
    """Return the joules that the GPU has used since its driver was loaded, where NVML tells."""
    if device != "cuda":
        return None
    import pynvml

    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(0).uuid}")
        return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1e3
    except pynvml.NVMLError:
        return None

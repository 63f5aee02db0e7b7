"""The time that no implementation can beat: the operations of an image, at the rate of a large matrix product."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from hadis_profiler.offline.timing import time_batch
from torch.utils.flop_counter import FlopCounterMode

from bench_gpu.calls import plain_call
from bench_gpu.tiers import Subject
from bench_gpu.weights import random_pipeline, use_random_text

_SIDE, _SMALL_SIDE = 8192, 256
_PRODUCTS, _SECONDS = 16, 1.0


@dataclass(frozen=True)
class Flops:
    """Floating-point operations of an image."""

    per_step: float
    once: float
    """Those of the VAE."""

    def of(self, steps: int) -> float:
        """Return the operations of an image of so many steps."""
        return self.once + steps * self.per_step


def count_flops(subject: Subject, device: str, dtype: torch.dtype) -> Flops:
    """Return what torch counts in the pipeline of a tier as it is; raise whatever that raises."""
    pipeline = random_pipeline(subject.family, device, dtype)
    use_random_text(pipeline, subject.family, device, dtype)

    def count(steps: int) -> int:
        with FlopCounterMode(display=False) as counter:
            plain_call(pipeline, subject, steps)(1)
        return int(counter.get_total_flops())

    two, three = count(2), count(3)
    return Flops(three - two, two - 2 * (three - two))


def matmul_rate(device: str, dtype: torch.dtype) -> float:
    """Return the floating-point operations per second of a product of large matrices."""
    side = _SIDE if device == "cuda" else _SMALL_SIDE
    one, other = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    product = torch.empty_like(one)

    def multiply() -> None:
        for _ in range(_PRODUCTS):
            torch.mm(one, other, out=product)

    return 2.0 * side**3 * _PRODUCTS / time_batch(multiply, 1, _SECONDS, device).p50_s

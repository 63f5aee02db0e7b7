"""A tier, run in one way: how long its batches take, and what they need."""

from __future__ import annotations

import gc
import importlib
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from hadis.api.tier import Tier
from hadis_profiler.offline.timing import BatchTiming, time_batch
from hadis_worker.speed.apply import apply
from hadis_worker.speed.compiling import INDUCTOR
from hadis_worker.speed.quantization import quantization_configs

from bench_gpu.calls import Make, plain_call, worker_call
from bench_gpu.floor import Flops
from bench_gpu.limits import attempt
from bench_gpu.models import Family
from bench_gpu.tiers import PLAIN, Group, Subject, Ways
from bench_gpu.weights import random_pipeline, use_random_text


@dataclass(frozen=True)
class Bench:
    """Where and how tiers are measured."""

    device: str
    ways: Ways
    rate: float
    """Floating-point operations per second of a matrix product; see `floor.matmul_rate`."""
    row_s: float
    """Most seconds for a row, compiling included."""
    measure_s: float
    """Most seconds for its repetitions, of which there are two at least."""
    compiler: str = INDUCTOR

    @property
    def dtype(self) -> torch.dtype:
        """Of weights."""
        return dtype_of(self.device)


def dtype_of(device: str) -> torch.dtype:
    """Return the type of weights on a device, which is a worker's: CPUs have no fast half precision."""
    return torch.float32 if device == "cpu" else torch.bfloat16


@dataclass(frozen=True)
class Measured:
    """A batch of a tier with all its steps."""

    seconds: float
    first_s: float
    """How much longer the first batch took than the others: compiling, and choosing kernels."""
    memory_bytes: int
    energy_j: float | None
    """Of an image; None where the GPU does not tell."""
    vae_share: float
    floor_share: float | None
    """How much of the time the operations alone would take; None where they were not counted."""


Outcome = Measured | str
"""Or why there is no measurement."""


def run_group(
    group: Group, bench: Bench, flops: Flops | None, left_s: Callable[[], float]
) -> Iterator[tuple[int, Outcome]]:
    """Yield each batch size with what was measured of it, as far as `left_s` allows."""
    runner: _Runner | None = None

    def measured(batch: int) -> Measured:
        nonlocal runner
        runner = runner or _Runner(group, bench)
        return runner.measure(batch, flops)

    failed: int | None = None
    for batch in group.batches:
        if failed is not None:
            yield batch, f"left out, for batch {failed} did not run"
        elif (limit_s := min(bench.row_s, left_s())) > 0:
            outcome = attempt(partial(measured, batch), limit_s)
            failed = batch if isinstance(outcome, str) else None
            yield batch, outcome


def release(device: str) -> None:
    """Give back the memory of what is not used any more, and forget what was compiled."""
    gc.collect()
    if (dynamo := sys.modules.get("torch._dynamo")) is not None:
        dynamo.reset()
    if device == "cuda":
        torch.cuda.empty_cache()


class _Runner:
    """A pipeline on its device, made fast as its tier says."""

    def __init__(self, group: Group, bench: Bench) -> None:
        self._subject, self._bench = group.subject, bench
        family = group.subject.family
        tier = group.subject.tier(bench.ways.settings(group.way, family))
        pipeline = random_pipeline(family, bench.device, bench.dtype)
        use_random_text(pipeline, family, bench.device, bench.dtype)
        _quantize(tier, family, pipeline, bench.dtype)
        apply(tier, pipeline, bench.device, bench.compiler)
        self._vae = _VaeClock(pipeline.vae, bench.device)
        self._make: Make = (
            plain_call(pipeline, group.subject, group.subject.measured_steps)
            if group.way == PLAIN
            else worker_call(pipeline, tier, bench.device)
        )

    def measure(self, batch: int, flops: Flops | None) -> Measured:
        """Return what a batch takes; raise whatever the model raises."""
        began = time.perf_counter()
        self._make(batch)  # as images are in CPU memory when it returns, nothing runs any more
        first_s = time.perf_counter() - began
        timing = time_batch(partial(self._make, batch), batch, self._bench.measure_s, self._bench.device)
        return of_all_steps(self._subject, self._bench, timing, first_s, self._vae.seconds(timing.runs), flops)


def of_all_steps(
    subject: Subject, bench: Bench, timing: BatchTiming, first_s: float, vae_s: float, flops: Flops | None
) -> Measured:
    """Return what all steps take, where some were measured: the VAE once, and the rest in proportion."""
    seconds = vae_s + (timing.p50_s - vae_s) * subject.steps / subject.measured_steps
    energy_j = timing.energy_j and timing.energy_j / timing.batch * seconds / timing.p50_s
    return Measured(
        seconds,
        max(0.0, first_s - timing.p50_s),
        timing.memory_bytes,
        energy_j or None,
        vae_s / seconds,
        None if flops is None else flops.of(subject.steps) * timing.batch / bench.rate / seconds,
    )


def _quantize(tier: Tier, family: Family, pipeline: Any, dtype: torch.dtype) -> None:
    """Quantize weights that are there as loading does those that it reads; raise LoadError."""
    index = {family.denoiser_name: ["diffusers", family.denoiser.kind]}
    for name, config in quantization_configs(tier, index, (), dtype).items():
        importlib.import_module("torchao.quantization").quantize_(getattr(pipeline, name), config.quant_type)


class _VaeClock:
    """Times each call of a VAE's decoder."""

    def __init__(self, vae: Any, device: str) -> None:
        self._cuda = device == "cuda"
        self._calls: list[tuple[Any, Any]] = []
        decode = vae.decode

        def timed(*arguments: Any, **options: Any) -> Any:
            start = self._now()
            decoded = decode(*arguments, **options)
            self._calls.append((start, self._now()))
            return decoded

        vae.decode = timed

    def _now(self) -> Any:
        if not self._cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def seconds(self, calls: int) -> float:
        """Return the median of the last calls; they must have ended on the device."""
        took = [start.elapsed_time(end) / 1e3 if self._cuda else end - start for start, end in self._calls[-calls:]]
        return float(statistics.median(took))

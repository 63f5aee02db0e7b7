"""What a row gets of some GPUs: workers and batch sizes of both its tiers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Allocation:
    """Workers and batch sizes for a row, with the latencies that they give."""

    row: int
    gpus: int
    """GPUs in all."""
    light_count: int
    """Workers of the light tier: GPUs, or an endpoint's slots. `heavy_count` likewise."""
    heavy_count: int
    light_batch: int
    heavy_batch: int
    light_latency_s: float
    """Latency of a request that the light tier answers, at the attainment that is asked for."""
    heavy_latency_s: float
    """Latency of the slowest path, likewise."""

"""The worker's metrics for Prometheus, in base units."""

from __future__ import annotations

from collections.abc import Sequence

from hadis.wire import JobResult
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from hadis_worker.gpu import Gpu

_BUCKETS = (0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300)


class Metrics:
    """Batches, images, failures and the GPU."""

    def __init__(self, gpu: Gpu) -> None:
        """Make a registry of our own; the GPU is read when metrics are asked for."""
        self.registry = CollectorRegistry()
        self._images = Counter("hadis_worker_images", "Images made.", ["tier"], registry=self.registry)
        self._failures = Counter("hadis_worker_failures", "Images failed.", ["tier", "code"], registry=self.registry)
        self._service = Histogram(
            "hadis_worker_batch_seconds",
            "Time of a batch.",
            ["tier", "batch"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._no_memory = Gauge(
            "hadis_worker_out_of_memory", "Times that a batch did not fit since the start.", registry=self.registry
        )
        memory = Gauge("hadis_worker_gpu_memory_bytes", "GPU memory in use; NaN without one.", registry=self.registry)
        busy = Gauge("hadis_worker_gpu_utilization_ratio", "GPU time in use; NaN without one.", registry=self.registry)
        memory.set_function(lambda: _number(gpu.read().memory_bytes))
        busy.set_function(lambda: _number(gpu.read().utilization))

    def made(self, tier: str, results: Sequence[JobResult], out_of_memory_total: int) -> None:
        """Count a batch that ended."""
        self._service.labels(tier, str(len(results))).observe(results[0].service_s)
        self._no_memory.set(out_of_memory_total)
        for result in results:
            if result.error is None:
                self._images.labels(tier).inc()
            else:
                self._failures.labels(tier, result.error_code or "failed").inc()

    def text(self) -> bytes:
        """Return the exposition."""
        return generate_latest(self.registry)


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)

"""What a worker exports to Prometheus, under `hadis_worker_`."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from hadis_worker.gpu import GpuReading

BUCKETS = (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200)
"""Seconds: from one step of a small model to a batch of many steps of a large one."""


class WorkerMetrics:
    """The metrics of one worker, in a registry of its own."""

    def __init__(self, read: Callable[[], GpuReading]) -> None:
        """Take what reads the GPU, at each scrape."""
        self.registry = CollectorRegistry()
        self._read = read
        self.batches = Counter("hadis_worker_batches_total", "Batches that ended.", ["tier"], registry=self.registry)
        self.cancelled = Counter(
            "hadis_worker_cancelled_batches_total",
            "Batches that were stopped at a step because nobody waited for them any more.",
            ["tier"],
            registry=self.registry,
        )
        self.images = Counter(
            "hadis_worker_images_total",
            "Jobs that ended, by result: ok or an error code.",
            ["tier", "result"],
            registry=self.registry,
        )
        self.service = Histogram(
            "hadis_worker_service_seconds",
            "Time of a batch: images and confidences, without encoding.",
            ["tier", "batch"],
            buckets=BUCKETS,
            registry=self.registry,
        )
        self.encoding = Histogram(
            "hadis_worker_encode_seconds", "Time to encode a batch's images.", buckets=BUCKETS, registry=self.registry
        )
        self.out_of_memory = Counter(
            "hadis_worker_out_of_memory_total",
            "Batches, or parts of batches, that ran out of GPU memory.",
            ["tier"],
            registry=self.registry,
        )
        self._memory = Gauge(
            "hadis_worker_gpu_memory_bytes", "GPU memory in use; absent without a GPU.", ["gpu"], registry=self.registry
        )
        self._utilization = Gauge(
            "hadis_worker_gpu_utilization_ratio",
            "Share of time that the GPU was busy; absent without a GPU.",
            ["gpu"],
            registry=self.registry,
        )

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        reading = self._read()
        if reading.memory_bytes is not None:
            self._memory.labels("0").set(reading.memory_bytes)
        if reading.utilization is not None:
            self._utilization.labels("0").set(reading.utilization)
        return generate_latest(self.registry)

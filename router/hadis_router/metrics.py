"""The router's metrics for Prometheus, in base units; what is counted elsewhere is read when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

from hadis_router.dispatch import Dispatcher
from hadis_router.job import PATHS, Job

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 45, 60, 90, 120, 300)


class Metrics:
    """Counters of what came and how it ended."""

    def __init__(self) -> None:
        """Make a registry of our own, so that two routers in one process do not meet."""
        self.registry = CollectorRegistry()
        self.arrivals = Counter(
            "hadis_router_arrivals", "Images asked for, those refused included.", registry=self.registry
        )
        self._answers = Counter("hadis_router_answers", "Images answered.", ["path"], registry=self.registry)
        self._failures = Counter("hadis_router_failures", "Images not made.", ["code"], registry=self.registry)
        self._latency = Histogram(
            "hadis_router_latency_seconds", "From request to image.", ["path"], buckets=_BUCKETS, registry=self.registry
        )
        self._by_path = {path: (self._answers.labels(path), self._latency.labels(path)) for path in PATHS}
        self.arrivals_total = 0

    def arrived(self, count: int) -> None:
        """Count images asked for."""
        self.arrivals_total += count
        self.arrivals.inc(count)

    def ended(self, job: Job, how: str) -> None:
        """Count a job that ended."""
        if how in self._by_path:
            answers, latency = self._by_path[how]
            answers.inc()
            latency.observe(job.future.result().latency_s)
        else:
            self._failures.labels(how).inc()

    def refused(self, code: str) -> None:
        """Count an image that was not taken."""
        self._failures.labels(code).inc()

    def watch(self, dispatcher: Dispatcher, forecast_rps: Callable[[], float]) -> None:
        """Read queues, workers and plan from the dispatcher at each scrape."""
        self.registry.register(_Gauges(dispatcher, forecast_rps))

    def text(self) -> bytes:
        """Return the exposition."""
        return generate_latest(self.registry)


class _Gauges:
    def __init__(self, dispatcher: Dispatcher, forecast_rps: Callable[[], float]) -> None:
        self._dispatcher, self._forecast_rps = dispatcher, forecast_rps

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        dispatcher = self._dispatcher
        queues = GaugeMetricFamily("hadis_router_queue_jobs", "Waiting images.", labels=["tier"])
        busy = GaugeMetricFamily("hadis_router_busy_workers", "Workers that run a tier now.", labels=["tier"])
        queued_s = dispatcher.queued_s
        work = GaugeMetricFamily("hadis_router_queued_seconds", "GPU seconds of the work that waits.", labels=["tier"])
        for tier, waiting in dispatcher.queued.items():
            work.add_metric([tier], queued_s[tier])
            queues.add_metric([tier], waiting)
            busy.add_metric([tier], dispatcher.workers.running(tier))
        yield queues
        yield work
        yield busy
        yield GaugeMetricFamily("hadis_router_workers", "Workers known.", value=len(dispatcher.workers))
        yield GaugeMetricFamily("hadis_router_objective_seconds", "Latency objective.", value=dispatcher.slo_s)
        yield GaugeMetricFamily("hadis_router_forecast_rps", "Forecast demand.", value=self._forecast_rps())
        if plan := dispatcher.plan:
            yield GaugeMetricFamily("hadis_router_plan_generation", "Plan in force.", value=plan.generation)
            yield GaugeMetricFamily("hadis_router_plan_direct_ratio", "Its direct ratio.", value=plan.direct_ratio)
            yield GaugeMetricFamily(
                "hadis_router_plan_deferral_ratio", "Its deferral ratio.", value=plan.deferral_ratio
            )

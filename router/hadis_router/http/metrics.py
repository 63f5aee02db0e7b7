"""The router's metrics for Prometheus, in base units. What the dispatcher knows anyway is read at each scrape."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict

from hadis.api.tier import Tier
from hadis.planning.sizes import AUTO, size_name
from hadis.protocol.address import worker_name
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder

from hadis_router.dispatch.answer import PATHS, REPEATS, ServeError
from hadis_router.dispatch.dispatcher import Dispatcher
from hadis_router.dispatch.job import Job
from hadis_router.http.capabilities import all_sizes, resolved_size

GROUPS = "hadis_router_rollout"
_OTHER = "other"
_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 45, 60, 90, 120, 300)


class RouterMetrics:
    """Counters of images that were requested and of how they ended."""

    def __init__(self, tiers: Collection[Tier] = ()) -> None:
        """Use a registry of its own, so that two routers in one process do not share counters.

        Every size that the tiers make, and every tier, has its counter from the start: of one that is new, the first
        value says nothing.
        """
        self.registry = CollectorRegistry()
        arrivals = Counter(
            "hadis_router_arrivals",
            "Images requested, refused ones included; without retries, and without those answered by another "
            "request's image. By size: auto is each tier's first, other what no tier makes.",
            ["size"],
            registry=self.registry,
        )
        self._size_names = {size: size_name(resolved_size(size, tiers)) for size in (AUTO, *all_sizes(tiers))}
        self.arrivals_by_size = dict.fromkeys((*self._size_names.values(), _OTHER), 0)
        self._arrivals = {name: arrivals.labels(name) for name in self.arrivals_by_size}
        self._restricted = Counter(
            "hadis_router_restricted_arrivals",
            "Images requested that only some tiers may make, by those tiers: the client named one, prefers the "
            "plan's light or heavy one, or asks for what others cannot make.",
            ["tiers"],
            registry=self.registry,
        )
        self.restricted_arrivals: dict[str, int] = {}
        for tier in tiers:
            self.restricted(0, tier.name)
        self._answers = Counter(
            "hadis_router_answers",
            "Images answered; cached and coalesced: with that of a request like it.",
            ["path"],
            registry=self.registry,
        )
        self._failures = Counter(
            "hadis_router_failures",
            "Images without an answer: refused (429, 503), failed (other 5xx), invalid (other 4xx) or cancelled.",
            ["outcome", "code"],
            registry=self.registry,
        )
        self._forwarded = Counter(
            "hadis_router_forwarded", "Requests forwarded to the router that owns their queue.", registry=self.registry
        )
        self._latency = Histogram(
            "hadis_router_latency_seconds",
            "From request to image.",
            ["path"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._by_path = {path: (self._answers.labels(path), self._latency.labels(path)) for path in (*PATHS, *REPEATS)}

    @property
    def arrivals_total(self) -> int:
        """Images requested."""
        return sum(self.arrivals_by_size.values())

    def arrived(self, count: int, size: str) -> None:
        """Count images of a request, of the size that it asks for."""
        name = self._size_names.get(size, _OTHER)
        self.arrivals_by_size[name] += count
        self._arrivals[name].inc(count)

    def restricted(self, count: int, tiers: str) -> None:
        """Count images of a request that only some tiers may make, by these."""
        self.restricted_arrivals[tiers] = self.restricted_arrivals.get(tiers, 0) + count
        self._restricted.labels(tiers).inc(count)

    def forwarded(self) -> None:
        """Count a request that another router serves."""
        self._forwarded.inc()

    def ended(self, job: Job, how: str) -> None:
        """Count a job that ended, by its path, its error's code or "cancelled"."""
        if how in self._by_path:
            answers, latency = self._by_path[how]
            answers.inc()
            trace_id = job.trace.trace_id
            exemplar = None if trace_id is None else {"trace_id": trace_id}
            latency.observe(job.future.result().latency_s, exemplar)
        else:
            self._failures.labels(job.outcome, how).inc()

    def refused(self, error: ServeError, count: int) -> None:
        """Count images of a request that has no jobs."""
        self._failures.labels(error.outcome, error.code).inc(count)

    def watch(self, dispatcher: Dispatcher, forecast_rps: Callable[[], float], attainment: float) -> None:
        """Show the dispatcher's queues, workers and plan too, and the attainment that is asked for."""
        self.registry.register(_Gauges(dispatcher, forecast_rps, attainment))

    def text(self, accept: str = "") -> tuple[bytes, str]:
        """Return the exposition and its media type: OpenMetrics, which alone has exemplars, where `accept` names it."""
        encode, media_type = choose_encoder(accept)
        return encode(self.registry), media_type


class _Gauges:
    def __init__(self, dispatcher: Dispatcher, forecast_rps: Callable[[], float], attainment: float) -> None:
        self._dispatcher, self._forecast_rps, self._attainment = dispatcher, forecast_rps, attainment

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        dispatcher = self._dispatcher
        queues = GaugeMetricFamily("hadis_router_queue_jobs", "Images that wait.", labels=["tier"])
        work = GaugeMetricFamily("hadis_router_queued_seconds", "GPU seconds of the work that waits.", labels=["tier"])
        busy = GaugeMetricFamily("hadis_router_busy_workers", "Workers that run a batch of the tier.", labels=["tier"])
        queued_s = dispatcher.queued_s
        for tier, waiting in dispatcher.queued.items():
            queues.add_metric([tier], waiting)
            work.add_metric([tier], queued_s[tier])
            busy.add_metric([tier], dispatcher.workers.running(tier))
        yield from (queues, work, busy, self._objective(), *self._ratios(), self._groups())
        for name, text, value in self._values():
            yield GaugeMetricFamily(f"hadis_router_{name}", text, value=value)

    def _objective(self) -> Metric:
        """Return the counts that attainment is the ratio of; both are there from the start."""
        recent = self._dispatcher.recent
        counts = CounterMetricFamily(
            "hadis_router_objective_images",
            "Images answered, refused or failed, by whether one came within the objective.",
            labels=["in_time"],
        )
        counts.add_metric(["true"], recent.in_time_total)
        counts.add_metric(["false"], recent.objective_total - recent.in_time_total)
        return counts

    def _groups(self) -> Metric:
        """Return what is compared of an old and a new profile, while one is tried."""
        sums = CounterMetricFamily(
            GROUPS,
            "Sums over the requests that each profile decided on, while a new one is tried.",
            labels=["profile", "sum"],
        )
        for profile, counts in self._dispatcher.lanes.counts.items():
            for name, value in asdict(counts).items():
                sums.add_metric([profile, name], value)
        return sums

    def _ratios(self) -> Iterator[Metric]:
        """Yield how long batches take beside what is expected of them."""
        by_tier = GaugeMetricFamily(
            "hadis_router_batch_time_ratio", "Time of a batch divided by the profile's.", labels=["tier", "batch"]
        )
        for tier, by_batch in self._dispatcher.ratios.items():
            for batch, ratio in by_batch.items():
                by_tier.add_metric([tier, str(batch)], ratio)
        by_worker = GaugeMetricFamily(
            "hadis_router_worker_time_ratio", "Time of a worker's batches divided by its peers'.", labels=["worker"]
        )
        for url, ratio in self._dispatcher.worker_ratios.items():
            by_worker.add_metric([worker_name(url)], ratio)
        yield from (by_tier, by_worker)

    def _values(self) -> Iterator[tuple[str, str, float]]:
        """Yield name, help and value of each gauge without labels."""
        yield "workers", "Workers that are ready, busy or not.", len(self._dispatcher.workers)
        yield "held_jobs", "Images that wait for a first worker.", len(self._dispatcher.first_worker)
        yield (
            "hold_seconds",
            "How long images may wait for a first worker; 0 where they are refused.",
            self._dispatcher.first_worker.hold_s or 0,
        )
        yield "idle_seconds", "Seconds since the last request; 0 while one is under way.", self._dispatcher.idle_s
        yield "objective_seconds", "Latency objective.", self._dispatcher.slo_s
        yield "objective_attainment", "Share of the images that must come within the objective.", self._attainment
        yield "clients", "Clients with a request in the last minute.", self._dispatcher.clients
        yield "forecast_rps", "Forecast demand in requests per second.", self._forecast_rps()
        if plan := self._dispatcher.plan:
            yield "plan_generation", "Generation of the plan in force.", plan.generation
            yield "plan_direct_ratio", "Share of prompts that go straight to the heavy tier.", plan.direct_ratio
            yield "plan_deferral_ratio", "Share of light images that the heavy tier makes again.", plan.deferral_ratio
            if plan.joules_per_image is not None:
                yield "plan_image_joules", "Predicted energy per image, where it is known.", plan.joules_per_image
            if plan.money_per_image is not None:
                yield "plan_image_money", "Predicted money per image, where it is known.", plan.money_per_image

"""What the router's handlers share, and what it says of itself."""

from __future__ import annotations

import asyncio
import contextlib
import math
import secrets
import uuid
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import asdict
from typing import Any, Protocol

from hadis.api.fields import parse_duration_s
from hadis.api.resources import ServiceSpec
from hadis.planning.fleet import is_shared
from hadis.planning.pareto import Front
from hadis.planning.profile import Profile
from hadis.protocol.run_state import RunState

from hadis_router.dispatch import Dispatcher
from hadis_router.images import GenerateRequest, check_for_tiers, image_params
from hadis_router.job import Answer, Job, ServeError
from hadis_router.metrics import Metrics

_LONGEST_ID = 64


class Scorer(Protocol):
    """Scores the difficulty of a prompt."""

    def score_off_loop_if_long(self, prompt: str) -> Awaitable[float]:
        """Return the score; higher is harder."""


class Service:
    """What the handlers share: made at start, kept in `app.state`."""

    def __init__(
        self, profile: Profile, spec: ServiceSpec, dispatcher: Dispatcher, scorer: Scorer, metrics: Metrics,
        max_body_bytes: int, stopping: Callable[[], bool],
    ) -> None:  # fmt: skip
        """Keep the parts; `stopping` says whether the server was told to end."""
        self.profile, self.dispatcher, self.scorer, self.metrics = profile, dispatcher, scorer, metrics
        self.slo_s, self.attainment = parse_duration_s(spec.objective.latency), spec.objective.attainment
        self.max_body_bytes, self.stopping = max_body_bytes, stopping
        self.front = Front(profile, spec.objective, shared=is_shared(spec, profile))
        self.under_way: dict[str, list[Job]] = {}
        """Jobs of requests that came with an id, for those who ask how far they are."""
        self.state = RunState(plan=None, workers=())
        self.draining = False
        self.arrivals_before = (0.0, 0)

    def take_state(self, state: RunState) -> None:
        """Follow what the source of plans and workers says."""
        self.state = state
        self.dispatcher.set_workers(state.workers)
        if state.plan is not None and state.plan != self.dispatcher.plan:
            self.dispatcher.set_plan(state.plan)

    def why_not_ready(self) -> str | None:
        """Return why requests cannot be served now, or None."""
        if self.draining:
            return "stopping"
        if self.dispatcher.plan is None:
            return "no plan yet"
        return None if len(self.dispatcher.workers) else "no worker is ready"

    async def jobs(self, request: GenerateRequest) -> list[Job]:
        """Return the jobs of a request; raise ServeError for what cannot be made."""
        tiers, plan = self.profile.tiers, self.dispatcher.plan
        forced = None if request.model == "auto" else request.model
        if forced is not None and forced not in tiers:
            known = ", ".join(["auto", *tiers])
            raise ServeError(404, "model_not_found", f"there is no model {forced!r}; there are {known}", param="model")
        if forced is not None:
            served = [tiers[forced]]
        else:
            served = [tiers[name] for name in dict.fromkeys((plan.light, plan.heavy))] if plan else list(tiers.values())
        check_for_tiers(request, served, forced is not None)
        difficulty = None if forced else await self.scorer.score_off_loop_if_long(request.prompt)
        loop, seed = asyncio.get_running_loop(), request.seed
        now = loop.time()
        if seed is None:
            seed = secrets.randbits(63)
        return [
            Job(
                id=uuid.uuid4().hex,
                params=image_params(request, seed, i),
                arrived=now,
                deadline=now + self.slo_s,
                future=loop.create_future(),
                forced_tier=forced,
                wanted=request.wanted,
                difficulty=difficulty,
            )
            for i in range(request.n)
        ]

    @contextlib.contextmanager
    def followed(self, request_id: str | None, jobs: list[Job]) -> Iterator[None]:
        """Let others ask by the request's id, if it has one, how far its jobs are."""
        known = request_id is not None and 0 < len(request_id) <= _LONGEST_ID and request_id not in self.under_way
        if not known or request_id is None:
            yield
            return
        self.under_way[request_id] = jobs
        try:
            yield
        finally:
            del self.under_way[request_id]

    async def make(self, jobs: list[Job], gone: asyncio.Task[None]) -> list[Answer]:
        """Have all jobs made, or none: the first that fails, or a client that goes away, cancels the others."""
        everything = asyncio.gather(*(job.future for job in jobs))
        everything.add_done_callback(lambda f: f.cancelled() or f.exception())  # seen, also when nobody awaits it
        try:
            for job in jobs:
                self._submit(job)
            await asyncio.wait((everything, gone), return_when=asyncio.FIRST_COMPLETED)
            if not everything.done():
                raise ServeError(499, "client_gone", "the client went away")
            return everything.result()
        finally:
            for job in jobs:
                self.dispatcher.cancel(job)

    def _submit(self, job: Job) -> None:
        try:
            self.dispatcher.submit(job)
        except ServeError as error:
            self.metrics.refused(error.code)
            raise


def status_document(service: Service) -> dict[str, Any]:
    """Return the status as JSON data."""
    dispatcher, now = service.dispatcher, asyncio.get_running_loop().time()
    p50, p95 = dispatcher.recent.latency_s(now, 0.5, 0.95)
    plan = dispatcher.plan
    gpu_s = service.front.gpu_s(plan) if plan else math.inf
    difficulty, confidence = dispatcher.cascade.thresholds(plan) if plan else (None, None)
    return {
        "slo_s": service.slo_s,
        "asked_attainment": service.attainment,
        "attainment": dispatcher.recent.attainment(now),
        "latency": {"p50_s": p50, "p95_s": p95},
        "arrivals_total": service.metrics.arrivals_total,
        "observed_rps": service.state.observed_rps,
        "forecast_rps": service.state.forecast_rps,
        "plan": asdict(plan) if plan else None,
        "plan_gpu_s": gpu_s if math.isfinite(gpu_s) else None,
        "thresholds": {"difficulty": difficulty, "confidence": confidence},
        "queues": dispatcher.queued,
        "queued_s": dispatcher.queued_s,
        "workers": [{"url": w.url, "tiers": w.tiers, "busy": bool(w.tier), "tier": w.tier} for w in dispatcher.workers],
        "answers": dict(dispatcher.recent.answers),
        "changes": [asdict(change) for change in service.state.changes],
    }

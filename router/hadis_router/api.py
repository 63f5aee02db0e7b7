"""The HTTP surface: images, models, health, metrics and status."""

from __future__ import annotations

import asyncio
import secrets
import uuid
from collections.abc import Awaitable
from dataclasses import asdict
from typing import Any, Protocol

from fastapi import APIRouter, Request, Response
from hadis.profile import Profile
from hadis.runfile import RunState
from starlette.responses import JSONResponse

from hadis_router.dispatch import Dispatcher
from hadis_router.images import (
    GenerateRequest,
    answer_body,
    answer_headers,
    check_for_tiers,
    image_params,
    read_request,
)
from hadis_router.job import Answer, Job, ServeError
from hadis_router.metrics import CONTENT_TYPE, Metrics

router = APIRouter()
_LARGE_BYTES = 512 * 1024
"""Images larger than this together are put into JSON beside the loop: base64 takes about 1 ms for a megabyte."""


class Scorer(Protocol):
    """Scores the difficulty of a prompt."""

    def score_off_loop_if_long(self, prompt: str) -> Awaitable[float]:
        """Return the score; higher is harder."""


class Service:
    """What the handlers share: made at start, kept in `app.state`."""

    def __init__(
        self, profile: Profile, dispatcher: Dispatcher, scorer: Scorer, metrics: Metrics,
        slo_s: float, attainment: float, max_body_bytes: int,
    ) -> None:  # fmt: skip
        """Keep the parts."""
        self.profile, self.dispatcher, self.scorer, self.metrics = profile, dispatcher, scorer, metrics
        self.slo_s, self.attainment, self.max_body_bytes = slo_s, attainment, max_body_bytes
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


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


async def _read_body(request: Request, limit: int) -> bytes:
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind != "application/json":
        raise ServeError(415, "invalid_content_type", f"content-type is {kind!r}; send application/json")
    parts, total = [], 0
    async for part in request.stream():
        total += len(part)
        if total > limit:
            raise ServeError(413, "body_too_large", f"the body is larger than {limit} bytes")
        parts.append(part)
    return b"".join(parts)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


_SCHEMA = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": GenerateRequest.model_json_schema()}},
    }
}
_ERRORS: dict[int | str, dict[str, Any]] = {
    code: {"description": text}
    for code, text in (
        (400, "Something in the request is wrong; the message says what"), (404, "No such model"),
        (413, "The body is too large"), (415, "The body is not declared as JSON"),
        (429, "The queue is full or too long; Retry-After says when to come again"), (500, "The image failed"),
        (503, "No worker is ready"), (504, "The deadline passed"),
    )
}  # fmt: skip


@router.post("/v1/images/generations", openapi_extra=_SCHEMA, responses=_ERRORS)
async def generate(request: Request) -> Response:
    """Make images from a prompt (OpenAI's images API)."""
    service = _service(request)
    if service.draining:
        raise ServeError(503, "stopping", "this router is stopping; try again", 1)
    asked = read_request(await _read_body(request, service.max_body_bytes))
    service.metrics.arrived(asked.n)
    jobs = await service.jobs(asked)
    gone = asyncio.ensure_future(_gone(request))
    try:
        answers = await service.make(jobs, gone)
    finally:
        gone.cancel()
    if sum(len(answer.image) for answer in answers) > _LARGE_BYTES:
        body = await asyncio.to_thread(answer_body, asked, answers)
    else:
        body = answer_body(asked, answers)
    return Response(body, headers=answer_headers(answers[0]), media_type="application/json")


@router.get("/v1/models")
async def models(request: Request) -> JSONResponse:
    """List `auto` and the tiers."""
    names = ["auto", *_service(request).profile.tiers]
    data = [{"id": name, "object": "model", "created": 0, "owned_by": "hadis"} for name in names]
    return JSONResponse({"object": "list", "data": data})


@router.get("/healthz")
async def healthz() -> JSONResponse:
    """Say that the process lives."""
    return JSONResponse({"status": "ok"})


@router.get("/readyz", responses={503: {"description": "Not ready; the body says why"}})
async def readyz(request: Request) -> JSONResponse:
    """Say whether requests can be served."""
    why = _service(request).why_not_ready()
    return JSONResponse({"status": why or "ok"}, 503 if why else 200)


@router.get("/metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """Metrics for Prometheus."""
    return Response(_service(request).metrics.text(), media_type=CONTENT_TYPE)


@router.get("/v1/hadis/status")
async def status(request: Request) -> JSONResponse:
    """Say what the plan is, what waits, who works, and how the objective is kept."""
    return JSONResponse(status_document(_service(request)))


def status_document(service: Service) -> dict[str, Any]:
    """Return the status as JSON data."""
    dispatcher, now = service.dispatcher, asyncio.get_running_loop().time()
    p50, p95 = dispatcher.recent.latency_s(now, 0.5, 0.95)
    plan = dispatcher.plan
    difficulty, confidence = dispatcher.cascade.thresholds(plan) if plan else (None, None)
    return {
        "slo_s": service.slo_s,
        "asked_attainment": service.attainment,
        "attainment": dispatcher.recent.attainment(now),
        "latency": {"p50_s": p50, "p95_s": p95},
        "arrivals_total": service.metrics.arrivals_total,
        "observed_rps": service.state.observed_rps,
        "forecast_rps": service.state.forecast_rps,
        "plan": plan.to_dict() if plan else None,
        "thresholds": {"difficulty": difficulty, "confidence": confidence},
        "queues": dispatcher.queued,
        "queued_s": dispatcher.queued_s,
        "workers": [{"url": w.url, "tiers": w.tiers, "busy": bool(w.tier), "tier": w.tier} for w in dispatcher.workers],
        "answers": dict(dispatcher.recent.answers),
        "changes": [asdict(change) for change in service.state.changes],
    }

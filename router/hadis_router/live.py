"""What the page follows: the status as it moves, how far a request is, and the Pareto front. Server-sent events."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import JSONResponse, StreamingResponse

from hadis_router import sse
from hadis_router.api import service_of
from hadis_router.job import ServeError
from hadis_router.service import Service, status_document

router = APIRouter(include_in_schema=False)
_EVERY_S, _PROGRESS_EVERY_S = 1.0, 0.25
_KEPT = 600
_MOST_LISTENERS = 100
_UNKNOWN_S = 5.0
"""How long a request's id may be unknown: its body may still be on the way."""


class History:
    """The last minutes, a point a second, for pages that are opened later."""

    def __init__(self) -> None:
        """Start empty."""
        self.points: deque[dict[str, Any]] = deque(maxlen=_KEPT)
        self.listeners = 0

    async def keep(self, service: Service) -> None:
        """Take a point every second, for ever."""
        while True:
            self.points.append(point_of(status_document(service)))
            await asyncio.sleep(_EVERY_S)


def point_of(status: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a status is drawn over time."""
    plan = status["plan"] or {}
    return {
        "t": round(time.time(), 1),
        "observed": status["observed_rps"],
        "forecast": status["forecast_rps"],
        "direct": plan.get("direct_ratio"),
        "deferral": plan.get("deferral_ratio"),
        "quality": plan.get("quality"),
        "p50": status["latency"]["p50_s"],
        "p95": status["latency"]["p95_s"],
        "queued": sum(status["queues"].values()),
        "answers": status["answers"],
    }


@router.get("/v1/hadis/events")
async def events(request: Request) -> StreamingResponse:
    """Send the last minutes once and the status every second."""
    service, history = service_of(request), request.app.state.history
    if history.listeners >= _MOST_LISTENERS:
        raise ServeError(503, "too_many_listeners", f"{_MOST_LISTENERS} pages listen already", 10)

    async def stream() -> AsyncIterator[bytes]:
        history.listeners += 1
        try:
            yield sse.event("history", list(history.points))
            while not service.stopping():
                status = status_document(service)
                yield sse.event("status", status | {"point": point_of(status)})
                await asyncio.sleep(_EVERY_S)
        finally:
            history.listeners -= 1

    return sse.response(stream())


@router.get("/v1/hadis/progress/{request_id}")
async def progress(request: Request, request_id: str) -> StreamingResponse:
    """Send how far the request is that came with this X-Request-Id, until it is answered."""
    service = service_of(request)

    async def stream() -> AsyncIterator[bytes]:
        waited = 0.0
        while request_id not in service.under_way and waited < _UNKNOWN_S and not service.stopping():
            waited += _PROGRESS_EVERY_S
            await asyncio.sleep(_PROGRESS_EVERY_S)
        while (jobs := service.under_way.get(request_id)) and not service.stopping():
            job = next((job for job in jobs if not job.done and job.tier), None)
            if job is not None:
                ahead, seconds = service.dispatcher.progress(job)
                stage = "running" if job.running else "queued"
                told = {"stage": stage, "tier": job.tier, "ahead": ahead, "seconds": seconds, "deferred": job.deferred}
                yield sse.event("progress", told)
            await asyncio.sleep(_PROGRESS_EVERY_S)
        yield sse.event("end", {})

    return sse.response(stream())


@router.get("/v1/hadis/front")
async def front(request: Request) -> JSONResponse:
    """Return the points of the front, and the range of difficulties."""
    service = service_of(request)
    spec = service.profile.resource.spec
    return JSONResponse({
        "points": [asdict(point) for point in service.front.points],
        "tiers": [{"name": tier.name, "size": tier.size} for tier in spec.tiers],
        "difficulty": [spec.difficulty.quantiles[0], spec.difficulty.quantiles[-1]],
    })  # fmt: skip


@router.get("/v1/hadis/front/{index}")
async def need(
    request: Request, index: int, demand_rps: Annotated[float, Query(ge=0, le=1e6, allow_inf_nan=False)]
) -> JSONResponse:
    """Return how many GPUs a point of the front needs at a demand."""
    found = service_of(request).front
    if not 0 <= index < len(found.points):
        raise ServeError(404, "not_found", f"the front has {len(found.points)} points", param="index")
    gpus = await asyncio.to_thread(found.need, found.points[index], demand_rps)
    return JSONResponse({"gpus": gpus})

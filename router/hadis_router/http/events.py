"""Server-sent events for the page: the status every second, and the progress of one request."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator
from typing import Any

from fastapi import APIRouter, Request, Response
from hadis.protocol.router_status import RouterStatus

from hadis_router.dispatch import refusals
from hadis_router.http import sse
from hadis_router.http.access import visitor_of
from hadis_router.http.api import gateway_of
from hadis_router.http.entrance import check_unguessable
from hadis_router.http.forwarding import forward_reading
from hadis_router.http.gateway import Gateway
from hadis_router.http.progress import job_under_way, jobs_shown, progress_of
from hadis_router.http.status import router_status

router = APIRouter(include_in_schema=False)
_STATUS_EVERY_S, _PROGRESS_EVERY_S = 1.0, 0.25
_HISTORY_POINTS = 600
_MOST_LISTENERS = 100
_UNKNOWN_S = 5.0
"""How long a request's id may be unknown: its body may still be on the way."""


class History:
    """The last ten minutes, one point per second, for pages that are opened later."""

    def __init__(self) -> None:
        """Start empty."""
        self.points: deque[dict[str, Any]] = deque(maxlen=_HISTORY_POINTS)
        self.listeners = 0

    def enter(self) -> None:
        """Count one more listener; raise ServeError where there are too many."""
        if self.listeners >= _MOST_LISTENERS:
            raise refusals.too_many_listeners(_MOST_LISTENERS)
        self.listeners += 1

    def leave(self) -> None:
        """Count one listener less."""
        self.listeners -= 1

    async def keep(self, gateway: Gateway) -> None:
        """Add a point every second, for ever."""
        while True:
            self.points.append(point_of(router_status(gateway)))
            await asyncio.sleep(_STATUS_EVERY_S)


def point_of(status: RouterStatus) -> dict[str, Any]:
    """Return the part of a status that is drawn over time."""
    plan = status.plan
    return {
        "t": round(time.time(), 1),
        "observed": status.observed_rps,
        "forecast": status.forecast_rps,
        "direct": plan and plan.direct_ratio,
        "deferral": plan and plan.deferral_ratio,
        "quality": plan and plan.quality,
        "p50": status.latency.p50_s,
        "p95": status.latency.p95_s,
        "queued": sum(status.queues.values()),
        "answers": status.answers,
        "unanswered": {outcome: sum(counts.values()) for outcome, counts in status.unanswered.items()},
    }


@router.get("/v1/hadis/events")
async def events(request: Request) -> Response:
    """Send the history once, then the status every second."""
    gateway, history = gateway_of(request), request.app.state.history
    if (elsewhere := await forward_reading(gateway, request)) is not None:
        return elsewhere
    history.enter()

    async def stream() -> AsyncGenerator[bytes]:
        yield sse.event("history", list(history.points))
        while not gateway.stopping() and gateway.peers.only_owner is None:
            status = router_status(gateway)
            yield sse.event("status", status.model_dump(mode="json", by_alias=True) | {"point": point_of(status)})
            await asyncio.sleep(_STATUS_EVERY_S)

    return sse.response(stream(), history.leave)


@router.get("/v1/hadis/progress/{request_id}")
async def progress(request: Request, request_id: str) -> Response:
    """Send how far the request with this X-Request-Id is, until it is answered."""
    gateway, visitor = gateway_of(request), visitor_of(request)
    if gateway.access.keys is None:
        check_unguessable(request_id)
    if (elsewhere := await forward_reading(gateway, request, request_id)) is not None:
        return elsewhere
    history: History = request.app.state.history
    history.enter()

    async def stream() -> AsyncGenerator[bytes]:
        waited = 0.0
        while not jobs_shown(gateway, request_id, visitor) and waited < _UNKNOWN_S and not gateway.stopping():
            waited += _PROGRESS_EVERY_S
            await asyncio.sleep(_PROGRESS_EVERY_S)
        while (jobs := jobs_shown(gateway, request_id, visitor)) and not gateway.stopping():
            if (job := job_under_way(jobs)) is not None:
                yield sse.event("progress", progress_of(gateway, job))
            await asyncio.sleep(_PROGRESS_EVERY_S)
        yield sse.event("end", {})

    return sse.response(stream(), history.leave)

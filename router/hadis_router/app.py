"""The router as an application: made from settings, started and stopped by its lifespan."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable

from fastapi import FastAPI
from hadis.api.fields import parse_duration_s
from hadis.api.manifest import Manifest
from hadis.planning.profile import Profile
from hadis.protocol.run_state import RunState

from hadis_router import api, errors, live, page
from hadis_router.dispatch import Dispatcher, Transport
from hadis_router.metrics import Metrics
from hadis_router.service import Scorer, Service
from hadis_router.worker_client import HttpTransport

log = logging.getLogger(__name__)


def create_app(
    manifest: Manifest,
    states: Callable[[], AsyncIterator[RunState]],
    scorer: Scorer,
    transport: Transport | None = None,
    max_body_bytes: int = 1_000_000,
    with_page: bool = True,
    stopping: Callable[[], bool] = lambda: False,
) -> FastAPI:
    """Return the application; `states` gives plans and workers, `transport` is HTTP if left out."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        http = HttpTransport()
        spec, profile, metrics = manifest.service.spec, Profile(manifest.profile), Metrics()
        slo_s = parse_duration_s(spec.objective.latency)
        dispatcher = Dispatcher(
            profile, transport or http, slo_s=slo_s, queue_limit=spec.queue.limit, on_done=metrics.ended
        )  # fmt: skip
        service = Service(profile, spec, dispatcher, scorer, metrics, max_body_bytes, stopping)
        metrics.watch(dispatcher, lambda: service.state.forecast_rps)
        app.state.service = service
        app.state.history = live.History()
        tasks = [asyncio.create_task(_follow(service, states)), asyncio.create_task(app.state.history.keep(service))]
        yield
        service.draining = True
        for task in tasks:
            task.cancel()
        await dispatcher.drain()
        await http.close()

    app = FastAPI(title="HADIS router", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.include_router(api.router)
    app.include_router(live.router)
    if with_page:
        page.install(app)
    errors.install(app)
    return app


async def _follow(service: Service, states: Callable[[], AsyncIterator[RunState]]) -> None:
    while True:
        try:
            async for state in states():
                service.take_state(state)
        except Exception:
            log.exception("the source of plans failed; it is asked again")
        await asyncio.sleep(1)

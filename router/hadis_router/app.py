"""The router as an application: made from settings, started and stopped by its lifespan."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import ChainMap
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import FastAPI
from hadis.api.fields import parse_duration_s
from hadis.api.manifest import Manifest
from hadis.planning.profile import Profile
from hadis.protocol.run_state import RunState
from hadis.protocol.tracing import end_traces

from hadis_router.dispatch.dispatcher import Dispatcher
from hadis_router.dispatch.job import Job
from hadis_router.dispatch.peers import Peers
from hadis_router.dispatch.trace import JobTrace
from hadis_router.dispatch.transport import Transport
from hadis_router.dispatch.worker_client import HttpTransport
from hadis_router.http import (
    api,
    cors,
    edits,
    errors,
    events,
    key_description,
    pareto_front,
    prompt_routes,
    static_page,
)
from hadis_router.http.access import AccessControl
from hadis_router.http.entrance import Entrance
from hadis_router.http.front_door import FrontDoor
from hadis_router.http.gateway import Gateway
from hadis_router.http.image_bodies import MOST_BYTES, MOST_HELD_BYTES, ImageBodies
from hadis_router.http.jobs import routes as job_routes
from hadis_router.http.jobs.service import Jobs
from hadis_router.http.jobs.settings import JobSettings
from hadis_router.http.keys import KeyRing
from hadis_router.http.links import routes as link_routes
from hadis_router.http.links.public_url import SubPath
from hadis_router.http.links.service import links_of
from hadis_router.http.links.settings import LinkSettings
from hadis_router.http.metrics import RouterMetrics
from hadis_router.http.prompt_sample import PromptSample
from hadis_router.http.quality_watch import QualityWatch
from hadis_router.http.reported import follow_abilities, leaves_open
from hadis_router.http.scorers import PromptScorer
from hadis_router.http.store_metrics import StoreMetrics

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

log = logging.getLogger(__name__)

_RETRY_S = 1.0


def create_app(
    manifest: Manifest,
    states: Callable[[], AsyncIterator[RunState]],
    scorer: PromptScorer,
    transport: Transport | None = None,
    max_body_bytes: int = 1_000_000,
    max_image_body_bytes: int = MOST_BYTES,
    max_image_bytes_held: int = MOST_HELD_BYTES,
    with_page: bool = True,
    stopping: Callable[[], bool] = lambda: False,
    own_url: str | None = None,
    links: LinkSettings | None = None,
    jobs: JobSettings | None = None,
    keys: KeyRing | None = None,
    secret: str | None = None,
    traces: TracerProvider | None = None,
    prompt_file: Path | None = None,
) -> FastAPI:
    """Return the application; `states` gives plans and workers, `transport` is HTTP if left out.

    `own_url` is how other routers of the service reach this one, if there may be others; `keys` are those of the
    clients, if only they may come in; `secret` is what the parts of the service know each other by; `traces` takes
    spans, if traces are on, and is shut down at the end. `prompt_file` is where prompts that are kept outlive the
    router.
    """

    links = links or LinkSettings()

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        http, access = HttpTransport(secret), AccessControl(manifest.service.spec.access, keys, secret)
        gateway = _gateway(manifest, scorer, transport or http, max_body_bytes, stopping, own_url, access, secret)
        if traces is not None:
            gateway.job_maker.new_trace = _job_spans(traces)
        gateway.prompts = PromptSample(manifest.service.spec.prompt_sample, prompt_file)
        app.state.links = links_of(links, own_url)
        app.state.gateway, app.state.history = gateway, events.History()
        app.state.image_bodies = ImageBodies(max_image_body_bytes, max_image_bytes_held)
        app.state.jobs = Jobs(gateway, app.state.links, jobs or JobSettings(), app.state.image_bodies)
        stores = {
            "image": app.state.links.counts,
            "job": app.state.jobs.counts,
            "answer": gateway.repeats.counts,
        }
        gateway.metrics.registry.register(StoreMetrics(stores, app.state.jobs.webhooks))
        loops = [
            _follow(gateway, states),
            app.state.history.keep(gateway),
            app.state.jobs.keep(),
            gateway.watch.keep(gateway.dispatcher),
            gateway.prompts.keep(),
        ]
        if keys:
            loops.append(keys.follow())
        if transport is None and any(map(leaves_open, gateway.profile.tiers.values())):
            loops.append(follow_abilities(gateway.worker_urls, http.status, gateway.models.report))
        tasks = [asyncio.create_task(loop) for loop in loops]
        yield
        gateway.draining = True
        for task in tasks:
            task.cancel()
        await asyncio.to_thread(gateway.prompts.save)
        await app.state.jobs.stop()
        await gateway.dispatcher.drain()
        await gateway.peer_client.close()
        await http.close()
        if traces is not None:
            await end_traces(traces)

    app = FastAPI(
        title="HADIS router",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # the router's own say what it does
    )
    for room in (api, edits, events, pareto_front, prompt_routes, link_routes, job_routes):
        app.include_router(room.router)
    if keys:
        key_description.install(app)
    if with_page:
        static_page.install(app)
    errors.install(app)
    # The last one is the outermost: refusals at the door have ids, and pages of other origins may read them.
    app.add_middleware(FrontDoor)
    if traces is not None:
        _trace_requests(app, traces)
    if links.root_path:
        app.add_middleware(SubPath, root_path=links.root_path)
    if origins := manifest.service.spec.api.cors_origins:
        cors.install(app, origins)
    app.add_middleware(Entrance)
    return app


def _job_spans(traces: TracerProvider) -> Callable[[float], JobTrace]:
    from hadis_router.http.tracing import job_spans  # it imports OpenTelemetry

    return job_spans(traces)


def _trace_requests(app: FastAPI, traces: TracerProvider) -> None:
    from hadis_router.http.tracing import RequestSpans

    app.add_middleware(RequestSpans, provider=traces)


def _gateway(
    manifest: Manifest,
    scorer: PromptScorer,
    transport: Transport,
    max_body_bytes: int,
    stopping: Callable[[], bool],
    own_url: str | None,
    access: AccessControl,
    secret: str | None,
) -> Gateway:
    spec, profile = manifest.service.spec, Profile(manifest.profile)
    metrics, slo_s = RouterMetrics(profile.tiers.values()), parse_duration_s(spec.objective.latency)
    watch = QualityWatch(spec.quality_watch, profile, slo_s)

    def ended(job: Job, how: str) -> None:
        metrics.ended(job, how)
        watch.ended(job, how, dispatcher.plan)

    dispatcher = Dispatcher(
        profile,
        transport,
        slo_s=slo_s,
        queue_limit=spec.queue.limit,
        first_image_s=spec.first_image_s,
        weights=ChainMap(access.keys.weights if access.keys else {}, dict(spec.queue.weights)),
        on_done=ended,
    )
    gateway = Gateway(
        profile,
        spec,
        dispatcher,
        scorer,
        metrics,
        max_body_bytes,
        stopping,
        Peers(own_url, profile.slots),
        access,
        watch,
        secret,
    )
    metrics.registry.register(watch)
    metrics.watch(dispatcher, lambda: gateway.state.forecast_rps, gateway.attainment)
    return gateway


async def _follow(gateway: Gateway, states: Callable[[], AsyncIterator[RunState]]) -> None:
    """Follow the source of plans and workers for as long as the router runs, whatever happens to the source."""
    while True:
        try:
            async for state in states():
                gateway.take_state(state)
        except Exception:
            log.exception("the source of plans and workers failed; trying again in %g s", _RETRY_S)
        await asyncio.sleep(_RETRY_S)

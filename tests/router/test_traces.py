"""Traces of a request through router and worker: which spans there are, below which, and what they say."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from unittest.mock import AsyncMock

import httpx
import pytest
import uvicorn
from documents import profile_document
from fake_workers import FakeWorkers, make_dispatcher, make_job, make_plan
from fastapi import FastAPI
from hadis.api.resources import CascadeProfile
from hadis.planning.profile import Profile
from hadis.protocol.run_state import RunState, WorkerAddress
from hadis_router.app import create_app
from hadis_router.dispatch.job import Job
from hadis_router.dispatch.transport import Transport, WorkerGone
from hadis_router.http.tracing import JobSpans, RequestSpans
from hadis_worker import app as worker_app
from hadis_worker.remote_engine import RemoteEngine
from hadis_worker.service import WorkerService
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import set_span_in_context
from PIL import Image
from stand_in import StandIn
from test_api import PLAN, Instant, LengthScorer, make_manifest
from test_forwarding import Server, running
from virtual import virtual

PATH = "/v1/images/generations"
PROMPT = "a-prompt-that-nobody-else-may-read"
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
ENVIRONMENT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}


class Spans:
    """A provider whose spans are kept."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    @property
    def all(self) -> tuple[ReadableSpan, ...]:
        """Those that ended, in order."""
        return self._exporter.get_finished_spans()

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.all if span.name == name]


class Doubtful:
    """Finds no image good enough."""

    def confidence(self, images: Sequence[Image.Image], prompts: Sequence[str], tier: str) -> list[float]:
        return [0.25] * len(images)


def parent_of(span: ReadableSpan) -> str | None:
    return None if span.parent is None else f"{span.parent.span_id:016x}"


def id_of(span: ReadableSpan) -> str:
    context = span.get_span_context()
    assert context is not None
    return f"{context.span_id:016x}"


def remote_profile() -> Profile:
    document = profile_document()
    for tier in document["spec"]["tiers"]:
        tier |= {"remote": {"url": "http://engine/v1", "slots": 1}, "tunable": False}
    return Profile(CascadeProfile.read(document))


@asynccontextmanager
async def worker_of(profile: Profile, spans: Spans) -> AsyncIterator[str]:
    """Yield the URL of a worker that is ready."""
    engine = RemoteEngine(tuple(profile.tiers.values()), judge=Doubtful(), transport=httpx.ASGITransport(StandIn().app))
    worker = WorkerService(tuple(profile.tiers), lambda: engine, 1, lambda: None)
    listening = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    server = Server(uvicorn.Config(worker_app.create_app(worker, traces=spans.provider), log_level="error"))
    serving = asyncio.create_task(server.serve([listening]))
    async with httpx.AsyncClient() as client, asyncio.timeout(20):
        while (await client.get(f"{url}/readyz")).status_code != 200:  # noqa: ASYNC110 (as a probe does)
            await asyncio.sleep(0.005)
    try:
        yield url
    finally:
        server.should_exit = True
        await serving


def router_of(profile: Profile, spans: Spans, transport: Transport | None, *workers: str) -> FastAPI:
    async def states() -> AsyncIterator[RunState]:
        addresses = tuple(WorkerAddress(url, ("light", "heavy")) for url in workers)
        yield RunState(replace(PLAN, deferral_ratio=1.0), addresses)
        await asyncio.Event().wait()

    return create_app(make_manifest(profile), states, LengthScorer(), transport, traces=spans.provider)


@asynccontextmanager
async def client_of(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with app.router.lifespan_context(app):
        await asyncio.sleep(0)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://router") as client:
            yield client


async def test_of_an_error_the_trace_has_the_type_alone_for_its_words_may_hold_a_prompt() -> None:
    spans = Spans()

    async def fails(scope: object, receive: object, send: object) -> None:
        raise KeyError(PROMPT)

    scope = {"type": "http", "method": "POST", "path": PATH, "headers": []}
    with pytest.raises(KeyError):
        await RequestSpans(fails, spans.provider)(scope, AsyncMock(), AsyncMock())
    (request,) = spans.all
    assert request.status.description == "KeyError"
    assert PROMPT not in request.to_json()


async def test_a_deferred_image_has_its_way_through_router_and_worker_in_its_clients_trace() -> None:
    profile, spans, of_worker = remote_profile(), Spans(), Spans()
    async with worker_of(profile, of_worker) as url, client_of(router_of(profile, spans, None, url)) as client:
        headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "x-request-id": "mine"}
        answer = await client.post(PATH, json={"prompt": PROMPT}, headers=headers)
        assert (answer.status_code, answer.headers["x-hadis-path"]) == (200, "deferred")
        scraped = await client.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
        plain = await client.get("/metrics")
    (request,) = spans.named(f"POST {PATH}")
    assert parent_of(request) == PARENT
    assert request.attributes is not None
    assert (request.attributes["http.response.status_code"], request.attributes["hadis.request_id"]) == (200, "mine")
    of_job = [span for span in spans.all if span is not request]
    assert [span.name for span in of_job] == ["admission", "queue", "light", "queue", "heavy"]
    assert {parent_of(span) for span in of_job} == {id_of(request)}
    light, heavy = spans.named("light")[0], spans.named("heavy")[0]
    assert light.attributes is not None and heavy.attributes is not None
    shown = [(s["hadis.tier"], s["hadis.batch_size"], s["hadis.attempt"]) for s in (light.attributes, heavy.attributes)]
    assert shown == [("light", 1, 1), ("heavy", 1, 2)]
    assert light.attributes["hadis.confidence"] == 0.25
    first, second = of_worker.named("batch")
    assert [parent_of(batch) for batch in (first, second)] == [id_of(light), id_of(heavy)]
    (judge,) = of_worker.named("judge")
    assert parent_of(judge) == id_of(first)
    assert {parent_of(span) for span in of_worker.named("encode")} == {id_of(first), id_of(second)}
    every = (*spans.all, *of_worker.all)
    assert {span.get_span_context().trace_id for span in every} == {int(TRACE, 16)}  # type: ignore[union-attr]
    assert PROMPT not in "".join(span.to_json() for span in every)
    assert f'# {{trace_id="{TRACE}"}}' in scraped.text
    assert scraped.text.endswith("# EOF\n")
    assert plain.headers["content-type"].startswith("text/plain")
    assert TRACE not in plain.text


async def test_what_is_not_kept_reaches_the_worker_too_and_is_no_exemplar(profile: Profile) -> None:
    spans, workers = Spans(), Instant()
    async with client_of(router_of(profile, spans, workers, "http://w")) as client:
        await client.post(PATH, json={"prompt": PROMPT}, headers={"traceparent": f"00-{TRACE}-{PARENT}-00"})
        scraped = await client.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert spans.all == ()
    assert "trace_id" not in scraped.text


async def test_probes_and_scrapes_have_no_spans_and_refusals_say_their_status(profile: Profile) -> None:
    spans = Spans()
    async with client_of(router_of(profile, spans, Instant())) as client:
        for path in ("/healthz", "/metrics", "/v1/models", PATH):  # the last is refused: there is nothing to get
            await client.get(path)
        assert [span.name for span in spans.all] == []
        refused = await client.post(PATH, json={"prompt": PROMPT}, headers={"traceparent": "nonsense"})
    assert refused.status_code == 503
    assert PROMPT not in "".join(span.to_json() for span in spans.all)
    (request,) = [span for span in spans.all if span.name.startswith("POST")]
    assert request.attributes is not None
    assert request.attributes["http.response.status_code"] == 503
    assert request.parent is None


def traced_job(spans: Spans, name: str, age_s: float = 0.0) -> Job:
    """Return a job whose trace is its own, on the loop's clock."""
    loop = asyncio.get_running_loop()
    parent = set_span_in_context(spans.provider.get_tracer("test").start_span(name), Context())
    job = make_job(name)
    job.trace = JobSpans(spans.provider, parent, lambda: round(loop.time() * 1e9)).arrived(age_s)
    return job


def times(span: ReadableSpan) -> tuple[float, float]:
    assert span.start_time is not None and span.end_time is not None
    return span.start_time / 1e9, span.end_time / 1e9


@virtual
async def test_jobs_that_share_a_batch_are_linked_and_each_span_takes_its_time() -> None:
    profile, spans = Profile(CascadeProfile.read(profile_document())), Spans()
    dispatcher = make_dispatcher(profile, FakeWorkers(), make_plan(batch=2))
    await asyncio.sleep(10)
    first, *others = jobs = [traced_job(spans, name) for name in "abc"]
    dispatcher.submit(first)
    dispatcher.submit(*others)
    await asyncio.gather(*(job.future for job in jobs))
    alone, b, c = spans.named("light")
    assert not alone.links
    assert [(id_of_link(b), id_of_link(c))] == [(id_of(c), id_of(b))]
    assert [times(span) for span in (alone, b)] == [(10, 10.1), pytest.approx((10.1, 10.3))]
    waited = [times(span) for span in spans.named("queue")]
    assert [pytest.approx(each) for each in waited] == [(10, 10), (10, 10.1), (10, 10.1)]


def id_of_link(span: ReadableSpan) -> str:
    (link,) = span.links
    return f"{link.context.span_id:016x}"


@virtual
async def test_a_batch_that_failed_is_an_error_and_the_next_another_attempt() -> None:
    profile, spans, workers = Profile(CascadeProfile.read(profile_document())), Spans(), FakeWorkers()
    workers.faults = [WorkerGone("away")]
    dispatcher = make_dispatcher(profile, workers, make_plan(), workers=2)
    job = traced_job(spans, "a", age_s=0.5)
    dispatcher.submit(job)
    await job.future
    failed, made = spans.named("light")
    assert not failed.status.is_ok
    assert made.status.is_unset
    assert [span.attributes and span.attributes["hadis.attempt"] for span in (failed, made)] == [1, 2]
    (admission,) = spans.named("admission")
    assert times(admission) == (-0.5, 0)


@virtual
async def test_a_job_that_is_cancelled_leaves_no_span_open() -> None:
    profile, spans = Profile(CascadeProfile.read(profile_document())), Spans()
    dispatcher = make_dispatcher(profile, FakeWorkers(), make_plan())
    runs, waits = traced_job(spans, "runs"), traced_job(spans, "waits")
    dispatcher.submit(runs, waits)
    for job in (runs, waits):
        dispatcher.cancel(job)
    assert [span.name for span in spans.all if span.status.description == "cancelled"] == ["light", "queue"]


async def test_a_router_that_owns_no_queue_goes_on_with_the_trace(profile: Profile) -> None:
    spans = Spans()
    async with running(profile, 2, traces=spans.provider) as (_, other), httpx.AsyncClient(timeout=20) as client:
        headers = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
        assert (await client.post(other.url + PATH, json={"prompt": PROMPT}, headers=headers)).status_code == 200
        owner_span, other_span = spans.named(f"POST {PATH}")
    assert (parent_of(owner_span), parent_of(other_span)) == (id_of(other_span), PARENT)

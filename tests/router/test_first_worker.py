"""Requests that come while no worker is ready, of a service whose workers go when nobody asks."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from documents import plan_document
from fake_workers import SLO_S, FakeWorkers, make_job, make_plan
from fastapi import FastAPI
from hadis.api.manifest import Manifest
from hadis.api.resources import API_VERSION, DiffusionService
from hadis.api.status import read_status
from hadis.planning.profile import Profile
from hadis.protocol.run_state import RunState, WorkerAddress
from hadis_router.app import create_app
from hadis_router.dispatch.answer import ServeError
from hadis_router.dispatch.dispatcher import Dispatcher
from hadis_router.plan_from_kubernetes import state_of
from test_api import LengthScorer
from virtual import virtual

FIRST_S = 60.0
WORKER = WorkerAddress("w0", ("light", "heavy"))
LIGHT, HEAVY = WorkerAddress("w1", ("light",)), WorkerAddress("w2", ("heavy",))


def make_dispatcher(profile: Profile, *, limit: int = 100, start_s: float | None = 30.0) -> Dispatcher:
    """Return one of a service at rest: there is a plan, and no worker."""
    dispatcher = Dispatcher(profile, FakeWorkers(), slo_s=SLO_S, queue_limit=limit, first_image_s=FIRST_S)
    dispatcher.first_worker.start_s = start_s
    dispatcher.set_plan(make_plan())
    return dispatcher


def refused(dispatcher: Dispatcher) -> ServeError:
    with pytest.raises(ServeError) as caught:
        dispatcher.submit(make_job())
    return caught.value


@virtual
async def test_what_comes_is_held_and_answered_by_the_first_worker(profile: Profile) -> None:
    dispatcher = make_dispatcher(profile)
    jobs = [make_job(name) for name in "ab"]
    dispatcher.submit(*jobs)
    assert dispatcher.sure_refusal("c") is None
    await asyncio.sleep(45)
    assert (len(dispatcher.first_worker), dispatcher.idle_s) == (2, 0.0)
    dispatcher.set_workers([WORKER])
    answers = await asyncio.gather(*(job.future for job in jobs))
    assert [answer.latency_s for answer in answers] == pytest.approx([45.1, 45.2])
    assert dispatcher.recent.attainment(asyncio.get_running_loop().time()) == 1.0
    assert len(dispatcher.first_worker) == 0


@virtual
async def test_also_before_there_is_a_plan(profile: Profile) -> None:
    dispatcher = Dispatcher(profile, FakeWorkers(), slo_s=SLO_S, queue_limit=9, first_image_s=FIRST_S)
    job = make_job()
    dispatcher.submit(job)
    dispatcher.set_workers([WORKER])
    assert len(dispatcher.first_worker) == 1
    dispatcher.set_plan(make_plan())
    assert (await job.future).path == "light"


@virtual
async def test_what_waits_for_too_long_fails_at_its_own_deadline(profile: Profile) -> None:
    dispatcher, job = make_dispatcher(profile), make_job()
    dispatcher.submit(job)
    with pytest.raises(ServeError, match="no image within 60 s") as caught:
        await job.future
    assert (caught.value.code, asyncio.get_running_loop().time()) == ("deadline_expired", FIRST_S)
    assert dispatcher.recent.totals["failed"]["deadline_expired"] == 1
    dispatcher.set_workers([WORKER])
    assert dispatcher.queued == {"light": 0, "heavy": 0}


@virtual
async def test_a_client_that_goes_away_is_held_no_longer(profile: Profile) -> None:
    dispatcher, job = make_dispatcher(profile, limit=1), make_job()
    dispatcher.submit(job)
    dispatcher.cancel(job)
    dispatcher.submit(make_job("b"))
    assert dispatcher.recent.totals["cancelled"]["cancelled"] == 1


@virtual
async def test_no_more_is_held_than_may_wait(profile: Profile) -> None:
    dispatcher = make_dispatcher(profile, limit=1)
    dispatcher.submit(make_job())
    await asyncio.sleep(10)
    error = refused(dispatcher)
    assert (error.status, error.code, error.retry_after_s) == (429, "queue_full", 20)
    sure = dispatcher.sure_refusal("x")
    assert sure is not None
    assert (sure.code, sure.retry_after_s) == ("queue_full", 20)


@pytest.mark.parametrize(
    ("start_s", "asked_s", "retry_after_s"),
    [
        (FIRST_S, 0.0, None),
        (FIRST_S + 1, 0.0, 60),  # no longer than the official client waits
        (FIRST_S + 20, 15.0, 60),
        (FIRST_S + 20, 20.0, None),
        (None, 0.0, None),  # not known: who waits may have luck
        (30.0, 1000.0, None),  # late: it needs a little more
    ],
)
def test_who_would_wait_for_longer_than_they_may_is_told_when_to_come_again(
    profile: Profile, start_s: float | None, asked_s: float, retry_after_s: int | None
) -> None:
    @virtual
    async def run() -> None:
        dispatcher = make_dispatcher(profile, start_s=start_s)
        dispatcher.sure_refusal("first")
        await asyncio.sleep(asked_s)
        error = dispatcher.sure_refusal("x")
        assert (error and (error.status, error.code, error.retry_after_s)) == (
            retry_after_s and (503, "starting", retry_after_s)
        )

    run()


@virtual
async def test_a_request_for_a_tier_that_comes_later_waits_for_it(profile: Profile) -> None:
    dispatcher, forced, any_tier = make_dispatcher(profile), make_job(tier="heavy"), make_job("b")
    dispatcher.submit(forced, any_tier)
    dispatcher.set_workers([LIGHT])
    assert (await any_tier.future).path == "light"
    assert len(dispatcher.first_worker) == 1
    dispatcher.set_workers([LIGHT, HEAVY])
    assert (await forced.future).attempts[0].tier == "heavy"


@virtual
async def test_seconds_without_a_request(profile: Profile) -> None:
    dispatcher = make_dispatcher(profile)
    assert dispatcher.idle_s == math.inf
    dispatcher.sure_refusal("x")  # also of one that is refused
    await asyncio.sleep(7)
    assert dispatcher.idle_s == 7.0
    job = make_job(tier="heavy")
    dispatcher.submit(job)
    assert dispatcher.idle_s == 0.0
    dispatcher.set_workers([WORKER])
    await asyncio.sleep(0.9)
    assert dispatcher.idle_s == 0.0  # a batch runs
    await job.future
    await asyncio.sleep(3)
    assert dispatcher.idle_s == pytest.approx(3.0, abs=0.2)


@virtual
async def test_other_services_refuse_as_before(profile: Profile) -> None:
    dispatcher = Dispatcher(profile, FakeWorkers(), slo_s=SLO_S, queue_limit=9)
    assert refused(dispatcher).code == "no_workers"
    sure = dispatcher.sure_refusal("x")
    assert sure is not None
    assert sure.code == "no_workers"


# Over HTTP

AT_REST = RunState(make_plan(), (), idle="no request for 15m", start_s=40.0)


@asynccontextmanager
async def serving(
    profile: Profile, states: asyncio.Queue[RunState], **objective: str
) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of a router that follows the states in a queue."""
    spec: dict[str, Any] = {"profile": "two", "objective": {"latency": "4s", **objective}}
    spec["gpus"] = {"max": 2, "idleAfter": "15m"}
    document = {"apiVersion": API_VERSION, "kind": "DiffusionService", "metadata": {"name": "two"}, "spec": spec}
    manifest = Manifest(DiffusionService.read(document), profile.resource, Path())

    async def follow() -> AsyncIterator[RunState]:
        while True:
            yield await states.get()

    app = create_app(manifest, follow, LengthScorer(), FakeWorkers())
    async with app.router.lifespan_context(app):
        http = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=http, base_url="http://router") as client:
            await asyncio.sleep(0)
            yield client


def queue_of(*states: RunState) -> asyncio.Queue[RunState]:
    queue: asyncio.Queue[RunState] = asyncio.Queue()
    for state in states:
        queue.put_nowait(state)
    return queue


async def ask(client: httpx.AsyncClient) -> httpx.Response:
    return await client.post("/v1/images/generations", json={"prompt": "a", "n": 2})


@virtual
async def test_a_router_at_rest_is_ready_holds_requests_and_says_so(profile: Profile) -> None:
    states = queue_of(AT_REST)
    async with serving(profile, states, firstImage="2m") as client:
        await asyncio.sleep(1)
        assert (await client.get("/readyz")).status_code == 200
        waiting = asyncio.create_task(ask(client))
        await asyncio.sleep(41)
        status = (await client.get("/v1/hadis/status")).json()
        assert (status["idle"], status["held"], status["idle_s"]) == ("no request for 15m", 2, 0.0)
        assert "hadis_router_idle_seconds 0.0" in (await client.get("/metrics")).text
        states.put_nowait(replace(AT_REST, workers=(WORKER,), idle=None))
        answer = await waiting
        assert answer.status_code == 200
        assert len(answer.json()["data"]) == 2
        await asyncio.sleep(5)
        status = (await client.get("/v1/hadis/status")).json()
        assert (status["idle"], status["held"], status["idle_s"]) == (None, 0, pytest.approx(5.0))


@virtual
async def test_with_no_longer_deadline_who_cannot_wait_is_told_when_to_come_again(profile: Profile) -> None:
    async with serving(profile, queue_of(AT_REST)) as client:
        await asyncio.sleep(1)
        assert "hadis_router_idle_seconds +Inf" in (await client.get("/metrics")).text
        answer = await ask(client)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "40")
        assert answer.json()["error"]["code"] == "starting"
        # It is a request all the same: from now on a worker is started.
        status = (await client.get("/v1/hadis/status")).json()
        assert (status["idle_s"], status["arrivals_total"]) == (0.0, 2)


@virtual
async def test_a_router_that_forwards_waits_as_long_for_the_one_that_holds(profile: Profile) -> None:
    async with serving(profile, queue_of(AT_REST), firstImage="2m") as client:
        transport = cast(httpx.ASGITransport, client._transport)
        assert cast(FastAPI, transport.app).state.gateway.peer_client._slo_s == 120.0


@pytest.mark.parametrize(
    ("reason", "status", "idle"), [("NoRequest", "True", "text"), ("Waking", "False", "text"), ("InUse", "False", None)]
)
def test_the_status_says_why_there_is_no_worker(reason: str, status: str, idle: str | None) -> None:
    conditions: Sequence[dict[str, Any]] = [
        {"type": "Ready", "status": "True", "reason": "Idle", "message": "other"},
        {"type": "Idle", "status": status, "reason": reason, "message": "text"},
    ]
    document = {"conditions": conditions, "startSeconds": 40.0, "plan": {"active": plan_document(make_plan())}}
    state = state_of(read_status(document), (), ["light", "heavy"])
    assert (state.idle, state.start_s) == (idle, 40.0)

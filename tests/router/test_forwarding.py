"""Several routers of one service over real connections: one owns the queue, and any of them may be asked."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from hadis.api.manifest import Manifest
from hadis.api.resources import API_VERSION, DiffusionService
from hadis.planning.profile import Profile
from hadis.protocol.run_state import RunState, WorkerAddress
from hadis_router.app import create_app
from hadis_router.dispatch.cells import cells_of
from hadis_router.http.gateway import Gateway
from hadis_router.http.peer_client import AGE, CLIENT, HOPS
from opentelemetry.sdk.trace import TracerProvider
from test_api import PLAN, Instant, LengthScorer
from test_edits import MASK, PNG

PATH = "/v1/images/generations"
MINE = "5f0c3f6e-1f0a-4a52-9d7c-0d6d1d5f7a11"
WORKERS = tuple(WorkerAddress(f"http://w{i}", ("light", "heavy")) for i in range(2))


class Server(uvicorn.Server):
    """Leaves signals to pytest."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@dataclass
class Router:
    url: str
    app: FastAPI
    server: uvicorn.Server
    workers: Instant
    serving: asyncio.Task[None]

    @property
    def gateway(self) -> Gateway:
        gateway: Gateway = self.app.state.gateway
        return gateway

    @property
    def arrivals(self) -> int:
        return self.gateway.metrics.arrivals_total

    async def end(self) -> None:
        """Take the server away, connections and all."""
        for connection in list(self.server.server_state.connections):
            connection.transport.abort()
        self.server.should_exit = True
        if self.workers.gate:
            self.workers.gate.set()
        await self.serving


def manifest_of(profile: Profile, latency: str) -> Manifest:
    spec = {"profile": "two", "objective": {"latency": latency}, "gpus": {"max": 2}}
    document = {"apiVersion": API_VERSION, "kind": "DiffusionService", "metadata": {"name": "two"}, "spec": spec}
    return Manifest(DiffusionService.read(document), profile.resource, Path())


@asynccontextmanager
async def running(
    profile: Profile, count: int, latency: str = "60s", traces: TracerProvider | None = None, **plan: Any
) -> AsyncIterator[list[Router]]:
    """Run so many routers, that which owns the queue first."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    urls = [f"http://127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    state = RunState(replace(PLAN, **plan), WORKERS, routers=tuple(urls))

    async def states() -> AsyncIterator[RunState]:
        yield state
        await asyncio.Event().wait()

    routers = []
    for url, listening in zip(urls, sockets, strict=True):
        workers = Instant()
        manifest = manifest_of(profile, latency)
        app = create_app(manifest, states, LengthScorer(), workers, own_url=url, traces=traces)
        server = Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=0, proxy_headers=False))
        serving = asyncio.create_task(server.serve([listening]))
        routers.append(Router(url, app, server, workers, serving))
    try:
        await until(lambda: all(r.server.started and r.gateway.dispatcher.plan for r in routers))
        (cell,) = cells_of(WORKERS, urls)
        yield sorted(routers, key=lambda router: router.url != cell.owner)
    finally:
        for router in routers:
            await router.end()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():  # noqa: ASYNC110 (nothing tells)
            await asyncio.sleep(0.01)


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=20) as client:
        yield client


async def test_whichever_router_is_asked_one_serves(profile: Profile, http: httpx.AsyncClient) -> None:
    async with running(profile, 3) as (owner, *others):
        for router in (owner, *others):
            body = {"prompt": "a red circle", "explain": True, "seed": 7}
            answer = await http.post(router.url + PATH, json=body, headers={"x-request-id": "r"})
            assert answer.status_code == 200
            assert answer.json()["hadis"][0]["path"] == "light"
            assert answer.headers["content-type"] == "application/json"
        assert [router.arrivals for router in (owner, *others)] == [3, 0, 0]
        assert "hadis_router_forwarded_total 1.0" in (await http.get(others[0].url + "/metrics")).text


async def test_an_edit_is_passed_on_as_it_came(profile: Profile, http: httpx.AsyncClient) -> None:
    async with running(profile, 2) as (owner, other):
        files = [("image", ("a.png", PNG)), ("mask", ("b.png", MASK))]
        answer = await http.post(other.url + "/v1/images/edits", files=files, data={"prompt": "x"})
        assert answer.status_code == 200
        edit = owner.workers.jobs[0].params.edit
        assert edit is not None
        assert (edit.images, edit.mask) == ((PNG,), MASK)
        assert other.app.state.image_bodies.held == 0


async def test_a_request_has_one_id_at_every_router(profile: Profile, http: httpx.AsyncClient) -> None:
    async with running(profile, 2) as (owner, other):
        for headers in ({}, {"x-request-id": "its-own"}):
            answer = await http.post(other.url + PATH, json={"prompt": "x"}, headers=headers)
            assert answer.headers.get_list("x-request-id") == [owner.workers.jobs[-1].request_id]
        assert owner.workers.jobs[-1].request_id == "its-own"


async def test_errors_come_back_as_the_owner_says(profile: Profile, http: httpx.AsyncClient) -> None:
    async with running(profile, 2) as (_, other):
        answer = await http.post(other.url + PATH, json={"prompt": "x", "model": "none"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
        assert (await http.post(other.url + PATH, content=b"{", headers={"content-type": "text/x"})).status_code == 415
        assert (await http.post(other.url + PATH, json={"prompt": "x" * 2_000_000})).status_code == 413


async def test_a_stream_is_passed_on_event_by_event(profile: Profile, http: httpx.AsyncClient) -> None:
    async with running(profile, 2, deferral_ratio=1.0) as (owner, other):
        body = {"prompt": "x", "stream": True, "partial_images": 1}
        async with http.stream("POST", other.url + PATH, json=body) as answer:
            lines = [line async for line in answer.aiter_lines() if line.startswith("event: ")]
        assert lines == ["event: image_generation.partial_image", "event: image_generation.completed"]
        assert owner.arrivals == 1


async def test_where_the_owner_is_gone_another_serves_and_it_is_not_asked_again(
    profile: Profile, http: httpx.AsyncClient
) -> None:
    async with running(profile, 3) as (owner, first, second):
        await owner.end()
        answers = [await http.post(router.url + PATH, json={"prompt": "x"}) for router in (first, second) * 2]
        assert [answer.status_code for answer in answers] == [200] * 4
        arrivals = sorted(router.arrivals for router in (first, second))
        assert arrivals == [0, 4], "the next owner is the same for both"


async def test_a_request_under_way_at_a_router_that_dies_is_served_by_the_next(
    profile: Profile, http: httpx.AsyncClient
) -> None:
    async with running(profile, 2) as (owner, other):
        owner.workers.gate = asyncio.Event()  # never set
        pending = asyncio.create_task(http.post(other.url + PATH, json={"prompt": "x"}))
        await until(lambda: bool(owner.workers.jobs))
        await asyncio.sleep(1.0)
        await owner.end()
        assert (await pending).status_code == 200
        assert other.arrivals == 1
        # The deadline is that of the first arrival, but for the way from one router to the other.
        assert abs(other.workers.jobs[0].deadline - owner.workers.jobs[0].deadline) < 0.9


async def test_the_next_owner_is_told_how_old_a_request_is(profile: Profile, http: httpx.AsyncClient) -> None:
    async with running(profile, 3) as (owner, *others):
        urls = [router.url for router in (owner, *others)]
        (cell,) = cells_of(WORKERS, urls, [owner.url])
        successor, first = sorted(others, key=lambda router: router.url != cell.owner)
        owner.workers.gate = asyncio.Event()
        pending = asyncio.create_task(http.post(first.url + PATH, json={"prompt": "x"}))
        await until(lambda: bool(owner.workers.jobs))
        await asyncio.sleep(1.0)
        await owner.end()
        assert (await pending).status_code == 200
        assert abs(successor.workers.jobs[0].deadline - owner.workers.jobs[0].deadline) < 0.9


async def test_what_waits_at_a_router_that_is_suspected_goes_elsewhere_and_later_requests_come_back(
    profile: Profile, http: httpx.AsyncClient
) -> None:
    async with running(profile, 2) as (owner, other):
        owner.workers.gate = asyncio.Event()
        pending = asyncio.create_task(http.post(other.url + PATH, json={"prompt": "x"}))
        await until(lambda: bool(owner.workers.jobs))
        other.gateway.suspect(owner.url)
        assert (await pending).status_code == 200
        assert [owner.arrivals, other.arrivals] == [1, 1]
        owner.workers.gate.set()
        other.gateway.peers._suspects[owner.url] = 0.0  # the time has passed
        assert (await http.post(other.url + PATH, json={"prompt": "x"})).status_code == 200
        assert [owner.arrivals, other.arrivals] == [2, 1]


async def test_a_router_that_stops_forwards_no_refusal(profile: Profile, http: httpx.AsyncClient) -> None:
    async with running(profile, 2) as (owner, other):
        owner.gateway.draining = True
        assert (await http.post(other.url + PATH, json={"prompt": "x"})).status_code == 200
        assert other.arrivals == 1


async def test_a_client_that_goes_away_is_forgotten_at_the_owner(profile: Profile, http: httpx.AsyncClient) -> None:
    async with running(profile, 2) as (owner, other):
        owner.workers.gate = asyncio.Event()
        pending = asyncio.create_task(http.post(other.url + PATH, json={"prompt": "x"}))
        await until(lambda: bool(owner.workers.jobs))
        pending.cancel()
        await until(lambda: owner.workers.jobs[0].done)
        owner.workers.gate.set()


async def test_a_forwarded_request_goes_no_further(profile: Profile, http: httpx.AsyncClient) -> None:
    """Two routers that see different lists may each think that the other one is the owner."""
    async with running(profile, 2) as (owner, other):
        answer = await http.post(other.url + PATH, json={"prompt": "x"}, headers={HOPS: "1"})
        assert answer.status_code == 200
        assert [owner.arrivals, other.arrivals] == [0, 1]


async def test_a_client_that_says_to_be_a_router_gains_nothing(profile: Profile, http: httpx.AsyncClient) -> None:
    async with running(profile, 2) as (owner, other):
        for router in (owner, other):
            router.gateway.peers._trusted.clear()  # 127.0.0.1 is the client's here
        headers = {HOPS: "1", AGE: "59", CLIENT: "1.2.3.4"}
        now = asyncio.get_running_loop().time()
        assert (await http.post(other.url + PATH, json={"prompt": "x"}, headers=headers)).status_code == 200
        assert [owner.arrivals, other.arrivals] == [1, 0], "it is no way around the owner's queue"
        job = owner.workers.jobs[0]
        assert job.deadline > now + 59
        assert job.client == "address:127.0.0.1"
        answer = await http.post(other.url + PATH, json={"prompt": "x"}, headers={HOPS: "3"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "no_owner")


@pytest.mark.parametrize(("age", "status"), [("61", 504), ("1.5", 200), ("-5", 200), ("nan", 200), ("x", 200)])
async def test_the_deadline_counts_from_the_first_router(
    profile: Profile, http: httpx.AsyncClient, age: str, status: int
) -> None:
    async with running(profile, 1) as (owner,):
        headers = {HOPS: "1", AGE: age}
        assert (await http.post(owner.url + PATH, json={"prompt": "x"}, headers=headers)).status_code == status
        headers = {AGE: "61"}  # only another router knows how old a request is
        assert (await http.post(owner.url + PATH, json={"prompt": "x"}, headers=headers)).status_code == 200


async def test_a_client_keeps_its_address_at_the_owner(profile: Profile, http: httpx.AsyncClient) -> None:
    async with running(profile, 2) as (owner, other):
        await http.post(other.url + PATH, json={"prompt": "x"}, headers={CLIENT: "6.6.6.6"})
        assert owner.workers.jobs[-1].client == "address:127.0.0.1", "a client is not believed"
        await http.post(owner.url + PATH, json={"prompt": "x"}, headers={HOPS: "1", CLIENT: "1.2.3.4"})
        assert owner.workers.jobs[-1].client == "address:1.2.3.4"


async def test_progress_events_and_status_are_the_owners(profile: Profile, http: httpx.AsyncClient) -> None:
    async with running(profile, 2) as (owner, other):
        owner.workers.gate = asyncio.Event()
        pending = asyncio.create_task(http.post(other.url + PATH, json={"prompt": "x"}, headers={"x-request-id": MINE}))
        async with http.stream("GET", f"{other.url}/v1/hadis/progress/{MINE}") as answer:
            lines = answer.aiter_lines()
            assert await anext(lines) == "event: progress"
            owner.workers.gate.set()
            assert (await pending).json()["data"][0]["b64_json"]
            assert "event: end" in [line async for line in lines]
        async with http.stream("GET", other.url + "/v1/hadis/events") as answer:
            lines = answer.aiter_lines()
            while not (line := await anext(lines)).startswith('data: {"slo_s"'):
                pass
            assert '"arrivals_total": 1' in line
        assert (await http.get(other.url + "/v1/hadis/status")).json()["arrivals_total"] == 1


async def test_a_page_that_is_open_goes_to_the_new_owner(profile: Profile, http: httpx.AsyncClient) -> None:
    async with (
        running(profile, 2) as (owner, other),
        http.stream("GET", other.url + "/v1/hadis/events") as forwarded,
        http.stream("GET", owner.url + "/v1/hadis/events") as own,
    ):
        other.gateway.suspect(owner.url)
        async for _ in forwarded.aiter_lines():
            pass  # until it ends: the page connects again
        owner.gateway.peers.update([other.url], WORKERS, 0.0)
        async for _ in own.aiter_lines():
            pass

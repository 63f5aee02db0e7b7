"""The event streams behind the page, and the page's setting."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx
from documents import router_status
from hadis.planning.profile import Profile
from hadis.protocol.worker import Progress
from hadis_router.app import create_app
from hadis_router.dispatch.job import Job
from hadis_router.dispatch.transport import OnProgress, Result
from hadis_router.http import events
from hadis_router.http.progress import progress_of
from test_api import Instant, LengthScorer, make_app, make_manifest


async def test_too_many_listeners_are_refused(profile: Profile) -> None:
    app = make_app(profile, Instant())
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://router") as client,
    ):
        app.state.history.listeners = events._MOST_LISTENERS
        answer = await client.get("/v1/hadis/events")
        assert answer.status_code == 503
        assert answer.headers["retry-after"]


async def test_the_bound_on_listeners_holds_where_many_come_at_once(profile: Profile) -> None:
    app = make_app(profile, Instant())
    statuses: list[int] = []

    async def listen() -> None:
        async def receive() -> dict[str, str]:
            await asyncio.Event().wait()
            return {}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                await asyncio.sleep(0.01)  # all have asked before the first event is sent to any of them
                statuses.append(message["status"])

        scope = {"type": "http", "method": "GET", "path": "/v1/hadis/events", "headers": [], "query_string": b""}
        await app({**scope, "http_version": "1.1", "client": ("a", 1)}, receive, send)

    async with app.router.lifespan_context(app):
        tasks = [asyncio.create_task(listen()) for _ in range(events._MOST_LISTENERS + 44)]
        while len(statuses) < len(tasks):  # noqa: ASYNC110 (all are on their way)
            await asyncio.sleep(0.01)
        assert statuses.count(200) == events._MOST_LISTENERS == app.state.history.listeners
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert app.state.history.listeners == 0


async def test_the_page_can_be_left_out(profile: Profile) -> None:
    with_page = make_app(profile, Instant())

    async def states() -> AsyncIterator[Any]:
        await asyncio.Event().wait()
        yield None

    without = create_app(make_manifest(profile), states, LengthScorer(), Instant(), with_page=False)
    paths = [{getattr(route, "path", "") for route in app.routes} for app in (with_page, without)]
    assert "/" in paths[0]
    assert "/" not in paths[1]


def test_a_point_without_a_plan() -> None:
    status = router_status(queues={"light": 2}, unanswered={"refused": {"queue_full": 2, "over_share": 1}})
    point = json.loads(json.dumps(events.point_of(status)))
    assert (point["queued"], point["unanswered"], point["direct"]) == (2, {"refused": 3}, None)


class Stepping(Instant):
    """Has done three of five steps, until `gate` is set."""

    async def generate(
        self, url: str, tier: str, jobs: Sequence[Job], discriminate: bool, timeout_s: float, on_progress: OnProgress
    ) -> list[Result]:
        on_progress(Progress(done=3, steps=5))
        return await super().generate(url, tier, jobs, discriminate, timeout_s, on_progress)


async def test_progress_tells_steps(profile: Profile) -> None:
    workers = Stepping()
    workers.gate = asyncio.Event()
    app = make_app(profile, workers)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://router") as client,
    ):
        await asyncio.sleep(0)
        headers = {"x-request-id": "mine-and-no-one-elses"}
        answer = asyncio.create_task(client.post("/v1/images/generations", json={"prompt": "a"}, headers=headers))
        while not workers.jobs:  # noqa: ASYNC110 (the request is on its way)
            await asyncio.sleep(0)
        progress = progress_of(app.state.gateway, workers.jobs[0])
        workers.gate.set()
        assert (await answer).status_code == 200
    assert (progress["stage"], progress["ahead"], progress["steps"]) == ("running", 0, {"done": 3, "steps": 5})

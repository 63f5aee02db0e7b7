"""Streams of images: they speak at once and while they wait, and end in an error or where their client is gone."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx
import openai
import pytest
from documents import profile_document
from fastapi import FastAPI
from hadis.api.resources import CascadeProfile
from hadis.planning.profile import Profile
from hadis.protocol.worker import Progress
from hadis_router.dispatch.job import Job
from hadis_router.dispatch.transport import OnProgress, Result
from hadis_router.http import events, sse
from test_api import Instant, make_app
from test_forwarding import PATH, running, until
from virtual import virtual


class Stepping(Instant):
    """Takes four seconds, of which one for each step."""

    async def generate(
        self, url: str, tier: str, jobs: Sequence[Job], discriminate: bool, timeout_s: float, on_progress: OnProgress
    ) -> list[Result]:
        for step in range(4):
            on_progress(Progress(done=step, steps=4))
            await asyncio.sleep(1)
        return await super().generate(url, tier, jobs, discriminate, timeout_s, on_progress)


class Connection:
    """One request as an ASGI server would put it; notes at what (loop) time each message came."""

    def __init__(self, app: FastAPI, **body: Any) -> None:
        self.app, self.body = app, json.dumps({"prompt": "a", "stream": True, **body}).encode()
        self.left, self.received = asyncio.Event(), False
        self.messages: list[tuple[float, str]] = []
        self.takes_after_s = 0.0

    async def receive(self) -> dict[str, Any]:
        if not self.received:
            self.received = True
            return {"type": "http.request", "body": self.body}
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        await asyncio.sleep(self.takes_after_s)
        content = message.get("body", str(message.get("status", "")).encode())
        assert not content.startswith(b": ") or content.count(b"\n") == 1, "an empty line would end an event"
        self.messages.append((asyncio.get_running_loop().time(), content.decode().split("\n")[0]))

    async def serve(self) -> None:
        scope = {"type": "http", "method": "POST", "path": PATH, "query_string": b"", "root_path": ""}
        headers = [(b"content-type", b"application/json")]
        await self.app({**scope, "headers": headers, "asgi": {"spec_version": "2.4"}}, self.receive, self.send)


@asynccontextmanager
async def started(workers: Instant) -> AsyncIterator[FastAPI]:
    app = make_app(Profile(CascadeProfile.read(profile_document())), workers)
    async with app.router.lifespan_context(app):
        await asyncio.sleep(0)
        yield app


@virtual
async def test_a_stream_speaks_at_once_and_says_how_far_it_is() -> None:
    async with started(Stepping()) as app:
        connection = Connection(app)
        await connection.serve()
    assert connection.messages == [
        (0, "200"),
        (0, ": light: step 0 of 4"),
        (3, ": light: step 3 of 4"),
        (4, "event: image_generation.completed"),
        (4, ""),
    ]


@virtual
async def test_one_that_waits_says_how_many_are_before_it() -> None:
    async with started(Stepping()) as app:
        first = asyncio.ensure_future(Connection(app).serve())
        await asyncio.sleep(0.5)
        connection = Connection(app)
        await asyncio.gather(first, connection.serve())
    assert connection.messages[1][1].startswith(": light: 0 ahead, about ")
    assert [time for time, _ in connection.messages] == [0.5, 0.5, 3.5, 6.5, 8, 8]


@virtual
async def test_a_client_that_goes_away_frees_its_jobs() -> None:
    workers = Stepping()
    async with started(workers) as app:
        connection = Connection(app)
        serving = asyncio.ensure_future(connection.serve())
        await asyncio.sleep(2)
        connection.left.set()
        await serving
        assert asyncio.get_running_loop().time() == 2
        await asyncio.sleep(10)
        assert not workers.jobs, "its batch was cancelled"


@virtual
async def test_a_client_that_takes_nothing_is_left() -> None:
    workers = Stepping()
    async with started(workers) as app:
        connection = Connection(app)
        connection.takes_after_s = sse.STALLED_S + 1
        await connection.serve()
        assert asyncio.get_running_loop().time() == sse.STALLED_S
        assert not connection.messages
        assert not sum(app.state.gateway.dispatcher.queued.values())


async def test_official_clients_skip_comments_and_raise_what_fails_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hadis_router.http.streaming.COMMENT_EVERY_S", 0.01)
    workers = Instant()
    workers.gate, workers.failing_seed = asyncio.Event(), 7
    async with started(workers) as app:
        http: Any = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://router")
        asyncio.get_running_loop().call_later(0.1, workers.gate.set)
        async with openai.AsyncOpenAI(api_key="none", base_url="http://router/v1", http_client=http) as official:
            stream = await official.images.generate(prompt="a", n=2, stream=True, extra_body={"seed": 6})
            assert (await anext(stream)).type == "image_generation.completed"
            with pytest.raises(openai.APIError, match="out of memory"):
                await anext(stream)


async def test_a_stream_whose_router_dies_ends_in_an_error(profile: Profile) -> None:
    async with running(profile, 2) as (owner, other), httpx.AsyncClient(timeout=20) as http:
        owner.workers.gate = asyncio.Event()
        async with http.stream("POST", other.url + PATH, json={"prompt": "x", "stream": True}) as answer:
            lines = answer.aiter_lines()
            assert (await anext(lines)).startswith(": ")
            await until(lambda: bool(owner.workers.jobs))
            await owner.end()
            rest = [line async for line in lines]
    assert "event: error" in rest
    assert '"code": "router_away"' in "".join(rest)


async def test_listeners_are_counted_before_they_listen(profile: Profile) -> None:
    async with started(Instant()) as app:
        history = app.state.history
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://router") as client:
            history.listeners = events._MOST_LISTENERS
            assert (await client.get(f"/v1/hadis/progress/{uuid.uuid4()}")).status_code == 503
            history.listeners -= 1
            app.state.gateway.stopping = lambda: True
            assert (await client.get(f"/v1/hadis/progress/{uuid.uuid4()}")).status_code == 200
            assert history.listeners == events._MOST_LISTENERS - 1

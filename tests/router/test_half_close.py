"""Clients that close their side of the connection: answered where they wait, forgotten where they are gone."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import uvicorn
from hadis.planning.profile import Profile
from hadis_router.http.guarded_protocol import GuardedProtocol
from test_api import Instant, make_app
from test_forwarding import Server, until

BODY = b'{"prompt": "a red circle"}'
HEAD = (
    b"POST /v1/images/generations HTTP/1.%d\r\nhost: router\r\n"
    b"content-type: application/json\r\ncontent-length: %d\r\n\r\n"
)


@asynccontextmanager
async def half_closed(
    profile: Profile, workers: Instant, minor: int = 1, body: bytes = BODY
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Send a request, close this side once the worker has it, and yield what is left of the connection."""
    listening = socket.create_server(("127.0.0.1", 0))
    app = make_app(profile, workers)
    server = Server(uvicorn.Config(app, http=GuardedProtocol, log_level="error", timeout_graceful_shutdown=1))
    serving = asyncio.create_task(server.serve([listening]))
    try:
        await until(lambda: server.started and bool(app.state.gateway.dispatcher.plan))
        reader, writer = await asyncio.open_connection(*listening.getsockname())
        writer.write(HEAD % (minor, len(BODY)) + body)
        if body == BODY:
            await until(lambda: bool(workers.jobs))
        writer.write_eof()
        yield reader, writer
        writer.close()
    finally:
        if workers.gate:
            workers.gate.set()
        server.should_exit = True
        await serving


async def read(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(20):
        return await reader.read()


async def test_who_has_nothing_more_to_say_is_still_answered(profile: Profile) -> None:
    workers = Instant()
    workers.gate = asyncio.Event()
    async with half_closed(profile, workers) as (reader, _):
        async with asyncio.timeout(20):
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert not workers.jobs[0].done
        workers.gate.set()
        answer = await read(reader)
    assert answer.replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"").startswith(b"HTTP/1.1 200 ")
    assert b"connection: close" in answer and b'"b64_json"' in answer


async def test_who_is_gone_is_forgotten(profile: Profile) -> None:
    workers = Instant()
    workers.gate = asyncio.Event()
    async with half_closed(profile, workers) as (_, writer):
        writer.close()
        await until(lambda: workers.jobs[0].done)
        assert workers.jobs[0].future.cancelled()


async def test_a_client_of_http_1_0_cannot_be_asked_and_is_taken_to_be_gone(profile: Profile) -> None:
    workers = Instant()
    workers.gate = asyncio.Event()
    async with half_closed(profile, workers, minor=0) as (reader, _):
        assert await read(reader) == b""
        await until(lambda: workers.jobs[0].done)


async def test_a_request_that_is_cut_off_is_none(profile: Profile, caplog: pytest.LogCaptureFixture) -> None:
    async with half_closed(profile, Instant(), body=BODY[:-3]) as (reader, _):
        assert await read(reader) == b""
    assert caplog.text == "", "it is no fault of the router"

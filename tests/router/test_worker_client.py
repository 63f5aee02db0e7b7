"""The transport over HTTP against a server that answers as a worker does, part by part."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from fake_workers import make_job
from hadis.protocol.parts import CONTENT_TYPE
from hadis.protocol.previews import Preview
from hadis.protocol.worker import JobResult, Progress, encode_answer, encode_progress
from hadis_router.dispatch.edit import EditInputs
from hadis_router.dispatch.transport import WorkerBusy, WorkerGone
from hadis_router.dispatch.worker_client import HttpTransport

LIMIT_S = 10.0


class StubWorker:
    """Tells one step, waits for `go`, and answers; `gone` is set when its caller disconnects before."""

    def __init__(self) -> None:
        self.status = 200
        self.cut = False
        self.go, self.gone = asyncio.Event(), asyncio.Event()

    async def generate(self, request: web.Request) -> web.StreamResponse:
        if self.status != 200:
            return web.Response(status=self.status, text="no")
        jobs = (await request.json())["jobs"]
        answer = web.StreamResponse(headers={"content-type": CONTENT_TYPE})
        await answer.prepare(request)
        await answer.write(encode_progress(Progress(done=1, steps=2)))
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.gone.set()
            raise
        results = [JobResult(id=job["id"]) for job in jobs]
        body = encode_answer(results, [("png", b"x" * 300_000)] * len(jobs))
        await answer.write(body[:-50] if self.cut else body)
        return answer


@asynccontextmanager
async def transport_to(app: web.Application, secret: str | None = None) -> AsyncIterator[tuple[HttpTransport, str]]:
    """Serve an application, and yield a transport with its URL."""
    server, transport = TestServer(app), HttpTransport(secret)  # the server cancels a handler whose caller disconnects
    await server.start_server()
    try:
        yield transport, str(server.make_url("")).rstrip("/")
    finally:
        await transport.close()
        await server.close()


@asynccontextmanager
async def calling(worker: StubWorker) -> AsyncIterator[tuple[HttpTransport, str]]:
    app = web.Application()
    app.router.add_post("/generate", worker.generate)
    async with transport_to(app) as connected:
        yield connected


async def test_progress_comes_before_the_results() -> None:
    worker, received = StubWorker(), list[Progress | Preview]()

    def note(what: Progress | Preview) -> None:
        received.append(what)
        worker.go.set()

    async with calling(worker) as (transport, url):
        jobs = [make_job("a"), make_job("b")]
        results = await transport.generate(url, "light", jobs, False, LIMIT_S, note)
    assert received == [Progress(done=1, steps=2)]
    assert [(result.id, len(image or b"")) for result, image in results] == [("a", 300_000), ("b", 300_000)]


async def test_a_call_that_is_cancelled_closes_its_connection() -> None:
    worker, taken = StubWorker(), asyncio.Event()
    async with calling(worker) as (transport, url):
        call = asyncio.ensure_future(
            transport.generate(url, "light", [make_job()], False, LIMIT_S, lambda _: taken.set())
        )
        await asyncio.wait_for(taken.wait(), LIMIT_S)
        call.cancel()
        await asyncio.wait_for(worker.gone.wait(), LIMIT_S)
    assert call.cancelled()


@pytest.mark.parametrize(("status", "error"), [(409, WorkerBusy), (503, WorkerGone), (200, WorkerGone)])
async def test_other_answers(status: int, error: type[Exception]) -> None:
    worker = StubWorker()
    worker.status, worker.cut = status, True
    worker.go.set()
    async with calling(worker) as (transport, url):
        with pytest.raises(error):
            await transport.generate(url, "light", [make_job()], False, LIMIT_S, lambda _: None)


@pytest.mark.parametrize(("closed", "ends_with", "calls"), [(0, WorkerBusy, 1), (1, WorkerBusy, 2), (2, WorkerGone, 2)])
@pytest.mark.parametrize("inputs", [(), (b"picture" * 1_000,)])
async def test_a_connection_closed_before_any_byte_came_is_tried_again_once(
    closed: int, ends_with: type[Exception], calls: int, inputs: tuple[bytes, ...]
) -> None:
    """The second try brings the images that are edited, too."""
    seen, job = 0, make_job()
    if inputs:
        job.params = replace(job.params, edit=EditInputs(inputs, None, None, (8, 8)))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal seen
        await reader.readuntil(b"\r\n\r\n")
        seen += 1
        if seen > closed:
            for data in inputs:
                await asyncio.wait_for(reader.readuntil(data[-100:] + b"\r\n"), LIMIT_S)
            writer.write(b"HTTP/1.1 409 Conflict\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            await writer.drain()
        writer.close()

    server, transport = await asyncio.start_server(serve, "127.0.0.1", 0), HttpTransport()
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        with pytest.raises(ends_with):
            await transport.generate(url, "light", [job], False, LIMIT_S, lambda _: None)
    finally:
        await transport.close()
        server.close()
    assert seen == calls

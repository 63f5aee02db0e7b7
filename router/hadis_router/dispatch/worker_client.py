"""The transport over HTTP: one call to a worker per batch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import aiohttp
from hadis.protocol import keep_alive
from hadis.protocol.batch_request import encode_batch
from hadis.protocol.previews import Preview, preview_headers
from hadis.protocol.secret import as_bearer
from hadis.protocol.worker import AnswerReader, WorkerStatus

from hadis_router.dispatch.edit import batch_of
from hadis_router.dispatch.job import Job
from hadis_router.dispatch.partials import previews_of
from hadis_router.dispatch.trace import headers_of
from hadis_router.dispatch.transport import OnProgress, Result, WorkerBusy, WorkerGone

_CONNECT_S = 2.0
_STATUS_S = 3.0
_AT_ONCE_S = 0.5


class HttpTransport:
    """Sends batches over connections that are kept open; made inside a running loop, closed at the end."""

    def __init__(self, secret: str | None = None) -> None:
        """Open no connection yet; `secret` is what workers believe us by."""
        self._headers = as_bearer(secret)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=keep_alive.CLIENT_S)
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def status(self, url: str) -> WorkerStatus:
        """Return what a worker says of itself; raise WorkerGone where it says nothing, or nonsense."""
        limit = aiohttp.ClientTimeout(total=_STATUS_S, sock_connect=_CONNECT_S)
        try:
            async with self._session.get(f"{url}/status", headers=self._headers, timeout=limit) as answer:
                answer.raise_for_status()
                return WorkerStatus.model_validate_json(await answer.read(), extra="ignore")
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            raise WorkerGone(f"{type(error).__name__}: {error}") from None

    async def generate(
        self,
        url: str,
        tier: str,
        jobs: Sequence[Job],
        discriminate: bool,
        timeout_s: float,
        on_progress: OnProgress,
    ) -> list[Result]:
        """Have a worker make a batch; raise WorkerBusy or WorkerGone.

        A connection that was closed before any byte of an answer came is no sign that the worker is ill: it is asked
        again at once, which is safe. A worker that had begun the batch after all stops it, as its caller is gone, and
        says until then that it is busy.

        Cancelling it closes the connection, by which the worker knows that nobody waits any more.
        """
        batch = batch_of(tier, [(job.wire(), job.params.edit) for job in jobs], discriminate)
        content_type, pieces = encode_batch(batch)
        limit = aiohttp.ClientTimeout(total=timeout_s, sock_connect=_CONNECT_S)
        headers = {**self._headers, "content-type": content_type, **headers_of([job.trace for job in jobs])}
        headers |= preview_headers([previews_of(job, judged=discriminate) for job in jobs])

        async def ask() -> aiohttp.ClientResponse:
            body = pieces[0] if len(pieces) == 1 else _sent(pieces)
            return await self._session.post(f"{url}/generate", data=body, headers=headers, timeout=limit)

        try:
            async with await answer_of(ask) as answer:
                if answer.status != 200:
                    content = await answer.read()
                    if answer.status == 409:
                        raise WorkerBusy(url)
                    raise WorkerGone(f"status {answer.status}: {content[:200].decode(errors='replace')}")
                reader = AnswerReader()
                async for data in answer.content.iter_any():
                    for update in reader.feed(data):
                        if isinstance(update, Preview) and update.job >= len(jobs):
                            raise ValueError(f"a preview of job {update.job} of {len(jobs)}")
                        on_progress(update)
                return _in_order(reader.results(), jobs)
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError, KeyError) as error:
            raise WorkerGone(f"{type(error).__name__}: {error}") from None


async def _sent(pieces: Sequence[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:  # not joined: megabytes would be copied on the event loop
        yield piece


async def answer_of(ask: Callable[[], Awaitable[aiohttp.ClientResponse]]) -> aiohttp.ClientResponse:
    """Return what a server answers; asks once more where it closed the connection at once, before any byte came.

    Later, it is not an idle connection that ended, but the server.
    """
    clock = asyncio.get_running_loop().time
    began = clock()
    try:
        return await ask()
    except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
        if isinstance(error, aiohttp.ClientConnectorError) or clock() - began > _AT_ONCE_S:
            raise
        return await ask()


def _in_order(results: list[Result], jobs: Sequence[Job]) -> list[Result]:
    if len(results) == len(jobs) and all(r.id == j.id for (r, _), j in zip(results, jobs, strict=True)):
        return results
    by_id = {result.id: (result, image) for result, image in results}
    return [by_id[job.id] for job in jobs]

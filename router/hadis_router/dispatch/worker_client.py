"""The transport over HTTP: one call to a worker per batch."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import aiohttp
from hadis.protocol.batch_request import encode_batch
from hadis.protocol.worker import AnswerReader

from hadis_router.dispatch.edit import batch_of
from hadis_router.dispatch.job import Job
from hadis_router.dispatch.transport import OnProgress, Result, WorkerBusy, WorkerGone

KEEP_ALIVE_S = 3.0
"""An idle connection is kept for less than its server keeps it (uvicorn: 5 s): used just as the server closes it, it
would look like the server's end."""
_CONNECT_S = 2.0


class HttpTransport:
    """Sends batches over connections that are kept open; made inside a running loop, closed at the end."""

    def __init__(self) -> None:
        """Open no connection yet."""
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_S))

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

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

        Cancelling it closes the connection, by which the worker knows that nobody waits any more.
        """
        batch = batch_of(tier, [(job.wire(), job.params.edit) for job in jobs], discriminate)
        content_type, pieces = encode_batch(batch)
        body = pieces[0] if len(pieces) == 1 else _sent(pieces)
        limit = aiohttp.ClientTimeout(total=timeout_s, sock_connect=_CONNECT_S)
        headers = {"content-type": content_type}
        try:
            async with self._session.post(f"{url}/generate", data=body, headers=headers, timeout=limit) as answer:
                if answer.status != 200:
                    content = await answer.read()
                    if answer.status == 409:
                        raise WorkerBusy(url)
                    raise WorkerGone(f"status {answer.status}: {content[:200].decode(errors='replace')}")
                reader = AnswerReader()
                async for data in answer.content.iter_any():
                    for progress in reader.feed(data):
                        on_progress(progress)
                return _in_order(reader.results(), jobs)
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError, KeyError) as error:
            raise WorkerGone(f"{type(error).__name__}: {error}") from None


async def _sent(pieces: Sequence[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:  # not joined: megabytes would be copied on the event loop
        yield piece


def _in_order(results: list[Result], jobs: Sequence[Job]) -> list[Result]:
    if len(results) == len(jobs) and all(r.id == j.id for (r, _), j in zip(results, jobs, strict=True)):
        return results
    by_id = {result.id: (result, image) for result, image in results}
    return [by_id[job.id] for job in jobs]

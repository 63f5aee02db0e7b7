"""Images that are sent as they come (`stream: true`): each answer and, on request, partial images before it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import time
from collections.abc import AsyncGenerator
from functools import partial
from typing import Any, NamedTuple

from starlette.responses import StreamingResponse

from hadis_router.dispatch.answer import Answer, ServeError
from hadis_router.dispatch.job import Job
from hadis_router.dispatch.partials import Partial, Partials
from hadis_router.http import sse
from hadis_router.http.errors import envelope
from hadis_router.http.gateway import Gateway
from hadis_router.http.image_answers import explain, made_quality
from hadis_router.http.images import GenerateRequest
from hadis_router.http.progress import progress_line

COMMENT_EVERY_S = 3.0
"""Proxies close what is silent for long, some after 15 s."""

_NO_TOKENS = {
    "total_tokens": 0,
    "input_tokens": 0,
    "output_tokens": 0,
    "input_tokens_details": {"text_tokens": 0, "image_tokens": 0},
}


class _ImageEvent(NamedTuple):
    """An image that can be sent: of which job, and which of its partial images; else it is its answer."""

    job_index: int
    partial_index: int | None = None
    partial: Partial | None = None


async def stream_images(
    gateway: Gateway,
    request: GenerateRequest,
    jobs: list[Job],
    disconnected: asyncio.Task[None],
    request_id: str,
) -> StreamingResponse:
    """Return the stream once the jobs are admitted: what is refused raises ServeError, with its own status.

    What fails later is an `error` event. Comments keep proxies from closing the connection, and say how far the jobs
    are: official clients skip them, while an event of a type that they do not know would be an image without pixels.
    """
    # Of each job its partial images and its answer, at most, and the end, which is None.
    ready: asyncio.Queue[_ImageEvent | None] = asyncio.Queue((request.partial_images + 1) * len(jobs) + 1)
    for i, job in enumerate(jobs):
        job.partials = Partials(request.partial_images, partial(_put_partial, ready, i))
        job.future.add_done_callback(partial(_put_completed, ready, i))
    try:
        gateway.submit(jobs)
    except ServeError:
        disconnected.cancel()
        raise

    async def stream() -> AsyncGenerator[bytes]:
        events = _events(gateway, request, jobs, ready, disconnected, request_id)
        try:
            async for event in events:
                yield event
        except ServeError as error:
            yield sse.event("error", {"type": "error", **envelope(error)})
        finally:
            await events.aclose()

    def end() -> None:  # also of a stream that never began, for its client was gone
        disconnected.cancel()
        gateway.cancel(jobs)

    return sse.response(stream(), end)


async def _events(
    gateway: Gateway,
    request: GenerateRequest,
    jobs: list[Job],
    ready: asyncio.Queue[_ImageEvent | None],
    disconnected: asyncio.Task[None],
    request_id: str,
) -> AsyncGenerator[bytes]:
    """Yield one event per image that comes, and comments between; raise ServeError where one fails."""
    everything = asyncio.ensure_future(gateway.answers(jobs, disconnected))
    everything.add_done_callback(lambda _: ready.put_nowait(None))
    try:
        with gateway.under_way.served(request_id, jobs):
            yield sse.comment(progress_line(gateway, jobs))
            while True:
                try:
                    event = await asyncio.wait_for(ready.get(), COMMENT_EVERY_S)
                except TimeoutError:
                    yield sse.comment(progress_line(gateway, jobs))
                    continue
                if event is None:
                    break
                yield await asyncio.to_thread(_encode, request, jobs[event.job_index], event)
            await everything
    finally:
        everything.cancel()
        with contextlib.suppress(asyncio.CancelledError, ServeError):
            await everything


def _put_partial(ready: asyncio.Queue[_ImageEvent | None], index: int, number: int, shown: Partial) -> None:
    ready.put_nowait(_ImageEvent(index, number, shown))


def _put_completed(ready: asyncio.Queue[_ImageEvent | None], index: int, future: asyncio.Future[Answer]) -> None:
    """Announce an answer; a job without one is left to `everything`, which raises its error."""
    if not future.cancelled() and future.exception() is None:
        ready.put_nowait(_ImageEvent(index))


def _encode(request: GenerateRequest, job: Job, event: _ImageEvent) -> bytes:
    """Return an image's event in OpenAI's form; `index` is ours, for requests of several images."""
    image: Answer | Partial = event.partial or job.future.result()
    name = f"{request.event}.{'completed' if isinstance(image, Answer) else 'partial_image'}"
    document: dict[str, Any] = {
        "type": name,
        "b64_json": base64.b64encode(image.image).decode(),
        "created_at": int(time.time()),
        "size": image.size or request.size,
        "quality": made_quality(request.quality, image.path if isinstance(image, Answer) else image.made_by),
        "background": "opaque",
        "output_format": request.output_format,
        "index": event.job_index,
    }
    if isinstance(image, Partial):
        document["partial_image_index"] = event.partial_index
    else:
        document["usage"] = _NO_TOKENS
        if request.explain:
            document["hadis"] = explain(request, image)
    return sse.event(name, document)

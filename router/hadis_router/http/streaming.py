"""Images that are sent as they come (`stream: true`): each answer and, on request, light images before it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator
from functools import partial
from typing import Any, Literal, NamedTuple

from starlette.responses import StreamingResponse

from hadis_router.dispatch.answer import Answer, ServeError
from hadis_router.dispatch.job import Job
from hadis_router.http import sse
from hadis_router.http.errors import envelope
from hadis_router.http.gateway import Gateway
from hadis_router.http.images import GenerateRequest, explain

_NO_TOKENS = {
    "total_tokens": 0,
    "input_tokens": 0,
    "output_tokens": 0,
    "input_tokens_details": {"text_tokens": 0, "image_tokens": 0},
}


class _ImageEvent(NamedTuple):
    """An image that can be sent: of which job, and whether it is its light image or its answer."""

    job_index: int
    kind: Literal["partial_image", "completed"]


async def stream_images(
    gateway: Gateway,
    request: GenerateRequest,
    jobs: list[Job],
    disconnected: asyncio.Task[None],
    request_id: str | None,
) -> StreamingResponse:
    """Return the stream once its first image is there: what fails before raises ServeError, with its own status."""
    events = _events(gateway, request, jobs, disconnected, request_id)
    first = await anext(events)

    async def stream() -> AsyncIterator[bytes]:
        try:
            yield first
            async for event in events:
                yield event
        except ServeError as error:
            yield sse.event("error", {"type": "error", **envelope(error)})
        finally:
            await events.aclose()

    return sse.response(stream())


async def _events(
    gateway: Gateway,
    request: GenerateRequest,
    jobs: list[Job],
    disconnected: asyncio.Task[None],
    request_id: str | None,
) -> AsyncGenerator[bytes]:
    """Yield one event per image that comes; raise ServeError where one fails. Cancels `disconnected` at its end."""
    # Two images per job at most, and the end, which is None.
    ready: asyncio.Queue[_ImageEvent | None] = asyncio.Queue(2 * len(jobs) + 1)
    for i, job in enumerate(jobs):
        if request.partial_images:
            job.on_light = partial(ready.put_nowait, _ImageEvent(i, "partial_image"))
        job.future.add_done_callback(partial(_put_completed, ready, i))
    everything = asyncio.ensure_future(gateway.make(jobs, disconnected))
    everything.add_done_callback(lambda _: ready.put_nowait(None))
    try:
        with gateway.progress_shown(request_id, jobs):
            while (event := await ready.get()) is not None:
                yield await asyncio.to_thread(_encode, request, jobs[event.job_index], event)
            await everything
    finally:
        disconnected.cancel()
        everything.cancel()
        with contextlib.suppress(asyncio.CancelledError, ServeError):
            await everything


def _put_completed(ready: asyncio.Queue[_ImageEvent | None], index: int, future: asyncio.Future[Answer]) -> None:
    """Announce an answer; a job without one is left to `everything`, which raises its error."""
    if not future.cancelled() and future.exception() is None:
        ready.put_nowait(_ImageEvent(index, "completed"))


def _encode(request: GenerateRequest, job: Job, event: _ImageEvent) -> bytes:
    """Return an image's event in OpenAI's form; `index` is ours, for requests of several images."""
    answer = job.future.result() if event.kind == "completed" else None
    image = answer.image if answer else job.light_image
    size = answer.size if answer else job.attempts[0].size
    assert image is not None
    name = f"{request.event}.{event.kind}"
    document: dict[str, Any] = {
        "type": name,
        "b64_json": base64.b64encode(image).decode(),
        "created_at": int(time.time()),
        "size": size or request.size,
        "quality": request.quality,
        "background": "opaque",
        "output_format": request.output_format,
        "index": event.job_index,
    }
    if answer is None:
        document["partial_image_index"] = 0
    else:
        document["usage"] = _NO_TOKENS
        if request.explain:
            document["hadis"] = explain(answer, request.keep_light)
    return sse.event(name, document)

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
    """An image that can be sent: of which job, and whether it is its light image or its answer."""

    job_index: int
    kind: Literal["partial_image", "completed"]


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
    # Two images per job at most, and the end, which is None.
    ready: asyncio.Queue[_ImageEvent | None] = asyncio.Queue(2 * len(jobs) + 1)
    for i, job in enumerate(jobs):
        if request.partial_images:
            job.on_light = partial(ready.put_nowait, _ImageEvent(i, "partial_image"))
        job.future.add_done_callback(partial(_put_completed, ready, i))
    try:
        gateway.submit(jobs)
    except ServeError:
        disconnected.cancel()
        raise

    async def stream() -> AsyncIterator[bytes]:
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
        with gateway.progress_shown(request_id, jobs):
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
        "quality": made_quality(request.quality, answer.path if answer else "light"),
        "background": "opaque",
        "output_format": request.output_format,
        "index": event.job_index,
    }
    if answer is None:
        document["partial_image_index"] = 0
    else:
        document["usage"] = _NO_TOKENS
        if request.explain:
            document["hadis"] = explain(request, answer)
    return sse.event(name, document)

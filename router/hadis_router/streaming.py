"""Images that are sent as they come (`stream: true`): a light image while the heavy tier works, then each final one."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator
from functools import partial
from typing import Any

from starlette.responses import StreamingResponse

from hadis_router import sse
from hadis_router.errors import envelope
from hadis_router.images import GenerateRequest, explain
from hadis_router.job import Job, ServeError
from hadis_router.service import Service

_NO_TOKENS = {
    "total_tokens": 0,
    "input_tokens": 0,
    "output_tokens": 0,
    "input_tokens_details": {"text_tokens": 0, "image_tokens": 0},
}


async def stream_images(
    service: Service, asked: GenerateRequest, jobs: list[Job], gone: asyncio.Task[None], request_id: str | None
) -> StreamingResponse:
    """Return the stream once its first image is there: what fails before raises ServeError, with its own status."""
    events = _events(service, asked, jobs, gone, request_id)
    first = await anext(events)

    async def all_of_them() -> AsyncIterator[bytes]:
        try:
            yield first
            async for event in events:
                yield event
        except ServeError as error:
            yield sse.event("error", {"type": "error", **envelope(error)})
        finally:
            await events.aclose()

    return sse.response(all_of_them())


async def _events(
    service: Service, asked: GenerateRequest, jobs: list[Job], gone: asyncio.Task[None], request_id: str | None
) -> AsyncGenerator[bytes]:
    """Yield an event for each image that comes; raise ServeError where one of them fails. Ends `gone` with itself."""
    happened: asyncio.Queue[tuple[str, int] | None] = asyncio.Queue(2 * len(jobs) + 1)
    for i, job in enumerate(jobs):
        if asked.partial_images:
            job.on_light = partial(happened.put_nowait, ("partial_image", i))
        job.future.add_done_callback(partial(_put, happened, i))
    everything = asyncio.ensure_future(service.make(jobs, gone))
    everything.add_done_callback(lambda _: happened.put_nowait(None))
    try:
        with service.followed(request_id, jobs):
            while (found := await happened.get()) is not None:
                kind, i = found
                future = jobs[i].future
                if kind == "completed" and (future.cancelled() or future.exception()):
                    continue  # `everything` says which error
                yield await asyncio.to_thread(_event, service, asked, jobs[i], kind, i)
            await everything
    finally:
        gone.cancel()
        everything.cancel()
        with contextlib.suppress(asyncio.CancelledError, ServeError):
            await everything


def _put(happened: asyncio.Queue[tuple[str, int] | None], index: int, _: object) -> None:
    happened.put_nowait(("completed", index))


def _event(service: Service, asked: GenerateRequest, job: Job, kind: str, index: int) -> bytes:
    """Return an image's event in OpenAI's form; `index` is ours, for requests of several images."""
    answer = job.future.result() if kind == "completed" else None
    image = answer.image if answer else job.light_image
    assert image is not None
    tier = job.attempts[-1].tier if job.attempts else job.tier
    name = f"image_generation.{kind}"
    told: dict[str, Any] = {
        "type": name,
        "b64_json": base64.b64encode(image).decode(),
        "created_at": int(time.time()),
        "size": service.profile.tiers[tier].size if asked.size == "auto" else asked.size,
        "quality": asked.quality,
        "background": "opaque",
        "output_format": asked.output_format,
        "index": index,
    }
    if answer is None:
        told["partial_image_index"] = 0
    else:
        told["usage"] = _NO_TOKENS
        if asked.explain:
            told["hadis"] = explain(answer, asked.keep_light)
    return sse.event(name, told)

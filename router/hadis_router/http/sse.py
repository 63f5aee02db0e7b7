"""Server-sent events, as browsers and OpenAI's client read them."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Callable

from starlette.requests import ClientDisconnect
from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

log = logging.getLogger(__name__)

STALLED_S = 30.0
"""A client that takes nothing for so long is gone."""


def event(name: str, data: object) -> bytes:
    """Return one event."""
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()


def comment(text: str) -> bytes:
    """Return a line that clients skip, and for which proxies keep the connection open.

    No empty line ends it: older versions of OpenAI's Go client take one for an event without data, and fail.
    """
    return f": {text}\n".encode()


def response(events: AsyncGenerator[bytes], on_end: Callable[[], None] = lambda: None) -> StreamingResponse:
    """Return the response that sends events as they come; its headers ask proxies not to buffer them.

    The events are closed, and then `on_end` is called once, when it has ended in whatever way.
    """
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    answer = _Events(events, media_type="text/event-stream", headers=headers)
    answer.events, answer.on_end = events, on_end
    return answer


class _Events(StreamingResponse):
    events: AsyncGenerator[bytes]
    on_end: Callable[[], None]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_soon(message: Message) -> None:
            async with asyncio.timeout(STALLED_S):
                await send(message)

        try:
            await super().__call__(scope, receive, send_soon)
        except (TimeoutError, ClientDisconnect):  # Starlette takes the one for the other
            log.info("a client that took nothing of its events for %g s is left", STALLED_S)
        finally:
            try:
                await self.events.aclose()  # Starlette leaves them as they are, to be collected some time
            finally:
                self.on_end()

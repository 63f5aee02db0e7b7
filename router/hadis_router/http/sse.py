"""Server-sent events, as browsers and OpenAI's client read them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send


def event(name: str, data: object) -> bytes:
    """Return one event."""
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()


def response(events: AsyncIterator[bytes], ended: Callable[[], None] = lambda: None) -> StreamingResponse:
    """Return the response that sends events as they come; its headers ask proxies not to buffer them.

    `ended` is called once the response is over, also where its client was gone before the first event.
    """
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return _Events(events, headers, ended)


class _Events(StreamingResponse):
    def __init__(self, events: AsyncIterator[bytes], headers: dict[str, str], ended: Callable[[], None]) -> None:
        super().__init__(events, media_type="text/event-stream", headers=headers)
        self._ended = ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._ended()

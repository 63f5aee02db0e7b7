"""Server-sent events, as browsers and OpenAI's client read them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

from starlette.responses import StreamingResponse


def event(name: str, data: object) -> bytes:
    """Return one event."""
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()


def response(events: AsyncIterator[bytes]) -> StreamingResponse:
    """Return the response that sends events as they come; its headers ask proxies not to buffer them."""
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(events, media_type="text/event-stream", headers=headers)

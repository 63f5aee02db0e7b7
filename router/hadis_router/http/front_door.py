"""The front door: refuses what is sure to be refused before a request is parsed, routed and scored.

    server -> front door -> FastAPI -> ...
                  \\__ 429, 503

It sits before FastAPI (an ASGI middleware) because that, the body's validation and the difficulty score are what a
request costs; a flood that is refused behind them takes the CPU of those who are served. It also sees every refusal
that comes from behind, wherever it was decided, and so it is here that retries are known and refusals are paced.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hadis_router.dispatch.answer import ServeError
from hadis_router.http.clients import client_key
from hadis_router.http.errors import error_response
from hadis_router.http.forwarding import is_forwarded
from hadis_router.http.gateway import Gateway
from hadis_router.http.images import read_request

_PATH = "/v1/images/"
_SMALL_BYTES = 16 * 1024
"""Bodies up to this are read before a refusal, to know a retry; the server reads on over what is larger."""
_REFUSED = (429, 503)
RETRY = "hadis.retry"
"""In the scope: whether the request is a retry, which is no new demand."""


class FrontDoor:
    """Passes requests for images on, or refuses them; everything else goes through."""

    def __init__(self, app: ASGIApp) -> None:
        """Stand before an application whose state has the gateway."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["method"] != "POST" or _PATH not in scope["path"]:
            await self._app(scope, receive, send)
            return
        gateway: Gateway = scope["app"].state.gateway
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        forwarded = is_forwarded(headers, scope["client"], gateway.peers)
        address = headers.get("x-forwarded-for") if forwarded else None
        client = client_key(headers, None, address or (scope["client"] or (None,))[0])
        first = await receive() if _is_small(headers) else None
        body: bytes = first.get("body", b"") if first else b""
        visit = _Visit(gateway, client, gateway.retries.attempt(client, body or repr(headers).encode()), not forwarded)
        scope[RETRY] = visit.retry
        error = None if b'"user"' in body else gateway.sure_refusal(client)
        if error is not None:
            await visit.refuse(error, body, send)
            return
        await self._app(scope, _replay(first, receive) if first else receive, visit.watched(send))


class _Visit:
    """One request for images at the door."""

    def __init__(self, gateway: Gateway, client: str, attempt: int, paced: bool) -> None:
        self._gateway, self._client, self._attempt, self._paced = gateway, client, attempt, paced
        self._clock = asyncio.get_running_loop().time
        self.retry = gateway.retries.is_retry(attempt, self._clock())

    async def refuse(self, error: ServeError, body: bytes, send: Send) -> None:
        """Answer with an error, which the request's body was not looked at for; an image that is wanted is counted."""
        metrics = self._gateway.metrics
        metrics.refused(error.code, 1)
        if not self.retry:
            metrics.arrived(*_images(body))
        await error_response(error)({"type": "http"}, _nothing, self.watched(send))

    def watched(self, send: Send) -> Send:
        """Return what sends an answer, a refusal in its time."""

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] in _REFUSED:
                now = self._clock()
                self._gateway.retries.refused(self._attempt, now)
                if self._paced and message["status"] == 429:
                    delay_s = self._gateway.refusal_pace.delay_s(self._client, now)
                    if delay_s:
                        await asyncio.sleep(delay_s)
            await send(message)

        return sending


def _is_small(headers: Mapping[str, str]) -> bool:
    length = headers.get("content-length", "")
    return length.isdigit() and 0 < len(length) < 9 and int(length) <= _SMALL_BYTES


def _images(body: bytes) -> tuple[int, str]:
    """Return how many images a body asks for, and of which size; one of any where it does not say so."""
    try:
        request = read_request(body)
    except ServeError:
        return 1, "auto"
    return request.n, request.size


def _replay(first: Message, receive: Receive) -> Receive:
    """Return what receives a message that was received already, and then the others."""
    kept = [first]

    async def again() -> Message:
        return kept.pop() if kept else await receive()

    return again


async def _nothing() -> Message:
    return {"type": "http.disconnect"}

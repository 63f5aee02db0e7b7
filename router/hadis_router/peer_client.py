"""One router's calls to another: a request is passed on as it came, and its answer back.

A forwarded request says so in its headers, and is served where it arrives: routers that see different lists for a
moment cannot send it in circles. It says how old it is, too, for its deadline counts from its first arrival.
"""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
from fastapi import Request, Response
from starlette.responses import StreamingResponse

from hadis_router.peers import Peers
from hadis_router.worker_client import IDLE_S

FORWARDED, AGE, CLIENT = "hadis-forwarded", "hadis-age-seconds", "x-forwarded-for"
_CONNECT_S, _MARGIN_S = 1.0, 5.0
_TELL_OF_CONNECTION = frozenset(
    {
        "connection",
        "content-length",
        "date",
        "expect",
        "host",
        "keep-alive",
        "server",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


class PeerUnavailable(Exception):
    """A router does not answer, or stops: another one may serve the request."""


class PeerClient:
    """Connections to other routers, kept open; made inside a running loop, closed at the end."""

    def __init__(self, slo_s: float) -> None:
        """`slo_s` bounds how long an answer may take."""
        self._slo_s = slo_s
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE_S), auto_decompress=False
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def forward(self, request: Request, body: bytes, owner: str, age_s: float) -> Response:
        """Return a router's answer to a request; raise PeerUnavailable where it has none."""
        headers = _passed_on(request.headers) | {FORWARDED: "1", AGE: f"{age_s:.6f}"}
        if request.client is not None:
            headers[CLIENT] = request.client.host
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=self._slo_s + _MARGIN_S)
        method, url = request.method, owner + request.url.path
        async with AsyncExitStack() as stack:
            try:
                answer = await stack.enter_async_context(
                    self._session.request(method, url, headers=headers, data=body, timeout=timeout)
                )
                if answer.content_type == "text/event-stream":
                    return _stream(answer, stack.pop_all())
                content = await answer.read()
            except (TimeoutError, aiohttp.ClientError, OSError) as error:
                raise PeerUnavailable(f"{url}: {type(error).__name__}: {error}") from None
            if answer.status == 503 and _code(content) == "stopping":
                raise PeerUnavailable(f"{url}: stopping")
            return Response(content, answer.status, _passed_on(answer.headers))


def is_forwarded(request: Request) -> bool:
    """Return whether another router has handed a request on."""
    return FORWARDED in request.headers


def age_s(request: Request) -> float:
    """Return how long ago (seconds) a forwarded request arrived at its first router; 0 for any other."""
    try:
        age = float(request.headers.get(AGE, "0")) if is_forwarded(request) else 0.0
    except ValueError:
        return 0.0
    return age if math.isfinite(age) and age > 0 else 0.0


def address_of(request: Request, peers: Peers) -> str | None:
    """Return the address of a request's client: as another router says, or of whoever sent it.

    Others than routers are not believed, else a client could give itself a new address with each request.
    """
    peer = request.client.host if request.client else None
    said = request.headers.get(CLIENT) if is_forwarded(request) and peers.is_router(peer) else None
    return said or peer


def _stream(answer: aiohttp.ClientResponse, stack: AsyncExitStack) -> Response:
    async def parts() -> AsyncIterator[bytes]:
        async with stack:
            async for part in answer.content.iter_any():
                yield part

    return StreamingResponse(parts(), answer.status, _passed_on(answer.headers))


def _passed_on(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers that are of the message, not of the connection that it came by."""
    return {name.lower(): value for name, value in headers.items() if name.lower() not in _TELL_OF_CONNECTION}


def _code(content: bytes) -> Any:
    try:
        return json.loads(content)["error"]["code"]
    except (ValueError, KeyError, TypeError):
        return None

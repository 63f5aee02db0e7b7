"""One router's calls to another: a request is passed on as it came, and its answer back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
from fastapi import Request, Response
from hadis.protocol import keep_alive
from hadis.protocol.secret import as_header
from starlette.responses import StreamingResponse

from hadis_router.dispatch import refusals
from hadis_router.dispatch.worker_client import answer_of
from hadis_router.http import sse
from hadis_router.http.entrance import REQUEST_ID, request_id_of
from hadis_router.http.errors import envelope
from hadis_router.http.links.public_url import PUBLIC_URL, forwarded_url

HOPS, AGE, CLIENT = "hadis-forwarded", "hadis-age-seconds", "x-forwarded-for"
"""Headers of a forwarded request: by how many routers; how old it is; the address that it came from."""
TRACE_HEADERS = "trace_headers"
"""Name in a request's state of the headers by which another router goes on with its trace."""
_CONNECT_S, _MARGIN_S, _CHECK_S = 1.0, 1.0, 1.0
_OF_THE_CONNECTION = frozenset(
    {"connection", "content-length", "date", "expect", "host", "keep-alive", "server", "te", "trailer"}
    | {"transfer-encoding", "upgrade"}
)


class PeerUnavailable(Exception):
    """A router does not answer, or stops: another one may serve the request."""


class PeerClient:
    """Connections to other routers, kept open; made inside a running loop, closed at the end."""

    def __init__(self, slo_s: float, secret: str | None = None) -> None:
        """`slo_s` bounds how long an answer may take; `secret` is what the service's routers know each other by."""
        self._slo_s, self._secret = slo_s, as_header(secret)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=keep_alive.CLIENT_S), auto_decompress=False
        )
        self._waiting: dict[str, set[asyncio.Task[Response]]] = {}
        """By router, the requests that it has not begun to answer."""

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def ask(
        self,
        request: Request,
        body: bytes,
        router: str,
        age_s: float,
        hops: int,
        address: str | None,
        ended: Callable[[], bool] = lambda: False,
    ) -> Response:
        """Return a router's answer to a request that is `age_s` old and came from `address`.

        Raises PeerUnavailable where it has none.
        A stream of events goes on until it, or who reads it, ends, or `ended` says so.
        """
        task = asyncio.ensure_future(self._ask(request, body, router, age_s, hops, address, ended))
        waiting = self._waiting.setdefault(router, set())
        waiting.add(task)
        try:
            await asyncio.wait({task})
            if task.cancelled():
                raise PeerUnavailable(f"{router} is given up")
            return task.result()
        finally:
            task.cancel()
            waiting.discard(task)
            if not waiting:
                self._waiting.pop(router, None)

    def give_up(self, router: str) -> None:
        """Let all who wait for a router's answer ask another one."""
        for task in self._waiting.get(router, ()):
            task.cancel()

    async def _ask(
        self,
        request: Request,
        body: bytes,
        router: str,
        age_s: float,
        hops: int,
        address: str | None,
        ended: Callable[[], bool],
    ) -> Response:
        headers = _passed_on(request.headers) | self._secret
        headers |= {HOPS: str(hops), AGE: f"{age_s:.6f}", PUBLIC_URL: forwarded_url(request)}
        headers[REQUEST_ID] = request_id_of(request)
        headers |= request.scope["state"].get(TRACE_HEADERS, {})
        if address is not None:
            headers[CLIENT] = address
        left_s = max(0.0, self._slo_s - age_s) + _MARGIN_S
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=left_s)
        async with AsyncExitStack() as stack:
            try:
                url = router + request.url.path
                answer = await stack.enter_async_context(
                    await answer_of(
                        lambda: self._session.request(request.method, url, headers=headers, data=body, timeout=timeout)
                    )
                )
                if answer.content_type == "text/event-stream":
                    return _stream(answer, stack.pop_all(), ended, request.method == "POST")
                content = await answer.read()
            except (TimeoutError, aiohttp.ClientError, OSError) as error:
                raise PeerUnavailable(f"{router}: {type(error).__name__}: {error}") from None
            if answer.status == 503 and _code(content) == "stopping":
                raise PeerUnavailable(f"{router} is stopping")
            return Response(content, answer.status, _passed_on(answer.headers))


def _stream(
    answer: aiohttp.ClientResponse, stack: AsyncExitStack, ended: Callable[[], bool], of_images: bool
) -> Response:
    async def parts() -> AsyncIterator[bytes]:
        async with stack:
            while not ended():
                try:
                    part = await asyncio.wait_for(answer.content.readany(), _CHECK_S)
                except aiohttp.ClientError:  # the router is gone; who reads asks again
                    if of_images:
                        yield sse.event("error", {"type": "error", **envelope(refusals.router_away())})
                    return
                except TimeoutError:
                    continue
                if not part:
                    return
                yield part

    return StreamingResponse(parts(), answer.status, _passed_on(answer.headers))


def _passed_on(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers that are of the message, not of the connection that it came by."""
    return {name.lower(): value for name, value in headers.items() if name.lower() not in _OF_THE_CONNECTION}


def _code(content: bytes) -> Any:
    try:
        return json.loads(content)["error"]["code"]
    except (ValueError, KeyError, TypeError):
        return None

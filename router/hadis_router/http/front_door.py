"""The front door: refuses what is sure to be refused before a request is parsed, routed and scored.

    server -> front door -> FastAPI -> ...
                  \\__ 401, 429, 503

It sits before FastAPI (an ASGI middleware) because that, the body's validation and the difficulty score are what a
request costs; a flood that is refused behind them takes the CPU of those who are served. It also sees every refusal
that comes from behind, wherever it was decided, and so it is here that retries are known and refusals are paced.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping

from hadis.planning.sizes import AUTO
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hadis_router.dispatch.answer import ServeError
from hadis_router.http.access import VISITOR, Visitor
from hadis_router.http.azure import DEPLOYMENTS
from hadis_router.http.errors import error_response
from hadis_router.http.forwarding import is_forwarded
from hadis_router.http.gateway import Gateway
from hadis_router.http.repeats.keys import is_repeat
from hadis_router.http.request_body import read_request

_PATHS = ("/v1/images/", "/v1/hadis/jobs", DEPLOYMENTS)
_SMALL_BYTES = 16 * 1024
"""Bodies up to this are read before a refusal, to know a retry; the server reads on over what is larger."""
_REFUSED = (429, 503)
_NAMES_USER = (b'"user"', b'"safety_identifier"')
"""Where there is no key, such a field says who the client is."""
_OF_ONE_TRY = ("x-request-id", "x-stainless-retry-count", "traceparent")
"""Headers that another try of the same request has anew: ours, the official client's, a trace's."""
RETRY = "hadis.retry"
"""In the scope: whether the request is a retry, which is no new demand."""


def wants_images(scope: Scope) -> bool:
    """Return whether an HTTP request is one for images."""
    path: str = scope["path"]
    return scope["method"] == "POST" and path.startswith(_PATHS)


class FrontDoor:
    """Lets in who may come in, and passes requests for images on or refuses them."""

    def __init__(self, app: ASGIApp) -> None:
        """Stand before an application whose state has the gateway."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        gateway: Gateway = scope["app"].state.gateway
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        host, path = (scope.get("client") or (None,))[0], scope["path"]
        for_images = wants_images(scope)
        try:
            visitor = gateway.access.admit(path, headers, host, is_forwarded(headers, host, gateway))
        except ServeError as error:
            if for_images:
                gateway.refused(error, 1)
            delay_s = gateway.refusal_pace.delay_s(f"address:{host}", asyncio.get_running_loop().time())
            await asyncio.sleep(delay_s)
            await error_response(error)(scope, receive, send)
            return
        scope[VISITOR] = visitor
        if not for_images:
            await self._app(scope, receive, _paced(send, gateway, visitor))
            return
        messages = await _all_of(receive) if _is_small(headers) else []
        body = b"".join(message.get("body", b"") for message in messages)
        visit = _Visit(gateway, visitor, body)
        scope[RETRY] = visit.retry
        if (refusal := visit.sure_refusal()) is not None:
            await visit.refuse(refusal, send)
            return
        await self._app(scope, _replay(messages, receive), visit.watched(send))


class _Visit:
    """One request for images at the door."""

    def __init__(self, gateway: Gateway, visitor: Visitor, body: bytes) -> None:
        self._gateway, self._visitor, self._body = gateway, visitor, body
        self._client, self._clock = visitor.client(None), asyncio.get_running_loop().time
        self._attempt = gateway.retries.attempt(self._client, _known_by(visitor.headers, body))
        self._images = gateway.retries.take(self._attempt, self._clock())
        self.retry = self._images is not None
        self._serves = gateway.owns_all() and not gateway.draining
        """Whether this router serves it, and counts it towards the client's limits."""

    def sure_refusal(self) -> ServeError | None:
        """Return what the request is refused with whatever its body says, if that is known."""
        if not self._serves:
            return None
        gateway, now = self._gateway, self._clock()
        if any(name in self._body for name in _NAMES_USER) and self._visitor.client("other") != self._client:
            client = None  # it may be another one, and has no limits of its own
        else:
            client = self._client
            if (error := gateway.use.refusal(client, now)) is not None:
                return error
            gateway.use.count(client, now)
        if is_repeat(gateway.repeats, gateway.models, self._visitor, self._body):
            return None  # it takes no GPU, and is no reason to keep one
        return gateway.dispatcher.sure_refusal(client)

    async def refuse(self, error: ServeError, send: Send) -> None:
        """Answer with an error, which the request's body was not looked at for; an image that is wanted is counted."""
        if self._images is None:
            self._images, size = self._requested_images()
            self._gateway.metrics.arrived(self._images, size)
        self._gateway.refused(error, self._images)
        await error_response(error)({"type": "http"}, _nothing, self.watched(send))

    def watched(self, send: Send) -> Send:
        """Return what sends an answer, a refusal in its time."""
        send = _paced(send, self._gateway, self._visitor)

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                now = self._clock()
                if self._serves and (limits := self._gateway.use.headers(self._client, now)):
                    message = {**message, "headers": [*message["headers"], *limits]}
                if message["status"] in _REFUSED:
                    images = self._images or self._requested_images()[0]
                    self._gateway.retries.refused(self._attempt, images, now)
            await send(message)

        return sending

    def _requested_images(self) -> tuple[int, str]:
        """Return how many images the body asks for, and of which size; one of any where it does not say so."""
        try:
            request = self._gateway.models.with_size_made(read_request(self._body))
        except ServeError:
            return 1, AUTO
        return request.n, request.size


def _paced(send: Send, gateway: Gateway, visitor: Visitor) -> Send:
    """Return what sends an answer, and one for a fault of its client later where many came before it."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start" and 400 <= message["status"] < 500 and not visitor.forwarded:
            now = asyncio.get_running_loop().time()
            await asyncio.sleep(gateway.refusal_pace.delay_s(visitor.client(None), now))
        await send(message)

    return sending


def _known_by(headers: Mapping[str, str], body: bytes) -> bytes:
    """Return what is the same for every try of a request: its body, or its headers where that was not read."""
    kind, _, boundary = headers.get("content-type", "").partition("boundary=")
    if body:  # the clients' libraries draw a form's boundary anew for each try
        return body.replace(boundary.strip('"').encode(), b"") if boundary else body
    kept = {name: value for name, value in headers.items() if name not in _OF_ONE_TRY}
    return repr(sorted((kept | {"content-type": kind}).items())).encode()


def _is_small(headers: Mapping[str, str]) -> bool:
    length = headers.get("content-length", "")
    return length.isdigit() and 0 < len(length) < 9 and int(length) <= _SMALL_BYTES


async def _all_of(receive: Receive) -> list[Message]:
    """Return the messages of a whole body, which the server's deadlines are for."""
    messages = [await receive()]
    while messages[-1].get("more_body"):
        messages.append(await receive())
    return messages


def _replay(messages: list[Message], receive: Receive) -> Receive:
    """Return what receives messages that were received already, and then the others."""
    kept = deque(messages)

    async def again() -> Message:
        return kept.popleft() if kept else await receive()

    return again


async def _nothing() -> Message:
    return {"type": "http.disconnect"}

"""What every request passes first: it gets its id, which its answer says, and its path is made plain.

It is ASGI, not a handler, so that answers to what has no handler say the id too.
"""

from __future__ import annotations

import logging
import re
import secrets

from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hadis_router.dispatch.answer import ServeError

log = logging.getLogger(__name__)

REQUEST_ID = "x-request-id"
_PLACES, _LONGEST_PLACE = 4, 64
_HEADER = REQUEST_ID.encode()
_SAFE_ID = re.compile(rb"[A-Za-z0-9._:=+@-]{1,128}")
_UUID = re.compile(r"[0-9a-f]{8}(-?)[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{12}", re.IGNORECASE)
"""What ids look like that are made here, and those of clients that nobody guesses."""
_SLASHES = re.compile(r"//+")


class Entrance:
    """Gives each request an id, its client's own if that is safe in logs, headers and paths; takes needless slashes."""

    def __init__(self, app: ASGIApp) -> None:
        """Stand before an application."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and its answer back."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _id_of(scope)
        scope.setdefault("state", {})["request_id"] = request_id.decode()
        scope["path"] = _plain(scope["path"], scope.get("root_path", ""))

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                # That of a router which this one asked is there already.
                others = [pair for pair in message.get("headers", ()) if pair[0] != _HEADER]
                message["headers"] = [*others, (_HEADER, request_id)]
                if log.isEnabledFor(logging.DEBUG):
                    said = request_id.decode(), scope["method"], _place(scope["path"])
                    log.debug("request %s: %s %s: %d", *said, message["status"])
            await send(message)

        await self._app(scope, receive, send_with_id)


def request_id_of(request: Request) -> str:
    """Return the id that a request came with, or got here."""
    request_id: str = request.state.request_id
    return request_id


def check_unguessable(request_id: str) -> None:
    """Raise ServeError 400 for an id that others could guess: whoever knows one is taken to have sent the request."""
    if not _UUID.fullmatch(request_id):
        words = "progress is told by an X-Request-Id that the router made, or that is a UUID"
        raise ServeError(400, "invalid_value", f"request_id: {words}", param="request_id")


def _id_of(scope: Scope) -> bytes:
    for name, value in scope["headers"]:
        if name == _HEADER and _SAFE_ID.fullmatch(value):
            return bytes(value)
    return secrets.token_hex(16).encode()


def _place(path: str) -> str:
    """Return a path as logs may have it: without the ends by which images and jobs are had."""
    return repr("/".join(path.split("/")[:_PLACES])[:_LONGEST_PLACE])


def _plain(path: str, root_path: str) -> str:
    """Return a path without empty parts, so that what a client joined with a slash too many is found."""
    if "//" in path:
        path = _SLASHES.sub("/", path)
    if path.endswith("/") and path.rstrip("/") != root_path.rstrip("/"):
        return path[:-1]
    return path

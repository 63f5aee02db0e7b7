"""The URL by which the client of a request reaches the service: behind proxies it is not where the router listens.

A router that forwards a request tells the owner of its queue the URL (`PUBLIC_URL`), for it alone sees the client's
headers. Only routers are believed.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from fastapi import Request

from hadis_router.dispatch.answer import ServeError
from hadis_router.http.access import visitor_of
from hadis_router.http.links.proxy_headers import client_url
from hadis_router.http.links.settings import LinkSettings

PUBLIC_URL = "hadis-public-url"
"""Header of a forwarded request."""
_VALID = re.compile(r"https?://[\w.:\[\]-]{1,255}(/[\w.~/-]{0,255})?", re.ASCII)

Scope = MutableMapping[str, Any]
App = Callable[[Scope, Any, Any], Awaitable[None]]


def public_url(request: Request) -> str:
    """Return the URL without a slash at its end; raise ServeError 400 where headers make none."""
    settings: LinkSettings = request.app.state.links.settings
    if settings.public_url is not None:
        return settings.public_url
    sender, headers = request.client.host if request.client else None, request.headers
    public = headers.get(PUBLIC_URL)
    if public and visitor_of(request).forwarded:
        url = public
    else:
        by_proxies = headers if request.app.state.gateway.access.trusts(sender) else {}
        url = client_url(by_proxies, request.scope["scheme"], headers.get("host", ""), settings.root_path)
    if not _VALID.fullmatch(url):
        raise ServeError(400, "invalid_host", f"Host and X-Forwarded headers make {url[:100]!r}, which is no http URL")
    return url


def forwarded_url(request: Request) -> str:
    """Return the URL to tell another router, empty where headers make none: not every request needs one."""
    try:
        return public_url(request)
    except ServeError:
        return ""


class SubPath:
    """ASGI middleware: takes the sub-path off a request's path, for proxies that leave it there."""

    def __init__(self, app: App, root_path: str) -> None:
        """`root_path` begins with a slash and ends without one."""
        self._app, self._root_path = app, root_path

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Pass on what comes."""
        if scope["type"] == "http" and f"{scope['path']}/".startswith(f"{self._root_path}/"):
            scope = {**scope, "path": scope["path"][len(self._root_path) :] or "/"}
        await self._app(scope, receive, send)

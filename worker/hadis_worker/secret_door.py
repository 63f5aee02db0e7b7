"""Before a worker that has a secret: only the routers of its service, and what steers it, know that."""

from __future__ import annotations

import hmac

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

_OPEN = ("/healthz", "/readyz", "/metrics")
"""Without the secret: probes and Prometheus have none, and there is nothing of any prompt in these."""


class SecretDoor:
    """Answers 401 to whoever does not show the secret as a bearer token."""

    def __init__(self, app: ASGIApp, secret: str) -> None:
        """Stand before a worker's application."""
        self._app, self._expected = app, f"Bearer {secret}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and scope["path"] not in _OPEN:
            shown = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
            if not hmac.compare_digest(shown, self._expected):
                message = "this worker takes calls of its own service only: they show the secret that it started with"
                await JSONResponse({"error": message}, 401)(scope, receive, send)
                return
        await self._app(scope, receive, send)

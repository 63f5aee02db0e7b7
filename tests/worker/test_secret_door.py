"""A worker with a secret takes calls of those who show it; probes and Prometheus have none."""

from __future__ import annotations

import httpx
import pytest
from hadis.protocol.secret import as_bearer
from hadis_worker.secret_door import SecretDoor
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

SECRET = "s" * 32


@pytest.mark.parametrize(
    ("path", "secret", "status"),
    [
        ("/generate", SECRET, 200),
        ("/generate", SECRET[1:], 401),
        ("/generate", None, 401),
        ("/status", None, 401),
        ("/status", SECRET, 200),
        ("/healthz", None, 200),
        ("/readyz", None, 200),
        ("/metrics", None, 200),
    ],
)
async def test_who_may_ask_a_worker(path: str, secret: str | None, status: int) -> None:
    app = Starlette(routes=[Route(path, lambda request: PlainTextResponse("ok"))])
    transport = httpx.ASGITransport(SecretDoor(app, SECRET))
    async with httpx.AsyncClient(transport=transport, base_url="http://worker") as client:
        assert (await client.get(path, headers=as_bearer(secret))).status_code == status

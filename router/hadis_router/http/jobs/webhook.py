"""Webhooks: a URL that a client gave is told that its job has ended, signed, and again where it does not answer.

The URL is the client's, the network the service's: only hosts that a setting lists are told anything, no redirect is
followed, and no answer is shown.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from urllib.parse import urlsplit

import aiohttp
from hadis.protocol import keep_alive

from hadis_router.dispatch.answer import ServeError
from hadis_router.http.jobs.record import JobRecord
from hadis_router.http.jobs.settings import JobSettings
from hadis_router.http.jobs.signature import secret_bytes, signed_headers

log = logging.getLogger(__name__)

BACKOFF_S = (5.0, 30.0, 120.0, 600.0)
"""Waits between tries."""
_TIMEOUT_S = 10.0
_AT_ONCE = 16
_PORTS = {"http": 80, "https": 443}


class WebhookSender:
    """Tells of jobs that have ended; made inside a running loop, closed at the end."""

    def __init__(self, settings: JobSettings, clock: Callable[[], float] = time.time) -> None:
        """`clock` gives Unix time."""
        self._hosts, self._clock = settings.webhook_hosts, clock
        secret = settings.webhook_secret
        self._key = secret_bytes(secret.get_secret_value()) if secret else b""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(keepalive_timeout=keep_alive.CLIENT_ELSEWHERE_S),
            timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S),
        )
        self._at_once = asyncio.Semaphore(_AT_ONCE)
        self.counts = {"delivered": 0, "failed": 0}
        """How many jobs were told of, and of how many that was in vain."""

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    def check(self, url: str) -> None:
        """Raise ServeError 400 for a URL that webhooks may not go to."""
        if not allowed(url, self._hosts):
            message = "webhook: HADIS_ROUTER_WEBHOOK_HOSTS does not list this host; ask for the job's `url` instead"
            raise ServeError(400, "invalid_webhook", message, param="webhook")

    async def notify(self, record: JobRecord) -> bool:
        """Tell of a job that has ended; return whether it was taken within all tries."""
        content = message_of(record)
        for wait_s in (*BACKOFF_S, None):
            status = await self._send(record, content)
            if status is not None and 200 <= status < 300:
                self.counts["delivered"] += 1
                return True
            if status == 410 or wait_s is None:  # the specification's word of who wants no more
                break
            await asyncio.sleep(wait_s)
        self.counts["failed"] += 1
        log.warning("the webhook of %s was not taken", record.id)
        return False

    async def _send(self, record: JobRecord, content: bytes) -> int | None:
        """Return the status of one try; None where nothing answered."""
        assert record.request.webhook is not None
        headers = signed_headers(self._key, record.id, int(self._clock()), content)
        headers["content-type"] = "application/json"
        async with self._at_once:
            try:
                async with self._session.post(
                    record.request.webhook, data=content, headers=headers, allow_redirects=False
                ) as answer:
                    return answer.status
            except (TimeoutError, aiohttp.ClientError, OSError, ValueError):
                return None


def allowed(url: str, hosts: Sequence[str]) -> bool:
    """Return whether a URL is http or https, names no user, and has a host and port that a pattern allows."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    if parts.scheme not in _PORTS or not parts.hostname or "@" in parts.netloc or "\\" in url:
        return False
    usual = port in (None, _PORTS[parts.scheme])
    for pattern in hosts:
        host, _, listed_port = pattern.lower().partition(":") if pattern.count(":") == 1 else (pattern.lower(), "", "")
        if fnmatchcase(parts.hostname, host.strip("[]")) and (listed_port == str(port) if listed_port else usual):
            return True
    return False


def message_of(record: JobRecord) -> bytes:
    """Return the body of a job's webhook: its document without the result, which may be large."""
    ended = f"image.job.{record.status}"
    return json.dumps({"type": ended, "timestamp": datetime.now(UTC).isoformat(), "data": record.document()}).encode()

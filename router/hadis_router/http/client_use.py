"""What each client may do where it has limits: requests per minute, and images in flight.

Requests are counted by a bucket that holds a minute's requests and fills evenly, so that nobody has to wait for the
next minute's beginning. Headers tell it as OpenAI's do (`x-ratelimit-...`).
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from hadis.api.access import ClientLimits

from hadis_router.dispatch import refusals
from hadis_router.dispatch.answer import ServeError

_MINUTE_S = 60.0
_MOST_CLIENTS = 16_384
Headers = list[tuple[bytes, bytes]]


class ClientBuckets:
    """By client, how full its bucket is and how many images are in flight; times are loop times in seconds."""

    def __init__(self, limits_of: Callable[[str], ClientLimits]) -> None:
        """`limits_of` returns a client's limits."""
        self._limits_of = limits_of
        self._full_at: OrderedDict[str, float] = OrderedDict()
        """When a client's bucket will hold a whole minute's requests again."""
        self._images: Counter[str] = Counter()

    def refusal(self, client: str, now: float) -> ServeError | None:
        """Return why a client may ask for nothing now, if that is so."""
        limits = self._limits_of(client)
        if limits.images_in_flight is not None and self._images[client] >= limits.images_in_flight:
            return refusals.too_many_in_flight(limits.images_in_flight)
        if limits.requests_per_minute is not None:
            each_s = _MINUTE_S / limits.requests_per_minute
            wait_s = self._full_at.get(client, now) - now + each_s - _MINUTE_S
            if wait_s > 1e-6:
                return refusals.too_many_requests(limits.requests_per_minute, wait_s)
        return None

    def count(self, client: str, now: float) -> None:
        """Count a request."""
        limit = self._limits_of(client).requests_per_minute
        if limit is not None:
            self._full_at[client] = max(self._full_at.pop(client, now), now) + _MINUTE_S / limit
            if len(self._full_at) > _MOST_CLIENTS:
                self._full_at.popitem(last=False)

    def headers(self, client: str, now: float) -> Headers:
        """Return what a client is told of its limits; nothing of one that it does not have."""
        limits = self._limits_of(client)
        headers: Headers = []
        if limits.requests_per_minute is not None:
            headers += self._of_requests(limits.requests_per_minute, client, now)
        if (most := limits.images_in_flight) is not None:
            left = max(0, most - self._images[client])
            headers += _headers("images-in-flight", limit=str(most), remaining=str(left))
        return headers

    def _of_requests(self, limit: int, client: str, now: float) -> Headers:
        until_full_s = max(0.0, self._full_at.get(client, now) - now)
        remaining = max(0, math.floor(limit * (1 - until_full_s / _MINUTE_S) + 1e-6))
        return _headers("requests", limit=str(limit), remaining=str(remaining), reset=f"{until_full_s:.3f}s")

    def take(self, client: str, images: Sequence[asyncio.Future[Any]]) -> None:
        """Count images as in flight, each until it has ended; raise ServeError 429 where they are too many.

        Or 400, where they would be too many at any time.
        """
        limit = self._limits_of(client).images_in_flight
        if limit is not None and len(images) > limit:
            raise ServeError(
                400, "invalid_value", f"n: you may have {limit} images in flight; ask for fewer", param="n"
            )
        if limit is not None and self._images[client] + len(images) > limit:
            raise refusals.too_many_in_flight(limit)
        self._images[client] += len(images)
        for image in images:
            image.add_done_callback(lambda _: self._ended(client))

    def _ended(self, client: str) -> None:
        self._images[client] -= 1
        if not self._images[client]:
            del self._images[client]


def _headers(of: str, **values: str) -> Headers:
    return [(f"x-ratelimit-{name}-{of}".encode(), value.encode()) for name, value in values.items()]

"""No write without the lease: a client that refuses to change anything once this process may lead no more."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Iterator

from hadis.kube.client import ApiError, Kube, Object
from kubernetes.aio import client


class Fence:
    """Until when this process may write, by the event loop's clock, and how many of its writes are on their way."""

    def __init__(self) -> None:
        """Begin closed."""
        self._until_s = -math.inf
        self._idle = asyncio.Event()
        self._idle.set()
        self._writes = 0

    @property
    def remaining_s(self) -> float:
        """Return for how many seconds more this process may write; 0 where it may not."""
        return max(0.0, self._until_s - asyncio.get_running_loop().time())

    def open(self, until_s: float) -> None:
        """Let writes through until then."""
        self._until_s = until_s

    def close(self) -> None:
        """Let none through."""
        self._until_s = -math.inf

    @contextlib.contextmanager
    def writing(self) -> Iterator[float]:
        """Yield for how many seconds a write may last that begins now; raise ApiError where none may begin."""
        remaining_s = self.remaining_s
        if not remaining_s:
            raise ApiError(0, "this operator leads no more; another one writes")
        self._writes += 1
        self._idle.clear()
        try:
            yield remaining_s
        finally:
            self._writes -= 1
            if not self._writes:
                self._idle.set()

    async def drained(self, seconds: float) -> bool:
        """Wait until no write is on its way; return whether that was so in time."""
        try:
            await asyncio.wait_for(self._idle.wait(), seconds)
        except TimeoutError:
            return False
        return True


class FencedKube(Kube):
    """Reads at any time; what changes something is sent only while the fence is open, and has an end before it."""

    def __init__(self, api: client.ApiClient, fence: Fence) -> None:
        """Use a connected client."""
        super().__init__(api)
        self._fence = fence

    async def _call(
        self, method: str, path: str, query: dict[str, str], body: Object | None = None, kind: str = "application/json"
    ) -> Object:
        if method == "GET":
            return await super()._call(method, path, query, body, kind)
        with self._fence.writing() as seconds:
            # The API server, too, is to give up by then: it may go on with a request that nobody waits for.
            bounded = query | {"timeout": f"{math.ceil(seconds)}s"}
            try:
                async with asyncio.timeout(seconds):
                    return await super()._call(method, path, bounded, body, kind)
            except TimeoutError:
                raise ApiError(0, f"{method} {path}: no answer while this operator led") from None

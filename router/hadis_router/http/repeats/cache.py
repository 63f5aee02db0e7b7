"""Answers that are kept for requests that are alike, in this router's memory: bounded in bytes and in time."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from hadis_router.dispatch.answer import Answer
from hadis_router.http.store_metrics import StoreCounts

_OVERHEAD_BYTES = 4096
"""Of what is kept beside the images: small images are not free."""


class _Kept(NamedTuple):
    answer: Answer
    ends: float
    """Loop time."""
    size: int
    """Bytes."""


class AnswerCache:
    """Answers by key, each for `lives_s` seconds and as long as there is room; the oldest go first."""

    def __init__(self, most_bytes: int, lives_s: float) -> None:
        """Start empty."""
        self._most_bytes, self._lives_s = most_bytes, lives_s
        self._kept: dict[bytes, _Kept] = {}
        """As all live equally long, the oldest is the first."""
        self._bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self.counts = StoreCounts()

    def get(self, key: bytes) -> Answer | None:
        """Return the answer that is kept for a key."""
        kept = self._kept.get(key)
        return None if kept is None or kept.ends <= asyncio.get_running_loop().time() else kept.answer

    def put(self, key: bytes, answer: Answer) -> None:
        """Keep an answer in place of the key's former one; what is larger than all the room is not kept."""
        self._forget(key)
        size = _OVERHEAD_BYTES + len(answer.image) + len(answer.light_image or b"")
        if size > self._most_bytes:
            return
        self._kept[key] = _Kept(answer, asyncio.get_running_loop().time() + self._lives_s, size)
        self._bytes += size
        self.counts.stored += 1
        self.counts.stored_bytes += size
        while self._bytes > self._most_bytes:
            self._forget(next(iter(self._kept)))
            self.counts.evicted += 1
        self._watch_time()

    def _watch_time(self) -> None:
        """Forget the oldest answer when its time has passed, asked for or not."""
        if self._timer is None and self._kept:
            oldest = next(iter(self._kept.values()))
            self._timer = asyncio.get_running_loop().call_at(oldest.ends, self._forget_expired)

    def _forget_expired(self) -> None:
        self._timer, now = None, asyncio.get_running_loop().time()
        while self._kept and next(iter(self._kept.values())).ends <= now:
            self._forget(next(iter(self._kept)))
            self.counts.expired += 1
        self._watch_time()

    def _forget(self, key: bytes) -> None:
        if (kept := self._kept.pop(key, None)) is not None:
            self._bytes -= kept.size

"""Where images behind links are kept: in this router's memory, within a bound. The oldest go first."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol

from hadis_router.http.store_metrics import StoreCounts


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An encoded image."""

    content: bytes
    media_type: str


class ImageStore(Protocol):
    """Keeps images by id until their links end."""

    shared: bool
    """Whether every router of the service reads what one of them put."""
    gone: str
    """Why an image is not there any more although its link lives."""
    counts: StoreCounts

    async def put(self, image_id: bytes, image: StoredImage) -> None:
        """Keep an image; raise ServeError where the store does not take it."""

    async def get(self, image_id: bytes) -> StoredImage | None:
        """Return an image; None for one that is not there; raise ServeError where the store does not answer."""


class MemoryImages:
    """Images in memory, each for `lives_s` seconds and as long as there is room."""

    shared = False
    gone = "newer images took its place before the link expired; ask for it again, and fetch it at once"

    def __init__(self, max_bytes: int, max_count: int, lives_s: float) -> None:
        """Start empty."""
        self._max_bytes, self._max_count, self._lives_s = max_bytes, max_count, lives_s
        self._images: dict[bytes, tuple[StoredImage, float]] = {}
        """With the loop time of each one's end; as all live equally long, the oldest is the first."""
        self._bytes = 0
        self.counts = StoreCounts()

    async def put(self, image_id: bytes, image: StoredImage) -> None:
        """Keep an image; one that is larger than the whole room is gone at once."""
        now = asyncio.get_running_loop().time()
        self._images[image_id] = (image, now + self._lives_s)
        self._bytes += len(image.content)
        self.counts.stored += 1
        self.counts.stored_bytes += len(image.content)
        while self._images and ((expired := next(iter(self._images.values()))[1] <= now) or self._over()):
            oldest, _ = self._images.pop(next(iter(self._images)))
            self._bytes -= len(oldest.content)
            self.counts.expired += expired
            self.counts.evicted += not expired

    async def get(self, image_id: bytes) -> StoredImage | None:
        """Return an image, if it is still there."""
        image, ends = self._images.get(image_id, (None, 0.0))
        return image if asyncio.get_running_loop().time() < ends else None

    def _over(self) -> bool:
        return self._bytes > self._max_bytes or len(self._images) > self._max_count

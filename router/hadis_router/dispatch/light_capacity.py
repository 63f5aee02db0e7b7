"""Light capacity: how many batches of a size the workers that have the light tier are through with by a deadline."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

from hadis_router.dispatch.outlook import Outlook
from hadis_router.dispatch.workers import RemoteWorker

_LINEAR = 1e-6
"""Share of the time of single images by which a batch may be faster and still count as none that saves time."""


class Gone(NamedTuple):
    """A worker that is taken to be busy until some time (loop time)."""

    worker: RemoteWorker
    until: float


class LightCapacity:
    """What workers can do at one moment, where every batch lasts as long as it may."""

    def __init__(self, outlook: Outlook, light: str, image_sizes: Sequence[str | None]) -> None:
        """Look at the workers that have `light`; batches are those of the image size that takes longest."""
        self._outlook = outlook
        self._workers = [worker for worker in outlook.workers if light in worker.tiers]
        self._free_at: dict[str, float] = {}
        largest = min((outlook.batch_limit(light, size) for size in image_sizes), default=outlook.batch_limit(light))
        longest = max(image_sizes, key=lambda size: outlook.batch_s(light, largest, size), default=None)
        sizes = [*(2**k for k in range(largest.bit_length()) if 2**k < largest), largest]
        each_s = (outlook.longest_s(light, outlook.batch_s(light, size, longest)) for size in sizes)
        # One with fewer jobs than it may hold must not last longer: a measured batch of 1 may, when it ran first.
        self.batch_s: dict[int, float] = dict(zip(sizes, accumulate(each_s, max), strict=True))
        """The longest that a batch may last, by size."""
        # Where a batch takes as long as its images one by one, single ones tell all that there is.
        linear = self.batch_s[largest] >= (1 - _LINEAR) * largest * self.batch_s[1]
        self.batches = [1] if linear else sizes[::-1]
        """Sizes of batches to reckon with, large ones first."""

    def made_by(self, deadline: float, batch: int, enough: float, gone: Gone | None) -> int:
        """Return how many batches of a size end by a deadline (loop time), one worker gone.

        More than `enough` need not be counted.
        """
        batch_s, ratio, made = self.batch_s[batch], self._outlook.estimates.worker_ratio, 0
        for worker in self._workers:
            left_s = deadline - self._free(worker, gone)
            if left_s >= batch_s:
                made += int(left_s / (batch_s * ratio(worker.url)))
                if made >= enough:
                    break
        return made

    def __len__(self) -> int:
        """Return how many workers have the tier."""
        return len(self._workers)

    def free_at(self, gone: Gone | None = None) -> list[float]:
        """Return when (loop time) the workers are free, the first one first."""
        return sorted(self._free(worker, gone) for worker in self._workers)

    def _free(self, worker: RemoteWorker, gone: Gone | None) -> float:
        """Return when (loop time) a worker is free."""
        if gone and worker is gone.worker:
            return gone.until
        free_at = self._free_at.get(worker.url)
        if free_at is None:
            now = self._outlook.now
            free_at = self._free_at[worker.url] = now + worker.left_s(now, self._outlook.longest_s)
        return free_at

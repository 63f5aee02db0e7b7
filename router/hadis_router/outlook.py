"""The outlook: when a job would be done, from what runs, what waits, and how long batches take."""

from __future__ import annotations

import asyncio
import math

from hadis.planning.plan import Plan

from hadis_router.estimates import Estimates
from hadis_router.queue import TierQueue
from hadis_router.workers import Workers


class Outlook:
    """Looks at the dispatcher's queues and workers, and changes nothing."""

    def __init__(self, queues: dict[str, TierQueue], workers: Workers, estimates: Estimates) -> None:
        """`queues` are in order of the tiers, from light to heavy."""
        self._queues, self._workers, self.estimates = queues, workers, estimates
        self.plan: Plan | None = None

    def judged(self, tier: str) -> bool:
        """Return whether the discriminator looks at a tier's images."""
        return self.plan is not None and tier == self.plan.light != self.plan.heavy

    def batch_limit(self, tier: str) -> int:
        """Return the plan's largest batch of a tier; 1 for a tier that it does not use."""
        part = self.plan.tier(tier) if self.plan else None
        return part.batch if part else 1

    def batch_s(self, tier: str, size: int) -> float:
        """Return the expected seconds of a batch, the discriminator's included where it looks."""
        return self.estimates.latency_s(tier, size, self.judged(tier))

    def image_s(self, tier: str) -> float:
        """Return the GPU seconds of an image in a batch of the plan's size."""
        size = self.batch_limit(tier)
        return self.batch_s(tier, size) / size

    def queued_s(self) -> dict[str, float]:
        """Return the GPU seconds of the work that waits, by tier."""
        return {tier: len(queue) * self.image_s(tier) if len(queue) else 0.0 for tier, queue in self._queues.items()}

    def ends_at(self, deadline: float, tier: str) -> float:
        """Return about when (loop time) a job with a deadline, put into a tier's queue now, would be made."""
        now = asyncio.get_running_loop().time()
        service = self.batch_s(tier, 1)
        if any(tier in w.tiers for w in self._workers.idle(now)):
            return now + service
        return now + self._wait_s(deadline, now, tier) + service

    def drain_s(self) -> int:
        """Return the whole seconds until everything that waits is made."""
        return max(1, math.ceil(self._wait_s(math.inf, asyncio.get_running_loop().time())))

    def _wait_s(self, deadline: float, now: float, for_tier: str = "") -> float:
        """Return the seconds until the workers are through with what runs and what is due before a deadline.

        The light tier does not wait for what the heavy one has queued: that gives way, as its light image or by
        stepping down.
        """
        work = self._workers.work_left_s(now)
        names = list(self._queues)
        only_light = self.plan is not None and for_tier in names[: names.index(self.plan.light) + 1]
        for tier, queue in self._queues.items():
            if len(queue) and (tier == for_tier or not only_light):
                work += queue.ahead_of(deadline) * self.image_s(tier)
        return work / max(1, len(self._workers))

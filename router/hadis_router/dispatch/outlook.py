"""The outlook: when a job would be done, from what runs, what waits, and how long batches take."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from hadis.planning.plan import Plan
from hadis.planning.reserve import longest_s
from hadis.planning.speeds import SLOW_WORKER

from hadis_router.dispatch.estimates import Estimates
from hadis_router.dispatch.job import Job
from hadis_router.dispatch.queue import TierQueue
from hadis_router.dispatch.running import Batch
from hadis_router.dispatch.workers import RemoteWorker, RemoteWorkers


@dataclass(frozen=True, slots=True)
class Outlook:
    """What decisions are made on, at one moment `now` (loop time); the dispatcher makes one when it needs it.

    It only reads. Queues and workers are the dispatcher's own, so it is good for one callback on the loop, no longer.
    """

    queues: Mapping[str, TierQueue]
    """In order of the tiers, from light to heavy."""
    workers: RemoteWorkers
    estimates: Estimates
    plan: Plan | None
    slo_s: float
    now: float
    has_discriminator: bool

    def discriminates(self, tier: str) -> bool:
        """Return whether a discriminator judges a tier's images as a rule; of one batch, `Judging` says it."""
        return self.has_discriminator and self.plan is not None and self.plan.judges(tier)

    @property
    def guards_light(self) -> bool:
        """Whether heavy work leaves the light tier a reserve: where all that compute have that tier."""
        return self.plan is not None and self.plan.light in self.workers.common_tiers

    def longest_s(self, tier: str, expected_s: float) -> float:
        """Return the seconds that are set aside for a batch that should take `expected_s`.

        They are more than expected where the light tier's images are promised.
        """
        if not self.guards_light:
            return expected_s
        return longest_s(expected_s, self.slo_s if self.estimates.is_sure(tier) else math.inf)

    def batch(self, worker: RemoteWorker, tier: str, jobs: Sequence[Job], *, discriminate: bool) -> Batch:
        """Return a batch of jobs of one size that a worker begins now."""
        expected_s = self.estimates.latency_s(tier, len(jobs), discriminate, jobs[0].params.size)
        expected_s *= self.estimates.worker_ratio(worker.url)
        return Batch(worker, tier, jobs, discriminate, expected_s, self.longest_s(tier, expected_s), self.now)

    def lighter(self, tier: str, than: str) -> bool:
        """Return whether one tier is lighter than another."""
        names = list(self.queues)
        return names.index(tier) < names.index(than)

    def waiting(self) -> int:
        """Return how many jobs wait in all queues."""
        return sum(map(len, self.queues.values()))

    def worker_count(self, tier: str) -> int:
        """Return how many workers the plan gives a tier; 0 for a tier that it does not use."""
        tier_plan = self.plan.tier(tier) if self.plan else None
        return tier_plan.count if tier_plan else 0

    def batch_limit(self, tier: str, image_size: str | None = None) -> int:
        """Return the plan's largest batch of a tier; for a tier that it does not use, that of the light one.

        Such a tier is used where the light one is overloaded: it must be fast. Of an image size that was measured, it
        is no more than that was measured for: more may not fit in memory.
        """
        if self.plan is None:
            return 1
        tier_plan = self.plan.tier(tier) or self.plan.tier(self.plan.light)
        limit = tier_plan.batch if tier_plan else 1
        largest = self.estimates.largest_batch(tier, image_size) if image_size else None
        return limit if largest is None else min(limit, largest)

    def batch_s(self, tier: str, size: int, image_size: str | None = None) -> float:
        """Return the expected seconds of a batch, the discriminator's included where it judges."""
        return self.estimates.latency_s(tier, size, self.discriminates(tier), image_size)

    def image_s(self, tier: str, image_size: str | None = None) -> float:
        """Return the GPU seconds of an image in a batch of the plan's size."""
        size = self.batch_limit(tier, image_size)
        return self.batch_s(tier, size, image_size) / size

    def queued_s(self) -> dict[str, float]:
        """Return the GPU seconds of the work that waits, by tier, in batches of the plan's size."""
        return {tier: self._queue_s(tier, queue) for tier, queue in self.queues.items()}

    def _queue_s(self, tier: str, queue: TierQueue) -> float:
        return sum((count * self.image_s(tier, kind.size) for kind, count in queue.kinds.items()), 0.0)

    def first_image_s(self, job: Job, tier: str) -> float:
        """Return the GPU seconds that the first image of a job for a tier takes at least; 0 where it has one."""
        return 0.0 if job.light_image is not None else self.image_s(self.cheapest(job, tier), job.params.size)

    def cheapest(self, job: Job, tier: str) -> str:
        """Return the lightest tier that may make the first image of a job for a tier.

        That is the plan's light one, or one that all workers have.
        """
        if not job.needy or self.plan is None:
            return tier
        everywhere = {tier, self.plan.light, *self.workers.common_tiers}
        return next((name for name in self.queues if name in everywhere and job.may_go_to(name)), tier)

    def unmade_s(self, client: str) -> float:
        """Return the GPU seconds that the first images of a client's waiting jobs take."""
        return sum(queue.unmade_s.get(client, 0.0) for queue in self.queues.values())

    def ends_at(self, job: Job, tier: str) -> float:
        """Return about when (loop time) a job, put into a tier's queue now, would be made."""
        service = self.batch_s(tier, 1, job.params.size)
        if any(tier in worker.tiers for worker in self.workers.idle(self.now)):
            return self.now + service
        busy = self._busy(tier)
        slowest = max((slowness for _, slowness in busy), default=1.0)
        return self.now + self._wait_s(busy, job, tier) + service * slowest

    def drain_s(self) -> float:
        """Return the seconds until everything that runs or waits is made."""
        return self._wait_s(self._busy(None), None, None)

    def _wait_s(self, busy: Iterable[tuple[float, float]], job: Job | None, for_tier: str | None) -> float:
        """Return the seconds until workers (`_busy`) are through with what runs and what goes before a job, if any.

        The light tier does not wait for what the heavy one has queued: a heavy job that gets late is answered with its
        light image, or steps down.
        """
        work, only_own_queue = 0.0, False
        if self.plan is not None and for_tier is not None:
            names = list(self.queues)
            only_own_queue = for_tier in names[: names.index(self.plan.light) + 1]
        for tier, queue in self.queues.items():
            together = for_tier is None or self.workers.wait_together(tier, for_tier)
            if len(queue) and together and (tier == for_tier or not only_own_queue):
                ahead = len(queue)
                if job is not None:
                    ahead = queue.ahead_of_job(job) if tier == for_tier else queue.ahead_of(job.deadline)
                work += self._ahead_s(tier, queue, ahead)
        return _done_s(busy, work)

    def _busy(self, tier: str | None) -> list[tuple[float, float]]:
        """Return of each worker for a tier, or of all, in how many seconds it is free, and how slow it is.

        That is how many times as long as the others a slow worker takes, and 1 for all others: theirs is noise.
        """
        busy = []
        for worker in self.workers.peers(tier):
            ratio = self.estimates.worker_ratio(worker.url)
            left_s = 0.0 if worker.tier is None else worker.left_s(self.now)
            busy.append((left_s, ratio if ratio >= SLOW_WORKER else 1.0))
        return busy

    def _ahead_s(self, tier: str, queue: TierQueue, ahead: int) -> float:
        """Return the GPU seconds of the first jobs of a queue, or somewhat more where sizes are mixed.

        Of which sizes they are is not counted: each takes as long as the longest, and all no longer than the queue.
        """
        longest_s = ahead * max(self.image_s(tier, kind.size) for kind in queue.kinds)
        return longest_s if len(queue.kinds) == 1 else min(longest_s, self._queue_s(tier, queue))


def _done_s(workers: Iterable[tuple[float, float]], work_s: float) -> float:
    """Return in how many seconds work is done by workers, each with when it is free and how slow it is (`_busy`).

    It goes to those that are free first, as water fills a vessel of uneven ground: one that is busy for longer takes no
    part in it.
    """
    done_s, speed, missed_s = math.inf, 0.0, 0.0
    for free_s, slowness in sorted(workers):
        if free_s >= done_s:
            break
        speed, missed_s = speed + 1 / slowness, missed_s + free_s / slowness
        done_s = (work_s + missed_s) / speed
    return done_s

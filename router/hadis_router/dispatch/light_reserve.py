"""The light reserve: heavy work starts only while the light tier could still answer everybody who waits.

A batch that somebody needs is not stopped, so a heavy one that starts may be what makes somebody late who could have
had a light image.
Before it starts, this asks: with the worker gone for as long as the batch may take, do the workers that have the light
tier still get through all who wait without an image, each before his deadline, and through those who will come until
the next worker is free? Jobs in batches of equal length and in order of their deadlines are feasible if and only if
for each deadline d there are enough batches that end by d (Liu and Layland's demand criterion, for one kind of batch):

    waiting(d) <= sum over workers of jobs in batches that end by d

Where sizes of images are mixed, batches are of equal length all the same: each is taken to be of the longest size that
waits, and each further size to need one more batch. And a light batch is made smaller where those of other sizes that
wait behind it would be late.

A job that only a heavier tier may make is no less promised: to those who come and to heavy batches of others it counts
as the light jobs that would take as long, due one after the other from when it must begin on: from then on its worker
makes nothing else. Once it is begun, it does not stand in its own way.

Every batch is taken to last up to `Outlook.longest_s`. While none lasts longer, nobody who is admitted goes without an
image: a test holds it for arbitrary times within that bound.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

from hadis_router.dispatch.job import Job
from hadis_router.dispatch.outlook import Outlook
from hadis_router.dispatch.workers import RemoteWorker

HEADROOM = 0.1
"""Share of the SLO by which light work must be able to be early for heavy work to start: room for those who come."""

_EACH, _FURTHER = 32, 1.25
"""So many deadlines from the first on are looked at one by one, and then those at distances that grow by a factor."""


class _BoundWork(NamedTuple):
    """What each job that only one tier may make asks of the workers that have the light tier."""

    jobs: float
    """Light jobs that take as long."""
    lasts_s: float
    """Its seconds, if it is made alone."""

    def due(self, deadlines: Sequence[float], to: float) -> float:
        """Return how many light jobs' time those with these deadlines, rising, must have had by a time."""
        done = bisect_right(deadlines, to)
        under_way = deadlines[done : bisect_right(deadlines, to + self.lasts_s)]
        begun = sum(1 - (deadline - to) / self.lasts_s for deadline in under_way)
        return self.jobs * (done + begun)


class LightReserve:
    """What the light tier can still do at one moment; good for one callback on the loop."""

    def __init__(self, outlook: Outlook, light: str, job: Job | None = None) -> None:
        """Look at the workers that have `light`, and at the deadlines of the jobs without an image.

        `job` is one that may come to them.
        """
        self._outlook, self._light = outlook, light
        image_sizes = {size for queue in outlook.queues.values() for size in queue.needy_sizes}
        image_sizes |= {job.params.size} if job else set()
        sizes = range(1, outlook.batch_limit(light) + 1)
        longest = max(image_sizes, key=lambda size: outlook.batch_s(light, sizes[-1], size), default=None)
        self._sizes_s = [outlook.longest_s(light, outlook.batch_s(light, size, longest)) for size in sizes]
        self._image_sizes = len(image_sizes)
        self._queues = [(queue.needy, self._part(tier)) for tier, queue in outlook.queues.items() if queue.needy]
        self._bound = [(queue.bound, self._work(tier)) for tier, queue in outlook.queues.items() if queue.bound]

    def takes(self, deadline: float, tier: str | None = None) -> bool:
        """Return whether one more job, with a deadline (loop time), can be promised an image of the light tier.

        Or of `tier`, which alone may make it. Whoever has an earlier deadline does not mind.
        """
        work = _BoundWork(1.0, 0.0) if tier is None else self._work(tier)
        later = [(due, to) for due, to in self._checked() if due > deadline - work.lasts_s]
        return all(
            self._keeps(due, to, None, 0.0, work.due([deadline], to)) for due, to in ((deadline, deadline), *later)
        )

    def spare(self, deadline: float) -> float:
        """Return how many more jobs, with a deadline (loop time) that is not before the others', can be promised."""
        return self._made_by(deadline, None, 0.0, math.inf) - self._needed(self._waiting(deadline) + 1) + 1

    def allows(self, worker: RemoteWorker, tier: str, size: int, image_size: str | None = None) -> bool:
        """Return whether a worker may begin a batch of `size` jobs of a heavier tier now."""
        if self._light not in worker.tiers:
            return True
        outlook, busy_s = self._outlook, self._busy_s(worker, tier, size, image_size)
        if begun := outlook.queues[tier].begun_bound(size):  # it was promised; those who will come were not
            work = self._work(tier)
            return all(self._keeps(due, to, worker, busy_s, -work.due(begun, to)) for due, to in self._checked())
        until_s = min(busy_s, outlook.workers.next_free_s(self._light, outlook.now, outlook.longest_s, worker))
        coming = 1 + (outlook.plan.demand_rps if outlook.plan else 0.0) * until_s
        newest = outlook.now + (1 - HEADROOM) * outlook.slo_s
        everybody = self._needed(self._waiting(math.inf) + coming)
        if self._made_by(newest, worker, busy_s, everybody) < everybody:
            return False
        return all(self._keeps(due, to, worker, busy_s) for due, to in self._checked())

    def allows_light(self, worker: RemoteWorker, jobs: Sequence[Job]) -> bool:
        """Return whether a worker may begin a batch of these light jobs, for those of other sizes that wait behind."""
        begun = [job.deadline for job in jobs if job.needy]  # in order, as they are taken
        busy_s = self._busy_s(worker, self._light, len(jobs), jobs[0].params.size)
        return all(self._keeps(due, to, worker, busy_s, -bisect_right(begun, to)) for due, to in self._checked())

    def _busy_s(self, worker: RemoteWorker, tier: str, size: int, image_size: str | None) -> float:
        """Return the seconds that a worker is taken to be gone for a batch."""
        outlook = self._outlook
        ratio = outlook.estimates.worker_ratio(worker.url)
        return outlook.longest_s(tier, outlook.batch_s(tier, size, image_size) * ratio)

    def _part(self, tier: str) -> float:
        """Return how many images of `light` a job that waits for a tier counts as.

        A tier lighter than the plan's is the last resort of all: each of them could step down to it.
        """
        outlook = self._outlook
        plan_light = outlook.plan.light if outlook.plan else self._light
        if outlook.lighter(self._light, plan_light):
            return 1.0
        made_by = plan_light if outlook.lighter(plan_light, tier) else tier
        return 1.0 if made_by == self._light else outlook.image_s(made_by) / outlook.image_s(self._light)

    def _work(self, tier: str) -> _BoundWork:
        """Return what a job that only `tier` may make asks of the light tier's workers."""
        if tier == self._light:
            return _BoundWork(1.0, 0.0)
        outlook = self._outlook
        light_s = self._sizes_s[-1] / len(self._sizes_s)
        lasts_s = outlook.longest_s(tier, outlook.batch_s(tier, 1))
        jobs = outlook.longest_s(tier, outlook.image_s(tier)) / light_s
        return _BoundWork(jobs, lasts_s)

    def _keeps(self, due: float, to: float, gone: RemoteWorker | None, gone_s: float, extra: float = 0.0) -> bool:
        """Return whether all jobs with a deadline up to `to`, and `extra` ones, can be made by `due`, a worker gone."""
        jobs = self._needed(self._waiting(to) + extra)
        return self._made_by(due, gone, gone_s, jobs) >= jobs

    def _waiting(self, to: float) -> float:
        """Return how many jobs with a deadline up to `to` have no image."""
        needy = sum(part * bisect_right(queue, to) for queue, part in self._queues)
        return needy + sum(work.due(queue, to) for queue, work in self._bound)

    def _needed(self, jobs: float) -> float:
        """Return how many light jobs workers must be able to make for so many to be sure of their images.

        A batch holds one size, so that each further size may take one batch more, which may hold a single job.
        """
        further = min(self._image_sizes, jobs) - 1
        return jobs + further * (len(self._sizes_s) - 1) if further > 0 else jobs

    def _checked(self) -> list[tuple[float, float]]:
        """Return deadlines, in order, each with that up to which jobs are counted for it.

        That is itself for the first ones. Of a long queue only some are looked at, and the jobs up to the next of them
        counted: who asks errs on the safe side.
        """
        found: set[float] = set()
        for queue, _ in (*self._queues, *self._bound):
            found.update(queue[:_EACH])
            place = float(_EACH)
            while place < len(queue):
                found.add(queue[int(place)])
                place *= _FURTHER
            found.add(queue[-1])
        rising = sorted(found)
        if len(rising) <= _EACH:
            return [(due, due) for due in rising]
        pairs = zip(rising, rising[1:] + rising[-1:], strict=True)
        return [(due, due if i < _EACH else following) for i, (due, following) in enumerate(pairs)]

    def _made_by(self, deadline: float, gone: RemoteWorker | None, gone_s: float, enough: float) -> int:
        """Return how many light jobs the workers can make by a deadline; more than `enough` need not be counted."""
        jobs, outlook = 0, self._outlook
        for worker in outlook.workers:
            if self._light not in worker.tiers:
                continue
            busy_s = gone_s if worker is gone else worker.left_s(outlook.now, outlook.longest_s)
            left_s = (deadline - outlook.now - busy_s) / outlook.estimates.worker_ratio(worker.url)
            if left_s < self._sizes_s[0]:
                continue
            full, rest_s = divmod(left_s, self._sizes_s[-1])
            jobs += int(full) * len(self._sizes_s) + bisect_right(self._sizes_s, rest_s)
            if jobs >= enough:
                break
        return jobs

"""The light reserve: work starts only while the light tier could still answer everybody who waits.

A batch that somebody needs is not stopped, so a heavy one that starts may be what makes somebody late who could have
had a light image.
Before it starts, this asks: with the worker gone for as long as the batch may take, do the workers that have the light
tier still get through all who wait without an image, each before his deadline, and through those who will come until
the next worker is free? Jobs in batches of equal length and in order of their deadlines are feasible if and only if
for each deadline d there are enough batches that end by d (Liu and Layland's demand criterion, for one kind of batch):

    batches that those with deadlines up to d fill <= sum over workers of batches that end by d

That must hold of batches of some one size, and a batch of that size then leaves it holding (see
docs/decisions/light-reserve.md). A batch holds images of one size: each size fills its own, and all are taken to last
as long as those of the longest size that waits. What only a heavier tier may make is counted beside (`bound_work.py`).

Every batch is taken to last up to `Outlook.longest_s`. While none lasts longer, nobody who is admitted goes without an
image: a test holds it for arbitrary times within that bound.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from hadis_router.dispatch.bound_work import bound_work
from hadis_router.dispatch.job import Job
from hadis_router.dispatch.light_capacity import Gone, LightCapacity
from hadis_router.dispatch.light_demand import NO_CHANGE, Change, LightDemand
from hadis_router.dispatch.outlook import Outlook
from hadis_router.dispatch.workers import RemoteWorker

HEADROOM = 0.1
"""Share of the SLO by which light work must be able to be early for heavy work to start: room for those who come."""


class LightReserve:
    """What the light tier can still do at one moment; good for one callback on the loop."""

    def __init__(self, outlook: Outlook, light: str, job: Job | None = None) -> None:
        """Look at the workers that have `light`, and at the deadlines of the jobs without an image.

        `job` is one that may come to them.
        """
        self._outlook, self._light = outlook, light
        self._demand = LightDemand(outlook, light, job if job and job.may_go_to(light) else None)
        self._capacity = LightCapacity(outlook, light, self._demand.image_sizes)
        self._bound = bound_work(outlook, light, len(self._capacity), job)
        self._job = job

    def takes(self, deadline: float, tier: str | None = None) -> bool:
        """Return whether the job that may come, with a deadline (loop time), can be promised an image.

        One of the light tier, or of `tier`, which alone may make it.
        """
        if tier is None or tier == self._light:
            return self._takes(Change(self._image_size(), 1.0, deadline), deadline, own=True)
        if tier not in self._bound.begins:
            return True
        bound = self._bound.plus(tier, deadline)
        return bound.in_time(self._capacity.free_at) and self._takes(Change(bound=bound), bound.first, own=False)

    def _takes(self, coming: Change, since: float, *, own: bool) -> bool:
        """Return whether all are in time with what comes, which those with deadlines up to `since` do not mind.

        That is its `own` deadline, or when it begins.
        """
        checked = self._demand.deadlines()
        between = [to for due, to in checked if due <= since < to]  # those behind it that are not looked at
        first = [(since, max([since, *between]))] if own or between else []
        later = [*first, *((due, to) for due, to in checked if due > since)]
        alike = len(self._demand.image_sizes) == 1
        if alike and self._capacity.batches == [1]:
            return self._batch(later, coming) is not None
        if self._batch([*((due, to) for due, to in checked if due <= since), *later], coming) is not None:
            return True
        # One size of batches must do for all, but for those who are late whatever comes.
        before = self if alike else LightReserve(self._outlook, self._light)
        earlier = [(due, to) for due, to in self._demand.deadlines(each=True) if due <= since]
        return before._batch(earlier) is None and self._batch(later, coming) is not None

    def spare(self, deadline: float) -> float:
        """Return how many more jobs, with a deadline (loop time) that is not before the others', can be promised."""
        return max(self._spare(deadline, batch) for batch in self._capacity.batches)

    def allows(self, worker: RemoteWorker, tier: str, size: int, image_size: str | None = None) -> bool:
        """Return whether a worker may begin a batch of `size` jobs of a heavier tier now."""
        if self._light not in worker.tiers:
            return True
        outlook, gone = self._outlook, self._gone(worker, tier, size, image_size)
        if begun := outlook.queues[tier].begun_bound(size):  # they were promised theirs; those who will come were not
            if size == 1 and self._bound.begins[tier] < outlook.now + min(self._capacity.batch_s.values()):
                return True  # no light batch could come before it, so that it takes no more than was counted for it
            return self._keeps(Change(bound=self._bound.less(tier, begun)), gone)
        next_free_s = outlook.workers.next_free_s(self._light, outlook.now, outlook.longest_s, worker)
        until_s = min(gone.until - outlook.now, next_free_s)
        coming = 1 + (outlook.plan.demand_rps if outlook.plan else 0.0) * until_s
        newest = outlook.now + (1 - HEADROOM) * outlook.slo_s
        everybody = Change(self._image_size(), coming)
        if self._batch([(newest, math.inf)], everybody, gone) is None:
            return False
        return self._keeps(NO_CHANGE, gone)

    def allows_light(self, worker: RemoteWorker, jobs: Sequence[Job]) -> bool:
        """Return whether a worker may begin a batch of these light jobs, for those who wait behind."""
        image_size = jobs[0].params.size
        begun = Change(image_size, begun=[job.deadline for job in jobs])  # in order, as they are taken
        return self._keeps(begun, self._gone(worker, self._light, len(jobs), image_size))

    def delays_bound(self, worker: RemoteWorker, size: int, image_size: str | None) -> bool:
        """Return whether a light batch would make those late that only a heavier tier may make."""
        gone = self._gone(worker, self._light, size, image_size)
        return not self._bound.in_time(lambda: self._capacity.free_at(gone))

    def batch(self) -> int | None:
        """Return the largest size of batches in which all are in time now, if there is one.

        A light batch of that size, or of all who wait where they are fewer, leaves it so.
        """
        return self._batch(self._demand.deadlines(each=True))

    def bound_s(self, tier: str) -> float:
        """Return in how many seconds jobs that only a tier may make go first: later, a light batch may delay them."""
        return self._bound.begins.get(tier, math.inf) - self._outlook.now - max(self._capacity.batch_s.values())

    def _image_size(self) -> str | None:
        return self._job.params.size if self._job else next(iter(self._demand.image_sizes), None)

    def _gone(self, worker: RemoteWorker, tier: str, size: int, image_size: str | None) -> Gone:
        """Return until when a worker is taken to be gone for a batch that it begins now."""
        outlook = self._outlook
        ratio = outlook.estimates.worker_ratio(worker.url)
        return Gone(worker, outlook.now + outlook.longest_s(tier, outlook.batch_s(tier, size, image_size) * ratio))

    def _keeps(self, change: Change, gone: Gone) -> bool:
        """Return whether all are in time with a worker gone."""
        bound = change.bound or self._bound
        in_time = bound.in_time(lambda: self._capacity.free_at(gone))
        checked = self._demand.deadlines(each=change.bound is not None)
        return in_time and self._batch(checked, change, gone) is not None

    def _batch(
        self, checked: Sequence[tuple[float, float]], change: Change = NO_CHANGE, gone: Gone | None = None
    ) -> int | None:
        """Return the largest size of batches in which all jobs are in time; None where there is none.

        `checked` says by when those with a deadline up to another one must be made.
        """
        return next((b for b in self._capacity.batches if self._suffices(b, checked, change, gone)), None)

    def _suffices(self, batch: int, checked: Sequence[tuple[float, float]], change: Change, gone: Gone | None) -> bool:
        """Return whether all jobs are in time in batches of a size.

        Where those of several deadlines can be made by the first of these, the others need not be looked at.
        """
        parts = [(0, len(checked) - 1)] if checked else []
        while parts:
            first, last = parts.pop()
            needed = self._needed(checked[last][1], batch, change)
            if self._capacity.made_by(checked[first][0], batch, needed, gone) >= needed:
                continue
            if first == last:
                finer = self._demand.between(*checked[first])
                if len(finer) < 2 or not self._suffices(batch, finer, change, gone):
                    return False
                continue
            middle = (first + last) // 2
            parts += [(first, middle), (middle + 1, last)]
        return True

    def _needed(self, to: float, batch: int, change: Change) -> int:
        """Return how many batches of a size workers must be able to make by a time for all with deadlines up to it."""
        bound = change.bound or self._bound
        return self._demand.batches(to, batch, change) + bound.batches(to, self._capacity.batch_s[batch])

    def _spare(self, deadline: float, batch: int) -> float:
        image_size = self._image_size()
        jobs = self._demand.jobs(deadline, image_size)
        others = self._needed(deadline, batch, NO_CHANGE) - math.ceil(jobs / batch)
        return batch * (self._capacity.made_by(deadline, batch, math.inf, None) - others) - jobs

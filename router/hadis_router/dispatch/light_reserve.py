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
as long as those of the longest size that waits.

Every batch is taken to last up to `Outlook.longest_s`. While none lasts longer, nobody who is admitted goes without an
image: a test holds it for arbitrary times within that bound.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

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
        self._demand = LightDemand(outlook, light, job)
        self._capacity = LightCapacity(outlook, light, self._demand.image_sizes)
        self._job = job

    def takes(self, deadline: float) -> bool:
        """Return whether the job that may come, with a deadline (loop time), can be promised an image."""
        coming = Change(self._image_size(), 1.0, deadline)
        checked = self._demand.deadlines()
        earlier = [(due, to) for due, to in checked if due <= deadline]
        up_to = max([deadline, *(to for _, to in earlier[-1:])])  # those between are counted once, here
        later = [(deadline, up_to), *((due, to) for due, to in checked if due > deadline)]
        if self._capacity.batches == [1]:
            return self._batch(later, coming) is not None  # whoever has an earlier deadline does not mind
        if self._batch([*earlier, *later], coming) is not None:
            return True
        # One size of batches must do for all, but for those who are late whatever comes.
        return self._batch(earlier) is None and self._batch(later, coming) is not None

    def spare(self, deadline: float) -> float:
        """Return how many more jobs, with a deadline (loop time) that is not before the others', can be promised."""
        return max(self._spare(deadline, batch) for batch in self._capacity.batches)

    def allows(self, worker: RemoteWorker, tier: str, size: int, image_size: str | None = None) -> bool:
        """Return whether a worker may begin a batch of `size` jobs of a heavier tier now."""
        if self._light not in worker.tiers:
            return True
        outlook, busy_s = self._outlook, self._busy_s(worker, tier, size, image_size)
        until_s = min(busy_s, outlook.workers.next_free_s(self._light, outlook.now, outlook.longest_s, worker))
        coming = 1 + (outlook.plan.demand_rps if outlook.plan else 0.0) * until_s
        newest = outlook.now + (1 - HEADROOM) * outlook.slo_s
        everybody = Change(self._image_size(), coming)
        gone = Gone(worker, outlook.now + busy_s)
        if self._batch([(newest, math.inf)], everybody, gone) is None:
            return False
        return self._batch(self._demand.deadlines(), gone=gone) is not None

    def allows_light(self, worker: RemoteWorker, jobs: Sequence[Job]) -> bool:
        """Return whether a worker may begin a batch of these light jobs, for those with an image promised behind."""
        image_size = jobs[0].params.size
        begun = Change(image_size, begun=[job.deadline for job in jobs])  # in order, as they are taken
        gone = Gone(worker, self._outlook.now + self._busy_s(worker, self._light, len(jobs), image_size))
        return self._batch(self._demand.deadlines(promised=True), begun, gone) is not None

    def batch(self) -> int | None:
        """Return the largest size of batches in which all who have an image promised are in time now, if there is one.

        A light batch of that size, or of all who wait where they are fewer, leaves it so.
        """
        return self._batch(self._demand.deadlines(promised=True))

    def _image_size(self) -> str | None:
        return self._job.params.size if self._job else next(iter(self._demand.image_sizes), None)

    def _busy_s(self, worker: RemoteWorker, tier: str, size: int, image_size: str | None) -> float:
        """Return the seconds that a worker is taken to be gone for a batch."""
        outlook = self._outlook
        ratio = outlook.estimates.worker_ratio(worker.url)
        return outlook.longest_s(tier, outlook.batch_s(tier, size, image_size) * ratio)

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
            needed = self._demand.batches(checked[last][1], batch, change)
            if self._capacity.made_by(checked[first][0], batch, needed, gone) >= needed:
                continue
            if first == last:
                return False
            middle = (first + last) // 2
            parts += [(first, middle), (middle + 1, last)]
        return True

    def _spare(self, deadline: float, batch: int) -> float:
        image_size = self._image_size()
        jobs = self._demand.jobs(deadline, image_size)
        others = self._demand.batches(deadline, batch) - math.ceil(jobs / batch)
        return batch * (self._capacity.made_by(deadline, batch, math.inf, None) - others) - jobs

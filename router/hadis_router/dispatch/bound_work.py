"""Bound work: jobs that only a heavier tier may make, when each must begin, and what that leaves of the workers.

The last moment is found backwards: from the latest deadline on, each job is put as late as it can be on one of as many
lanes as there are workers. From then on, its worker makes nothing else.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Callable, Mapping, Sequence

from hadis_router.dispatch.job import Job
from hadis_router.dispatch.outlook import Outlook

_ROUNDING = 1e-9


class BoundWork:
    """What of it waits at one moment, on workers that have the light tier too."""

    def __init__(self, deadlines: Mapping[str, Sequence[float]], lasts_s: Mapping[str, float], lanes: int) -> None:
        """Take deadlines (loop time) by tier, and the seconds of a job made alone."""
        self._deadlines, self._lasts_s, self._lanes = deadlines, lasts_s, lanes
        self._spans: list[tuple[float, float]] = []
        self._first = [math.inf] * max(1, lanes)
        self.begins = dict.fromkeys(lasts_s, math.inf)
        """By tier, when (loop time) the first of its jobs must begin."""
        waiting = [(deadline, tier) for tier, each in deadlines.items() for deadline in each]
        for deadline, tier in sorted(waiting, reverse=True):
            lane = min(bisect_left(self._first, deadline), len(self._first) - 1)
            end = min(self._first.pop(lane), deadline)
            self.begins[tier] = end - lasts_s[tier]
            insort(self._first, self.begins[tier])
            self._spans.append((self.begins[tier], end))

    @property
    def first(self) -> float:
        """When (loop time) the first of all must begin."""
        return self._first[0]

    def plus(self, tier: str, deadline: float) -> BoundWork:
        """Return it with one more job."""
        return self._with(tier, sorted([*self._deadlines.get(tier, ()), deadline]))

    def less(self, tier: str, begun: Sequence[float]) -> BoundWork:
        """Return it without jobs of a tier that have these deadlines."""
        left = list(self._deadlines[tier])
        for deadline in begun:
            left.remove(deadline)
        return self._with(tier, left)

    def batches(self, to: float, batch_s: float) -> int:
        """Return how many light batches the workers cannot make by a time (loop time) because of it."""
        if not self._spans:
            return 0
        spans = (min(to, end) - begin for begin, end in self._spans if begin < to)
        return sum(math.ceil(span_s / batch_s - _ROUNDING) for span_s in spans)

    def in_time(self, free_at: Callable[[], Sequence[float]]) -> bool:
        """Return whether workers that are free at these times, rising, can begin all of it in time."""
        if not self._spans:
            return True
        return all(free <= first + _ROUNDING for free, first in zip(free_at(), self._first, strict=False))

    def _with(self, tier: str, deadlines: Sequence[float]) -> BoundWork:
        return BoundWork({**self._deadlines, tier: deadlines}, self._lasts_s, self._lanes)


NO_BOUND_WORK = BoundWork({}, {}, 1)


def bound_work(outlook: Outlook, light: str, lanes: int, job: Job | None) -> BoundWork:
    """Return what waits, and how long `job` would last; what other workers make is in nobody's way.

    Of each tier, every job is taken to last as long as one of the longest image size that waits.
    """
    if not (job and job.bound) and not any(queue.bound for queue in outlook.queues.values()):
        return NO_BOUND_WORK
    beside_light = {tier for worker in outlook.workers if light in worker.tiers for tier in worker.tiers} - {light}
    deadlines, lasts_s = {}, {}
    for tier, queue in outlook.queues.items():
        image_sizes = [*queue.bound_by_size, *([job.params.size] if job and job.bound else ())]
        if image_sizes and tier in beside_light:
            single_s = max(outlook.batch_s(tier, 1, image_size) for image_size in image_sizes)
            deadlines[tier], lasts_s[tier] = queue.bound, outlook.longest_s(tier, single_s)
    return BoundWork(deadlines, lasts_s, lanes)

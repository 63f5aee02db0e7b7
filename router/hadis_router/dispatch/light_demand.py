"""Light demand: how many batches of a size those who wait without an image fill, up to each of their deadlines."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from hadis_router.dispatch.bound_work import BoundWork
from hadis_router.dispatch.job import Job
from hadis_router.dispatch.outlook import Outlook

_EACH, _FURTHER = 32, 1.25
"""So many deadlines from the first on are looked at one by one, and then those at distances that grow by a factor."""


@dataclass(frozen=True, slots=True)
class Change:
    """Jobs of one image size that come to those who wait, and that go."""

    image_size: str | None = None
    coming: float = 0.0
    due: float = -math.inf
    """Deadline (loop time) of those that come."""
    begun: Sequence[float] = ()
    """Deadlines, rising, of those that go."""
    bound: BoundWork | None = None
    """What there is of it then, if that changes."""


NO_CHANGE = Change()


class LightDemand:
    """Who waits at one moment for an image that the light tier could make."""

    def __init__(self, outlook: Outlook, light: str, job: Job | None) -> None:
        """Look at the queues; `job` is one that may come to them."""
        self._outlook, self._light = outlook, light
        self._by_size: dict[str | None, list[tuple[Sequence[float], float]]] = {}
        self._deadlines: list[Sequence[float]] = []
        if job is not None:
            self._by_size[job.params.size] = []
        for tier, queue in outlook.queues.items():
            if queue.needy:
                self._add(queue.needy_by_size, self._part(tier))
                self._deadlines.append(queue.needy)
        if outlook.queues[light].bound:
            self._add(outlook.queues[light].bound_by_size, 1.0)
            self._deadlines.append(outlook.queues[light].bound)

    @property
    def image_sizes(self) -> list[str | None]:
        """Those of all who wait and of the job that may come."""
        return list(self._by_size)

    def batches(self, to: float, batch: int, change: Change = NO_CHANGE) -> int:
        """Return how many batches of a size hold all jobs with a deadline (loop time) up to `to`."""
        batches, coming = 0, change.coming if change.due <= to else 0.0
        for image_size in self._by_size:
            jobs = self.jobs(to, image_size)
            if image_size == change.image_size:
                jobs += coming - bisect_right(change.begun, to)
                coming = 0.0
            batches += math.ceil(jobs / batch)
        return batches + math.ceil(coming / batch)

    def jobs(self, to: float, image_size: str | None) -> float:
        """Return how many light images of a size those with a deadline (loop time) up to `to` count as."""
        queues = self._by_size.get(image_size, ())
        return sum((part * bisect_right(deadlines, to) for deadlines, part in queues), 0.0)

    def deadlines(self, *, each: bool = False) -> list[tuple[float, float]]:
        """Return deadlines, in order, each with that up to which jobs are counted for it.

        That is itself as a rule. Of a long queue only some are looked at unless `each` is to be, and the jobs before
        the next of them counted: that all are in time may then be denied, but is never said wrongly. Where it is
        denied, `between` has the others.
        """
        moments: set[float] = set()
        if each or all(len(queue) <= _EACH for queue in self._deadlines):
            moments.update(*self._deadlines)
            return [(due, due) for due in sorted(moments)]
        for queue in self._deadlines:
            moments.update(queue[:_EACH])
            place = float(_EACH)
            while place < len(queue):
                moments.add(queue[int(place)])
                place *= _FURTHER
            moments.add(queue[-1])
        rising = sorted(moments)
        nexts = (math.nextafter(due, -math.inf) for due in rising[1:])
        return list(zip(rising, [*nexts, rising[-1]], strict=True))

    def between(self, due: float, to: float) -> list[tuple[float, float]]:
        """Return a deadline that others are counted for, and each of those others, every one for itself."""
        if to <= due or math.isinf(to):  # nobody else is, or those who will come
            return []
        behind = (queue[bisect_right(queue, due) : bisect_right(queue, to)] for queue in self._deadlines)
        return [(each, each) for each in sorted({due, *chain.from_iterable(behind)})]

    def _add(self, by_size: dict[str | None, list[float]], part: float) -> None:
        for image_size, deadlines in by_size.items():
            self._by_size.setdefault(image_size, []).append((deadlines, part))

    def _part(self, tier: str) -> float:
        """Return how many images of the light tier a job that waits for a tier counts as.

        A tier lighter than the plan's is the last resort of all: each of them could step down to it.
        """
        outlook = self._outlook
        plan_light = outlook.plan.light if outlook.plan else self._light
        if outlook.lighter(self._light, plan_light):
            return 1.0
        made_by = plan_light if outlook.lighter(plan_light, tier) else tier
        return 1.0 if made_by == self._light else outlook.image_s(made_by) / outlook.image_s(self._light)

"""Jobs that come while no worker is ready, of a service whose workers go when nobody asks: held until the first is.

    submit -> first worker -> admission -> queue -> ...

Nothing is decided about them before there is a worker, for which tier comes first is not known. They may wait for
longer than others, and are no more than queues may hold; where the worker is known to come too late, who asks is told
when to come again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from hadis_router.dispatch import refusals
from hadis_router.dispatch.answer import ServeError
from hadis_router.dispatch.job import Job

_OVERRUN = 0.1
"""Share of its time so far that a late start is taken to need still."""


class FirstWorker:
    """What waits for it. Times are loop times in seconds."""

    def __init__(self, hold_s: float | None, limit: int, expired: Callable[[Job], None]) -> None:
        """Hold up to `limit` jobs for `hold_s` each; None: hold nothing. `expired` gets those that waited too long."""
        self.hold_s, self._limit, self._expired = hold_s, limit, expired
        self.start_s: float | None = None
        """How long a first worker takes to start, where that is known."""
        self._since: float | None = None
        """When the first request came that found no worker."""
        self._held: dict[Job, asyncio.TimerHandle] = {}

    def __len__(self) -> int:
        """Return how many jobs are held."""
        return len(self._held)

    def refusal(self, now: float) -> ServeError | None:
        """Return what a request that finds no worker now is refused with; None where it is held."""
        if self._since is None:
            self._since = now
        if self.hold_s is None:
            return refusals.no_worker()
        left_s = self._left_s(now)
        if len(self._held) >= self._limit:
            return refusals.queue_full(len(self._held), left_s or refusals.NO_WORKER_S)
        return refusals.starting(left_s) if left_s is not None and left_s > self.hold_s else None

    def hold(self, job: Job, now: float) -> None:
        """Hold a job until a worker is ready or its deadline, which is a longer one now; raise ServeError."""
        if (error := self.refusal(now)) is not None:
            raise error
        assert self.hold_s is not None
        job.deadline = max(job.deadline, job.arrived + self.hold_s)
        self._keep(job)

    def take(self) -> list[Job]:
        """Return all that is held, in the order that it came: there is a worker."""
        self._since = None
        jobs = list(self._held)
        for job in jobs:
            self.forget(job)
        return [job for job in jobs if not job.done]

    def put_back(self, job: Job) -> None:
        """Hold a job on: no worker that is ready has its tier."""
        self._keep(job)

    def forget(self, job: Job) -> None:
        """Hold a job no longer."""
        if (timer := self._held.pop(job, None)) is not None:
            timer.cancel()

    def _keep(self, job: Job) -> None:
        self._held[job] = asyncio.get_running_loop().call_at(job.deadline, self._expire, job)

    def _expire(self, job: Job) -> None:
        self.forget(job)
        if not job.done:
            self._expired(job)

    def _left_s(self, now: float) -> float | None:
        """Return about the seconds until a worker is ready; a start that is late needs some more, by how long it took.

        It began with the first request: the control step hears of that within seconds.
        """
        if self.start_s is None or self._since is None:
            return None
        taken_s = now - self._since
        return max(self.start_s - taken_s, min(self.start_s, _OVERRUN * taken_s))

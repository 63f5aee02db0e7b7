"""Deadlines: one timer per job, for the last moment at which something can still be done about its deadline.

A job is answered or failed at its deadline, whatever happens. Three moments before it matter too:

- a job that waits for its first image from a heavy tier steps down when only the light tier can still answer in time;
- one whose heavy batch runs at the last moment for a light image gets a stand-in there, which makes one, if need be on
  a worker whose batch is stopped for it (`preemption.py`);
- a deferred job gives up the heavy tier, and is answered with its light image, when a heavy batch that begins could no
  longer end in time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from hadis_router.dispatch.job import Job
from hadis_router.dispatch.stages import Stage

MARGIN = 0.02
"""Share of the SLO kept back for the way from the worker to the client when an answer is timed to the deadline."""


def answer_by(job: Job, slo_s: float) -> float:
    """Return when (loop time) an answer must leave to be with the client at the deadline."""
    return job.deadline - MARGIN * slo_s


class DeadlineOwner(Protocol):
    """Who sees to a job whose timer has run out for good."""

    def expired(self, job: Job) -> None:
        """End the job."""

    def late(self, job: Job) -> None:
        """See to a light image, if the job has none and is not done."""


class Deadlines:
    """Owns the timers."""

    owner: DeadlineOwner
    """Is called back; it needs this object itself, and is set before the first job."""

    def __init__(self, slo_s: float) -> None:
        """Keep the SLO, in seconds: a share of it is kept back for the way of an answer."""
        self._slo_s = slo_s
        self._timers: dict[Job, asyncio.TimerHandle] = {}

    def watch(self, job: Job) -> None:
        """Watch the deadline itself."""
        self._at(job.deadline, self._expire, job)

    def watch_lateness(self, job: Job, needs_s: float, not_before: float = 0.0) -> None:
        """Watch first the last moment at which something that takes `needs_s` can begin, then the deadline.

        That moment is not before a time (loop time).
        """
        latest = answer_by(job, self._slo_s) - needs_s
        self._at(max(latest, not_before, asyncio.get_running_loop().time()), self._now_late, job)

    def watch_deferral(self, job: Job, heavy_s: float) -> None:
        """Watch the last moment at which a heavy batch of `heavy_s` seconds can begin; if one did, when it must end."""
        self._at(answer_by(job, self._slo_s) - heavy_s, self._expire, job)

    def forget(self, job: Job) -> None:
        """Watch a job no longer."""
        timer = self._timers.pop(job, None)
        if timer is not None:
            timer.cancel()

    def _at(self, when: float, callback: Callable[[Job], None], job: Job) -> None:
        self.forget(job)
        self._timers[job] = asyncio.get_running_loop().call_at(when, callback, job)

    def _expire(self, job: Job) -> None:
        now, last = asyncio.get_running_loop().time(), answer_by(job, self._slo_s)
        if job.stage is Stage.RUNNING and now < last:
            self._at(last, self._expire, job)  # the heavy image may still come in time
        elif job.light_image is None and now < job.deadline:
            self._at(job.deadline, self._expire, job)
        else:
            del self._timers[job]
            self.owner.expired(job)

    def _now_late(self, job: Job) -> None:
        last = max(answer_by(job, self._slo_s), asyncio.get_running_loop().time())
        self._at(last, self._expire, job)
        self.owner.late(job)

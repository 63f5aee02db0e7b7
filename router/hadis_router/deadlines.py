"""Deadlines: one timer per job, for the last moment at which something can still be done about its deadline.

A job is answered or failed at its deadline, whatever happens. Two moments before it matter too: a job that waits for
its first image from the heavy tier steps down when only the light tier can still answer in time; a deferred job gives
up the heavy tier, and is answered with its light image, when a heavy batch that begins could no longer end in time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from hadis_router.job import Job, Stage

MARGIN = 0.02
"""Share of the SLO kept back for the way from the worker to the client when an answer is timed to the deadline."""


def answer_by(job: Job, slo_s: float) -> float:
    """Return when (loop time) an answer must leave to be with the client at the deadline."""
    return job.deadline - MARGIN * slo_s


class Deadlines:
    """Owns the timers, and calls back when one has run out for good."""

    def __init__(self, slo_s: float, expired: Callable[[Job], None], step_down: Callable[[Job], None]) -> None:
        """`expired` must end the job; `step_down` may move it to a lighter tier, if it still waits."""
        self._slo_s, self._expired, self._step_down = slo_s, expired, step_down
        self._timers: dict[Job, asyncio.TimerHandle] = {}

    def watch(self, job: Job) -> None:
        """Watch the deadline itself."""
        self._at(job.deadline, self._expire, job)

    def watch_step_down(self, job: Job, heavy_s: float) -> None:
        """Watch first the last moment at which a heavy batch of `heavy_s` seconds can begin, then the deadline."""
        latest = answer_by(job, self._slo_s) - heavy_s
        self._at(max(latest, asyncio.get_running_loop().time()), self._late_for_heavy, job)

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
        last = answer_by(job, self._slo_s)
        if job.deferred and job.stage is Stage.RUNNING and asyncio.get_running_loop().time() < last:
            self._at(last, self._expire, job)  # the heavy image may still come in time
            return
        del self._timers[job]
        self._expired(job)

    def _late_for_heavy(self, job: Job) -> None:
        self.watch(job)
        self._step_down(job)

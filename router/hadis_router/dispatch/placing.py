"""Placing: jobs go into the queues of tiers, and are watched so that none waits too long."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from hadis_router.dispatch.deadlines import Deadlines, answer_by
from hadis_router.dispatch.fallback import fallback
from hadis_router.dispatch.job import Job
from hadis_router.dispatch.outlook import Outlook
from hadis_router.dispatch.preemption import lead_s
from hadis_router.dispatch.queue import TierQueue
from hadis_router.dispatch.running import Batch


class Placing:
    """Puts jobs into queues, and sets their deadlines' timers."""

    def __init__(self, queues: Mapping[str, TierQueue], deadlines: Deadlines, outlook: Callable[[], Outlook]) -> None:
        """Use the dispatcher's own; `outlook` returns the outlook of this moment."""
        self._queues, self._deadlines, self._outlook = queues, deadlines, outlook

    def put(self, job: Job, tier: str) -> None:
        """Queue a job for a tier."""
        outlook = self._outlook()
        job.wait_for(tier, outlook.now)
        self._queues[tier].put(job, outlook.first_image_s(job, tier))
        if job.light_image is not None:
            return  # its end is watched already
        if job.needy and fallback(outlook, tier, running=False) is not None:
            self._deadlines.watch_lateness(job, outlook.longest_s(tier, outlook.batch_s(tier, 1, job.params.size)))
        else:
            self._deadlines.watch(job)

    def step_down(self, job: Job, tier: str) -> None:
        """Take a job that waits to a lighter tier."""
        self._queues[job.tier].remove(job)
        job.step_down(tier)
        self.put(job, tier)

    def await_heavy(self, job: Job, heavy: str) -> None:
        """Queue a job with a light image for a heavy tier."""
        self._deadlines.watch_deferral(job, self._outlook().estimates.latency_s(heavy, 1, image_size=job.params.size))
        self.put(job, heavy)

    def watch_running(self, batch: Batch, jobs: Iterable[Job], outlook: Outlook) -> None:
        """Have jobs of a batch that runs seen to where it takes longer than expected."""
        lighter = fallback(outlook, batch.tier, running=True)
        if lighter is None:
            return
        # One batch of the lighter tier may have begun just then; the stand-in is in the next.
        size = batch.image_size
        ahead_s = 2 * outlook.longest_s(lighter, outlook.batch_s(lighter, outlook.batch_limit(lighter, size), size))
        needs_s = lead_s(outlook, batch, lighter)
        for job in jobs:
            if job.needy:
                # Before that, a stand-in would only take the time of those who have nothing else to hope for.
                not_before = batch.overdue_at if batch.worker.free_at <= batch.overdue_at else outlook.now
                if outlook.estimates.overruns(batch.tier):
                    not_before = min(not_before, answer_by(job, outlook.slo_s) - needs_s)
                self._deadlines.watch_lateness(job, max(ahead_s, needs_s), not_before)

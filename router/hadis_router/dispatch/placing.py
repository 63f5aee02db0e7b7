"""Placing: jobs go into the queues of tiers, and are watched so that none waits too long."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from hadis_router.dispatch.deadlines import Deadlines
from hadis_router.dispatch.fallback import fallback
from hadis_router.dispatch.job import Job
from hadis_router.dispatch.outlook import Outlook
from hadis_router.dispatch.partials import show_light_image
from hadis_router.dispatch.queue import TierQueue


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

    def await_heavy(self, job: Job, heavy: str, heavy_s: float) -> None:
        """Queue a job with a light image for a heavy tier that takes `heavy_s` seconds."""
        show_light_image(job)
        self._deadlines.watch_deferral(job, heavy_s)
        self.put(job, heavy)

    def watch_running(self, jobs: Sequence[Job], tier: str, expected_s: float, outlook: Outlook) -> None:
        """Have the jobs of a batch that begins seen to where it takes longer than expected."""
        lighter = fallback(outlook, tier, running=True)
        if lighter is None:
            return
        # Before that, a stand-in would only take the time of those who have nothing else to hope for.
        within = outlook.now + outlook.longest_s(tier, expected_s)
        # One batch of the lighter tier may have begun just then; the stand-in is in the next.
        image_size = jobs[0].params.size
        lighter_s = outlook.batch_s(lighter, outlook.batch_limit(lighter, image_size), image_size)
        ahead_s = 2 * outlook.longest_s(lighter, lighter_s)
        for job in jobs:
            if job.needy:
                self._deadlines.watch_lateness(job, ahead_s, not_before=within)

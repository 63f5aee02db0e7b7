"""Spare work: a job that nobody waits for, on a worker that has nothing else to do, and only as long as that is so.

It takes no queue, no share and no promise into account, for it has none: it begins where nothing waits, and the batch
is stopped, at its next step, as soon as a request comes. It is not counted among what was asked for.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable

from hadis_router.dispatch.endings import Endings
from hadis_router.dispatch.fallback import MOST_RETRIES
from hadis_router.dispatch.image_params import ImageParams
from hadis_router.dispatch.job import Job
from hadis_router.dispatch.outlook import Outlook
from hadis_router.dispatch.running import Runner
from hadis_router.dispatch.stages import Admission, TierReason
from hadis_router.dispatch.workers import RemoteWorker


class SpareWork:
    """At most one job of that kind at a time."""

    def __init__(self, runner: Runner, endings: Endings, outlook: Callable[[], Outlook]) -> None:
        """Use the dispatcher's own; `outlook` returns the outlook of this moment."""
        self._runner, self._endings, self._outlook = runner, endings, outlook
        self._job: Job | None = None

    @property
    def worker(self) -> RemoteWorker | None:
        """The worker that is at it now."""
        return self._runner.worker_of(self._job) if self._job is not None else None

    def start(self, job: Job) -> bool:
        """Have a worker make and judge a job, of the tier that it is forced to; return False where none is to spare."""
        tier, outlook = job.forced_tier, self._outlook()
        assert tier is not None, "spare jobs are of one tier"
        worker = self._spare_worker(tier, outlook)
        if worker is None or outlook.plan is None or not outlook.plan.feasible:
            return False
        job.admit(Admission(tier, TierReason.PLANNED, (tier, tier), outlook.plan.generation, (None, None)))
        job.wait_for(tier, outlook.now)
        self._job = job
        self._runner.start(outlook.batch(worker, tier, [job], discriminate=True))
        return True

    def stop(self) -> None:
        """Stop what runs, if anything does: there is work that somebody waits for."""
        job, self._job = self._job, None
        run = self._runner.run_of(job) if job is not None else None
        if job is None or run is None:
            return
        outlook = self._outlook()
        step_s = outlook.estimates.step_s(run.batch.tier, run.batch.expected_s)
        run.batch.worker.stop(outlook.now, step_s)
        self._endings.cancel(job, None)

    def _spare_worker(self, tier: str, outlook: Outlook) -> RemoteWorker | None:
        """Return a worker to spare: an idle one, while nothing waits and a request that comes finds another one.

        Where all are idle there need not be another one.
        """
        if self._runner.stopped or self.worker is not None or outlook.waiting():
            return None
        idle = outlook.workers.idle(outlook.now)
        able = [worker for worker in idle if tier in worker.tiers]
        if not able:
            return None
        left = [worker for worker in idle if worker is not able[0]]
        covered = any(set(able[0].tiers) <= set(other.tiers) for other in left)
        return able[0] if covered or len(idle) == len(outlook.workers) else None


def spare_job(params: ImageParams, tier: str, slo_s: float) -> Job:
    """Return a job of a tier that nobody waits for, and that is not tried again where it fails."""
    loop = asyncio.get_running_loop()
    now = loop.time()
    job = Job(uuid.uuid4().hex, params, now, now + slo_s, loop.create_future(), forced_tier=tier, client="", spare=True)
    job.retries = MOST_RETRIES + 1
    return job

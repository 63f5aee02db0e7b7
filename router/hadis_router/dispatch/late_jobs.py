"""Late jobs: what is done for those whose time runs out, while there is some left and when there is none.

A job that waits goes to a lighter tier. One that runs gets a stand-in, which makes a light image beside it, if need be
on a worker whose batch is stopped for it (`preemption.py`). When all of its time is over it ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from hadis_router.dispatch import refusals
from hadis_router.dispatch.deadlines import Deadlines, answer_by
from hadis_router.dispatch.endings import Endings
from hadis_router.dispatch.fallback import fallback
from hadis_router.dispatch.job import Job
from hadis_router.dispatch.outlook import Outlook
from hadis_router.dispatch.placing import Placing
from hadis_router.dispatch.preemption import lead_s, run_to_stop
from hadis_router.dispatch.running import BatchRun, Runner
from hadis_router.dispatch.stages import Stage


class LateJobs:
    """Sees to jobs that timers call for (`deadlines.DeadlineOwner`)."""

    def __init__(
        self,
        placing: Placing,
        deadlines: Deadlines,
        runner: Runner,
        endings: Endings,
        slo_s: float,
        outlook: Callable[[], Outlook],
        dispatch: Callable[[], None],
    ) -> None:
        """Use the dispatcher's own; `outlook` returns that of this moment, `dispatch` gives idle workers batches."""
        self._placing, self._deadlines, self._runner, self._endings = placing, deadlines, runner, endings
        self._slo_s, self._outlook, self._dispatch = slo_s, outlook, dispatch

    def expired(self, job: Job) -> None:
        """End a job whose time is over."""
        self._endings.fail(job, refusals.expired(self._slo_s))
        self._dispatch()  # it may have kept a slow worker from those behind it

    def late(self, job: Job) -> None:
        """Have a lighter tier see to a job that its own can no longer surely answer in time."""
        running = job.stage is Stage.RUNNING
        tier = fallback(self._outlook(), job.tier, running=running)
        if tier is None:
            return
        if job.stage is Stage.WAITING:
            self._placing.step_down(job, tier)
        elif running and job.stand_in is None:
            self._placing.put(job.make_stand_in(tier, asyncio.get_running_loop().create_future()), tier)
        self._dispatch()
        if running:
            self._see_to_stand_in(job, tier)

    def _see_to_stand_in(self, job: Job, light: str) -> None:
        """Stop a batch where a stand-in still waits at the last moment for its image."""
        own, outlook = self._runner.run_of(job), self._outlook()
        if own is None or job.stand_in is None or job.stand_in.stage is not Stage.WAITING:
            return
        needs_s = lead_s(outlook, own.batch, light)
        if outlook.now < answer_by(job, self._slo_s) - needs_s:
            self._deadlines.watch_lateness(job, needs_s)
        elif (run := run_to_stop(job, own, self._runner.runs(), outlook, light)) is not None:
            self.stop_batch(run, light)
        elif outlook.now < own.batch.overdue_at < answer_by(job, self._slo_s):
            self._deadlines.watch_lateness(job, needs_s, own.batch.overdue_at)  # it may be in vain by then

    def stop_batch(self, run: BatchRun, light: str) -> None:
        """Stop a batch; its jobs go on with the light images that they have, or go to the light tier for one."""
        for job in [job for job in run.batch.jobs if job in run.needed_by]:  # in order
            if job.light_image is None and job.stand_in is not None and job.stand_in.stage is Stage.RUNNING:
                self._runner.leave(job)  # its light image is being made; its timer sees to the rest
                continue
            self._endings.leave(job)
            if job.light_image is None:
                job.stand_in = None
                self._placing.step_down(job, light)
            elif job.deferred:
                self._placing.await_heavy(job, run.batch.tier)
            else:
                self._endings.fail(job, refusals.expired(self._slo_s))

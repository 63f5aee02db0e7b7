"""Endings: a job is answered, fails or is cancelled, leaves wherever it was, and is counted once."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping

from hadis_router.dispatch import refusals
from hadis_router.dispatch.answer import REPEATS, Answer, Repeat, ServeError, ServingPath
from hadis_router.dispatch.deadlines import Deadlines
from hadis_router.dispatch.job import Job
from hadis_router.dispatch.lanes import Lanes
from hadis_router.dispatch.queue import TierQueue
from hadis_router.dispatch.running import Runner
from hadis_router.dispatch.stages import Stage
from hadis_router.dispatch.stats import EndedJob, RecentJobs


class Endings:
    """Ends jobs, and keeps how they ended."""

    def __init__(
        self,
        queues: Mapping[str, TierQueue],
        deadlines: Deadlines,
        runner: Runner,
        lanes: Lanes,
        on_done: Callable[[Job, str], None],
    ) -> None:
        """Use the dispatcher's own; `on_done` gets every job and how it ended."""
        self._queues, self._deadlines, self._runner = queues, deadlines, runner
        self._lanes, self._on_done = lanes, on_done
        self.recent = RecentJobs()
        self.last_at = -math.inf
        """Loop time of the last one that was any work."""

    def answer(self, job: Job, image: bytes, path: ServingPath) -> None:
        """End a job with an image; a stand-in's is kept for the job that it stands in for, or is its answer.

        It is the answer at once where that job's own batch was stopped meanwhile: nothing else is made for it.
        """
        if (late := job.stands_in_for) is not None:
            self._leave(job)
            late.take_light_image(image, job)
            if self._was_stopped(late):
                self._answer_light(late, image)
            return
        job.answer(image, path, asyncio.get_running_loop().time())
        self.leave(job)
        self._count_answer(job, path)

    def repeat(self, job: Job, answer: Answer, how: Repeat) -> None:
        """End a job that was never admitted with the answer of another one."""
        job.repeat(answer, how, asyncio.get_running_loop().time())
        self._count_answer(job, how)

    def fail(self, job: Job, error: ServeError) -> None:
        """End a job without the image that it waits for: with the light one where it has one, else with the error."""
        if job.done:
            return
        if job.light_image is not None:
            self._answer_light(job, job.light_image)
        elif (late := job.stands_in_for) is not None:
            self._leave(job)
            job.cancel()
            # What is refused for the stand-in is for its job, and so is a failure where nothing else is made for that.
            if error.code == refusals.content_filtered().code or self._was_stopped(late):
                self.fail(late, error)
        else:
            job.fail(error)
            self.leave(job)
            self._count(job, error.code)

    def _answer_light(self, job: Job, image: bytes) -> None:
        if job.stand_in is not None:
            job.step_down(job.stand_in.tier)
        self.answer(job, image, "kept-light")

    def _was_stopped(self, job: Job) -> bool:
        """Return whether a job's batch was stopped while its stand-in's ran: it is neither in one nor in a queue."""
        return job.stage is Stage.RUNNING and self._runner.run_of(job) is None

    def cancel(self, job: Job, error: ServeError | None) -> None:
        """End a job that nobody waits for: its client has gone, or was told an error."""
        admitted = job.stage is not Stage.NEW
        if error is None:
            job.cancel()
        else:
            job.fail(error)
        if admitted:
            self.leave(job)
        self._count(job, "cancelled" if error is None else error.code)

    def saved(self, job: Job, error: ServeError | None) -> None:
        """Count a job whose image was to be saved first, if it has one; `error`: why it could not be."""
        if job.unsaved is not None:
            path, job.unsaved, job.lost = job.unsaved, None, error
            self._count(job, path if error is None else error.code)

    def leave(self, job: Job) -> None:
        """Take a job, and what stands in for it, out of wherever it is."""
        self._leave(job)
        if job.stand_in is not None and not job.stand_in.done:
            job.stand_in.cancel()
            self._leave(job.stand_in)

    def _leave(self, job: Job) -> None:
        self._queues[job.tier].remove(job)
        self._deadlines.forget(job)
        self._runner.leave(job)

    def _count_answer(self, job: Job, how: ServingPath | Repeat) -> None:
        if job.saved_first:
            job.unsaved = how
        else:
            self._count(job, how)

    def _count(self, job: Job, how: str) -> None:
        if job.spare:
            return
        now = asyncio.get_running_loop().time()
        outcome = job.outcome
        in_time = outcome == "answered" and now <= job.deadline
        self.recent.add(EndedJob(now, outcome, how, now - job.arrived, in_time))
        if how not in REPEATS:  # those are neither work nor what a profile decided
            self.last_at = now
            self._lanes.ended(job, in_time=in_time)
        self._on_done(job, how)

"""Running: batches on workers, from the moment that a worker is taken to the moment that it is free again.

A batch is made for its jobs: when the last of them has ended otherwise, or waits for another one, it is
cancelled. As every job ends at its deadline, so does a batch that would never end.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from hadis.protocol.previews import Preview
from hadis.protocol.worker import Progress, named_requests

from hadis_router.dispatch.estimates import Estimates
from hadis_router.dispatch.job import Job
from hadis_router.dispatch.partials import show_preview
from hadis_router.dispatch.trace import join
from hadis_router.dispatch.transport import Result, Transport, WorkerBusy, WorkerGone
from hadis_router.dispatch.workers import RemoteWorker

log = logging.getLogger(__name__)
_ROUNDING = 1e-6
"""Seconds by which a batch must last longer than what is set aside for it to have done so."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Jobs on a worker; `expected_s` is how long they should take, `longest_s` what is set aside for them."""

    worker: RemoteWorker
    tier: str
    jobs: Sequence[Job]
    discriminate: bool
    expected_s: float
    longest_s: float
    began: float
    """Loop time."""

    @property
    def overdue_at(self) -> float:
        """When (loop time) it has lasted longer than what is set aside for it."""
        return self.began + self.longest_s + _ROUNDING

    @property
    def image_size(self) -> str | None:
        """The one size of its images."""
        return self.jobs[0].params.size

    @property
    def requests(self) -> str:
        """The ids of its jobs' requests, as logs say them."""
        return named_requests(job.request_id for job in self.jobs)

    @property
    def timeout_s(self) -> float:
        """After how many seconds the worker is given up."""
        return 5 + 10 * self.expected_s


class BatchOwner(Protocol):
    """Who sees to a batch that ended."""

    def take_results(self, batch: Batch, results: Sequence[Result], needed_by: Collection[Job]) -> None:
        """See to each job that still needs the batch by its result."""

    def watch_slow(self, batch: Batch, needed_by: Collection[Job]) -> None:
        """See to the jobs of a batch whose steps say that it will last longer than what is set aside for it."""

    def retry(self, batch: Batch, needed_by: Collection[Job], *, failed: bool) -> None:
        """See to jobs that were not made; `failed`: by the worker's fault, which a job bears only so often."""

    @property
    def freed(self) -> Callable[[], None]:
        """Called when a worker has nothing to do."""


@dataclass(slots=True, eq=False)
class BatchRun:
    """A batch that runs."""

    batch: Batch
    needed_by: set[Job]
    """Its jobs that wait for it still."""
    task: asyncio.Task[None] = field(init=False)


class Runner:
    """Owns the batches that run, each a task."""

    owner: BatchOwner
    """Is told how each ended; it needs this object itself, and is set before the first batch."""

    def __init__(self, transport: Transport, estimates: Estimates) -> None:
        """`estimates` learn from every batch."""
        self._transport, self._estimates = transport, estimates
        self._tasks: set[asyncio.Task[None]] = set()
        self._runs: dict[Job, BatchRun] = {}
        self.stopped = False
        """Whether a task was cancelled from outside: the process ends, and workers must be given nothing more."""

    def start(self, batch: Batch) -> None:
        """Have a worker make a batch."""
        batch.worker.begin(batch.tier, batch.began, batch.began + batch.expected_s)
        run = BatchRun(batch, set(batch.jobs))
        for job in batch.jobs:
            job.run(batch.worker.url, len(batch.jobs))
            self._runs[job] = run
        join([job.trace for job in batch.jobs])
        run.task = asyncio.ensure_future(self._run(run))
        self._tasks.add(run.task)
        run.task.add_done_callback(self._tasks.discard)

    def leave(self, job: Job) -> None:
        """Take a job out of its batch, if it is in one; a batch without any job is cancelled."""
        run = self._runs.pop(job, None)
        if run is not None:
            run.needed_by.remove(job)
            if not run.needed_by:
                # Not at once: a task that is cancelled before it has begun would not even free its worker.
                asyncio.get_running_loop().call_soon(run.task.cancel)

    def runs(self) -> list[BatchRun]:
        """Return the batches that run and are needed."""
        return list(dict.fromkeys(self._runs.values()))

    def run_of(self, job: Job) -> BatchRun | None:
        """Return the batch that a job is in now."""
        return self._runs.get(job)

    def worker_of(self, job: Job) -> RemoteWorker | None:
        """Return the worker that makes a job now."""
        run = self._runs.get(job)
        return run.batch.worker if run else None

    async def drain(self) -> None:
        """Wait for the batches that run."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, run: BatchRun) -> None:
        """Run a batch to its end; the owner gets every job in it back, whatever happens, except on cancellation."""
        loop, batch, worker = asyncio.get_running_loop(), run.batch, run.batch.worker

        def advance(update: Progress | Preview) -> None:
            if isinstance(update, Preview):
                show_preview(batch.jobs[update.job], update)
            else:
                worker.advance(update, batch.expected_s, loop.time())
                if worker.free_at > batch.overdue_at:
                    self.owner.watch_slow(batch, run.needed_by)

        try:
            results = await self._transport.generate(
                worker.url, batch.tier, batch.jobs, batch.discriminate, batch.timeout_s, advance
            )
            if len(results) != len(batch.jobs):
                raise WorkerGone(f"{len(results)} results for {len(batch.jobs)} jobs")
        except asyncio.CancelledError:
            if run.needed_by:
                self.stopped = True
                raise
            self._cancelled(batch)
        except WorkerBusy:
            self._end(run)
            worker.refused(loop.time())
            self.owner.retry(batch, run.needed_by, failed=False)
        except WorkerGone as error:
            self._end(run)
            text = "worker %s failed a batch of %d on %s, for %s: %s"
            log.warning(text, worker.url, len(batch.jobs), batch.tier, batch.requests, error)
            worker.failed(loop.time())
            self._learn_at_least(batch, loop.time())
            self.owner.retry(batch, run.needed_by, failed=True)
        else:
            self._end(run)
            worker.succeeded()
            seconds = max(1e-6, loop.time() - batch.began)
            size, image_size = len(batch.jobs), batch.image_size
            # An edit makes a share of the steps, or looks at its inputs beside: that it is fast says nothing of others.
            edits = batch.jobs[0].params.edit is not None
            learn = self._estimates.learn_at_least if edits else self._estimates.learn
            learn(worker.url, batch.tier, size, batch.discriminate, seconds, image_size)
            self._estimates.note_end(batch.tier, overran=loop.time() > batch.overdue_at)
            self.owner.take_results(batch, results, run.needed_by)
        finally:
            worker.end()
            self.owner.freed()

    def _end(self, run: BatchRun) -> None:
        for job in run.needed_by:
            del self._runs[job]

    def _cancelled(self, batch: Batch) -> None:
        """See to the worker of a cancelled batch. Until it is at its next step, it will say that it is busy."""
        worker, now = batch.worker, asyncio.get_running_loop().time()
        elapsed_s = now - batch.began
        worker.stopped(worker.step_s(self._estimates.step_s(batch.tier, batch.expected_s)))
        # That it might never have ended is no reason to know nothing of it.
        self._learn_at_least(batch, now)
        if worker.progress is None and elapsed_s > batch.expected_s:
            text = "worker %s has not taken a batch on %s in %.1f s, for %s"
            log.warning(text, worker.url, batch.tier, elapsed_s, batch.requests)
            worker.failed(now)

    def _learn_at_least(self, batch: Batch, now: float) -> None:
        """Learn from a batch that is given up now (loop time)."""
        worker, elapsed_s = batch.worker.url, now - batch.began
        self._estimates.learn_at_least(
            worker, batch.tier, len(batch.jobs), batch.discriminate, elapsed_s, batch.image_size
        )
        if now > batch.overdue_at:
            self._estimates.note_end(batch.tier, overran=True)

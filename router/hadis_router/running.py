"""Running: batches on workers, from the moment that a worker is taken to the moment that it is free again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from hadis_router.estimates import Estimates
from hadis_router.job import Job, Stage
from hadis_router.transport import Result, Transport, WorkerBusy, WorkerGone
from hadis_router.workers import RemoteWorker

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Batch:
    """Jobs on a worker; `expected_s` is how long they should take."""

    worker: RemoteWorker
    tier: str
    jobs: Sequence[Job]
    discriminate: bool
    expected_s: float
    began: float
    """Loop time."""

    @property
    def timeout_s(self) -> float:
        """After how many seconds the worker is given up."""
        return 5 + 10 * self.expected_s


class BatchOwner(Protocol):
    """What the dispatcher does with a batch that ended."""

    def take_results(self, batch: Batch, results: Sequence[Result]) -> None:
        """See to each job by its result."""

    def retry(self, batch: Batch, *, failed: bool) -> None:
        """See to jobs that were not made; `failed`: by the worker's fault, which a job bears only so often."""

    def freed(self) -> None:
        """Give the worker something else to do."""


class Runner:
    """Owns the batches that run, each a task."""

    def __init__(self, transport: Transport, estimates: Estimates, owner: BatchOwner) -> None:
        """`estimates` learn from every batch; `owner` is told how it ended."""
        self._transport, self._estimates, self._owner = transport, estimates, owner
        self._tasks: set[asyncio.Task[None]] = set()
        self.stopped = False
        """Whether a batch was cancelled: the process ends, and workers must be given nothing more."""

    def start(self, batch: Batch) -> None:
        """Have a worker make a batch."""
        batch.worker.begin(batch.tier, batch.began, batch.began + batch.expected_s)
        for job in batch.jobs:
            job.stage = Stage.RUNNING
        last = max(job.deadline for job in batch.jobs)
        overdue = asyncio.get_running_loop().call_at(last, self._overdue, batch)
        task = asyncio.ensure_future(self._run(batch))
        task.add_done_callback(lambda _: overdue.cancel())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _overdue(self, batch: Batch) -> None:
        """Learn from a batch that outlasts its jobs: that it may never end is no reason to know nothing of it."""
        elapsed_s = asyncio.get_running_loop().time() - batch.began
        self._estimates.learn_at_least(batch.worker.url, batch.tier, len(batch.jobs), batch.discriminate, elapsed_s)

    async def drain(self) -> None:
        """Wait for the batches that run."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, batch: Batch) -> None:
        """Run a batch to its end; the owner gets every job in it back, whatever happens, except on cancellation."""
        loop, worker = asyncio.get_running_loop(), batch.worker
        try:
            results = await self._transport.generate(
                worker.url, batch.tier, batch.jobs, batch.discriminate, batch.timeout_s
            )
            if len(results) != len(batch.jobs):
                raise WorkerGone(f"{len(results)} results for {len(batch.jobs)} jobs")
        except asyncio.CancelledError:
            self.stopped = True
            raise
        except WorkerBusy:
            worker.refused(loop.time())
            self._owner.retry(batch, failed=False)
        except WorkerGone as error:
            log.warning("worker %s failed a batch of %d on %s: %s", worker.url, len(batch.jobs), batch.tier, error)
            worker.failed(loop.time())
            self._owner.retry(batch, failed=True)
        else:
            worker.succeeded()
            seconds = max(1e-6, loop.time() - batch.began)
            self._estimates.learn(worker.url, batch.tier, len(batch.jobs), batch.discriminate, seconds)
            self._owner.take_results(batch, results)
        finally:
            worker.end()
            self._owner.freed()

"""The dispatcher: one owner of all queues. Jobs come in, free workers take batches, answers go out.

It knows no HTTP and reads no clock but the event loop's, so that the replay runs this very code on a virtual clock.
Nothing here awaits but a batch's task; everything else is a short callback on the loop.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from hadis.planning.plan import Plan
from hadis.planning.profile import Profile
from hadis.protocol.run_state import WorkerAddress
from hadis.protocol.worker import JobResult

from hadis_router.cascade import Cascade
from hadis_router.estimates import Estimates
from hadis_router.job import Job, Path, ServeError
from hadis_router.outlook import Outlook
from hadis_router.queue import TierQueue
from hadis_router.stats import Ended, Recent
from hadis_router.workers import BUSY_REST_S, Worker, Workers

log = logging.getLogger(__name__)

MOST_RETRIES = 2
MARGIN = 0.02
"""Share of the SLO kept back for the way from the worker to the client when an answer is timed to the deadline."""
Result = tuple[JobResult, bytes | None]


class WorkerBusy(Exception):
    """The worker runs another batch; nothing was begun."""


class WorkerGone(Exception):
    """The worker died, does not answer, or answers nonsense."""


class Transport(Protocol):
    """How a batch gets to a worker: HTTP in the router, a latency table in the replay."""

    async def generate(
        self, url: str, tier: str, jobs: Sequence[Job], discriminate: bool, timeout_s: float
    ) -> list[Result]:
        """Return a result a job, in order; raise WorkerBusy or WorkerGone."""


class Dispatcher:
    """Queues by tier, workers, and the plan in force."""

    def __init__(
        self,
        profile: Profile,
        transport: Transport,
        *,
        slo_s: float,
        queue_limit: int,
        on_done: Callable[[Job, str], None] = lambda job, how: None,
    ) -> None:
        """`on_done` is told of every job that ends and how: by which path, or its error's code, or "cancelled"."""
        self._transport, self.slo_s, self._limit, self._on_done = transport, slo_s, queue_limit, on_done
        self._queues = {tier: TierQueue() for tier in profile.tiers}
        self._estimates = Estimates(profile)
        self.cascade = Cascade(profile)
        self.workers = Workers()
        self.recent = Recent()
        self._outlook = Outlook(self._queues, self.workers, self._estimates)
        self._batches: set[asyncio.Task[None]] = set()
        self._wake: asyncio.TimerHandle | None = None
        self._stopped = False

    @property
    def plan(self) -> Plan | None:
        """The plan in force."""
        return self._outlook.plan

    @property
    def queued(self) -> dict[str, int]:
        """Waiting jobs by tier."""
        return {tier: len(queue) for tier, queue in self._queues.items()}

    @property
    def queued_s(self) -> dict[str, float]:
        """GPU seconds of the work that waits, by tier, in batches of the plan's size."""
        return self._outlook.queued_s()

    def set_plan(self, plan: Plan) -> None:
        """Follow another plan at once; what waits for a tier that it does not use goes to the tier in its place."""
        self._outlook.plan = plan
        for tier, queue in self._queues.items():
            if tier not in (plan.light, plan.heavy):
                for job in [job for job in queue.drain() if not job.done]:
                    self._put(
                        job, tier if job.forced_tier or job.stepped_down else plan.heavy if job.deferred else plan.light
                    )
        self._dispatch()

    def set_workers(self, addresses: Iterable[WorkerAddress]) -> None:
        """Take the list of workers that are ready."""
        self.workers.update(addresses)
        self._dispatch()

    def submit(self, job: Job) -> None:
        """Queue a job; raise ServeError where it cannot be served in time, with when to try again."""
        plan = self.plan
        if plan is None or not len(self.workers):
            raise ServeError(503, "no_workers", "no worker is ready yet; try again soon", 2)
        waiting = sum(map(len, self._queues.values()))
        if waiting >= self._limit:
            raise ServeError(429, "queue_full", f"{waiting} images wait already", self._outlook.drain_s())
        tier, cascade = self._place(job, plan)
        loop = asyncio.get_running_loop()
        job.generation, job.first, job.cascade = plan.generation, tier, cascade
        job.thresholds = self.cascade.thresholds(plan)
        job.timer = loop.call_at(job.deadline, self._expire, job)
        if tier == plan.heavy != plan.light and not job.forced_tier:
            # While it waits, the last moment at which the light tier can still answer is watched instead.
            latest = job.deadline - MARGIN * self.slo_s - self._estimates.latency_s(tier, 1)
            job.timer.cancel()
            job.timer = loop.call_at(max(latest, loop.time()), self._step_down, job)
        self._put(job, tier)
        self._dispatch()

    def cancel(self, job: Job) -> None:
        """Forget a job that nobody waits for; a batch that runs goes on without it."""
        if not job.done:
            job.future.cancel()
            if job.tier:
                self._ended(job, "cancelled")

    def progress(self, job: Job) -> tuple[int, float]:
        """Return how many jobs are made before one that waits, and about the seconds until it is made itself."""
        now = asyncio.get_running_loop().time()
        if job.running:
            return 0, self._outlook.batch_s(job.tier, 1)
        ahead = max(0, self._queues[job.tier].ahead_of(job.deadline) - 1)
        return ahead, max(0.0, self._outlook.ends_at(job.deadline, job.tier) - now)

    async def drain(self) -> None:
        """Wait for the batches that run."""
        await asyncio.gather(*self._batches, return_exceptions=True)

    def _place(self, job: Job, plan: Plan) -> tuple[str, tuple[str, str]]:
        """Return the tier that a job goes to first and the cascade that it is of; raise ServeError.

        An easier picture in time is worth more than a better one too late: a prompt for the heavy tier may go to the
        light one, and where that is too slow as well, to the best lighter tier that some worker has.
        """
        tier = self.cascade.first(job, plan)
        if not self.workers.having(tier) and not job.forced_tier:
            tier = plan.light if tier == plan.heavy else plan.heavy  # while tiers change, one is better than none
        if not self.workers.having(tier):
            raise ServeError(503, "no_workers", f"no worker has the tier {tier!r}; try again soon", 2)
        late = self._outlook.ends_at(job.deadline, tier) - job.deadline
        if late <= 0:
            return tier, (plan.light, plan.heavy)
        names = list(self._queues)
        lighter = [] if job.forced_tier else reversed(names[: names.index(tier)])
        for other in lighter:
            if self.workers.having(other) and self._outlook.ends_at(job.deadline, other) <= job.deadline:
                if other in (plan.light, plan.heavy):
                    return other, (plan.light, plan.heavy)
                job.stepped_down = True
                return other, (other, other)
        raise ServeError(429, "too_late", "the queue is too long to answer in time", max(1, math.ceil(late)))

    # What a job goes through

    def _put(self, job: Job, tier: str) -> None:
        job.tier, job.queued_at = tier, asyncio.get_running_loop().time()
        self._queues[tier].put(job)

    def _finish(self, job: Job, image: bytes, path: Path) -> None:
        if not job.done:
            job.answer(image, path, asyncio.get_running_loop().time())
            self._ended(job, path)

    def _fail(self, job: Job, error: ServeError) -> None:
        """End a job without its image: with the light one where it has one, else with the error."""
        if job.light_image is not None:
            self._finish(job, job.light_image, "kept-light")
        elif not job.done:
            job.fail(error)
            self._ended(job, error.code)

    def _ended(self, job: Job, how: str) -> None:
        self._queues[job.tier].remove(job)
        if job.timer is not None:
            job.timer.cancel()
        now = asyncio.get_running_loop().time()
        answered = job.done and not job.future.cancelled() and job.future.exception() is None
        if how != "cancelled":
            self.recent.add(Ended(now, how, now - job.arrived, answered and now <= job.deadline))
        self._on_done(job, how)

    def _expire(self, job: Job) -> None:
        """Called at a job's deadline, or when its heavy turn can no longer end in time."""
        if job.light_image is not None and job.running:
            # It may still be made in time; if not, the light image is sent just before the deadline.
            last = job.deadline - MARGIN * self.slo_s
            if asyncio.get_running_loop().time() < last:
                job.timer = asyncio.get_running_loop().call_at(last, self._expire, job)
                return
        self._fail(job, ServeError(504, "deadline_expired", f"no image within {self.slo_s:g} s"))

    def _step_down(self, job: Job) -> None:
        """Called when the heavy tier, if it did not begin yet, can no longer answer in time: the light one may."""
        job.timer = asyncio.get_running_loop().call_at(job.deadline, self._expire, job)
        plan = self.plan
        if not job.running and plan is not None and job.tier != plan.light and self.workers.having(plan.light):
            self._queues[job.tier].remove(job)
            job.first, job.stepped_down = plan.light, True
            self._put(job, plan.light)
            self._dispatch()

    def _take_result(self, job: Job, tier: str, worker: str, began: float, result: Result) -> None:
        told, image = result
        job.running = False
        if job.done:
            return
        if told.error is not None or image is None:
            code = told.error_code or "failed"
            self._fail(job, ServeError(400 if code == "invalid" else 500, code, told.error or "no image"))
            return
        job.add_attempt(tier, worker, began, told.service_s)
        if job.deferred:
            self._finish(job, image, "deferred")
            return
        job.confidence, plan = told.confidence, self.plan
        if plan is not None and self.cascade.again(job, plan):
            job.cascade = plan.light, plan.heavy
            self._defer(job, image, plan.heavy)
        else:
            light = plan is None or tier in (plan.light, job.cascade[0])
            self._finish(job, image, "light" if light else "heavy")

    def _defer(self, job: Job, image: bytes, heavy: str) -> None:
        job.light_image = image
        last = job.deadline - MARGIN * self.slo_s
        if self._outlook.ends_at(job.deadline, heavy) > last or not self.workers.having(heavy):
            self._finish(job, image, "kept-light")
            return
        if job.on_light:
            job.on_light()
        if job.timer is not None:
            job.timer.cancel()
        latest = last - self._estimates.latency_s(heavy, 1)
        job.timer = asyncio.get_running_loop().call_at(latest, self._expire, job)
        self._put(job, heavy)

    # Who takes what

    def _dispatch(self) -> None:
        """Give every idle worker the most urgent batch that it can make."""
        now = asyncio.get_running_loop().time()
        if self._stopped:
            return
        while idle := self.workers.idle(now):
            tier = self._most_urgent(idle, now)
            if tier is None:
                return
            able = [w for w in idle if tier in w.tiers]
            jobs = self._queues[tier].take(self._batch_size(tier, len(able), now))
            if not jobs:
                return
            self._start(able[0], tier, jobs, now)
        self._wake_up_when_rested(now)

    def _most_urgent(self, idle: list[Worker], now: float) -> str | None:
        """Return the tier whose first job has the least time to spare.

        A tier that already runs on as many workers as the plan gives it waits behind the other, but not for an idle
        worker: nobody stands still while anybody waits.
        """
        best, found = (True, math.inf), None
        for tier, queue in self._queues.items():
            head = queue.head() if len(queue) else None
            if head is None or not any(tier in w.tiers for w in idle):
                continue
            part = self.plan.tier(tier) if self.plan else None
            over = self.workers.running(tier) >= (part.count if part else 0)
            order = (over, head.deadline - now - self._estimates.latency_s(tier, 1))
            if found is None or order < best:
                best, found = order, tier
        return found

    def _batch_size(self, tier: str, idle: int, now: float) -> int:
        """Return the plan's batch, or less: idle workers share what waits, and the first job must not be late."""
        queue = self._queues[tier]
        size = min(self._outlook.batch_limit(tier), math.ceil(len(queue) / max(1, idle)))
        head = queue.head()
        while size > 1 and head and now + self._outlook.batch_s(tier, size) > head.deadline:
            size -= 1
        return max(1, size)

    def _start(self, worker: Worker, tier: str, jobs: list[Job], now: float) -> None:
        expected = self._outlook.batch_s(tier, len(jobs))
        worker.tier, worker.free_at = tier, now + expected
        for job in jobs:
            job.running = True
        task = asyncio.ensure_future(self._run(worker, tier, jobs, self._outlook.judged(tier), expected))
        self._batches.add(task)
        task.add_done_callback(self._batches.discard)

    async def _run(self, worker: Worker, tier: str, jobs: list[Job], judged: bool, expected_s: float) -> None:
        """Have a worker make a batch, and see to every job in it, whatever happens."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            results = await self._transport.generate(worker.url, tier, jobs, judged, 5 + 10 * expected_s)
            if len(results) != len(jobs):
                raise WorkerGone(f"{len(results)} results for {len(jobs)} jobs")
        except asyncio.CancelledError:
            self._stopped = True  # the process ends: what is freed now must not be given out again
            raise
        except WorkerBusy:
            worker.rests_until = loop.time() + BUSY_REST_S
            self._again(jobs, tier, retries=0)
        except WorkerGone as error:
            log.warning("worker %s failed a batch of %d on %s: %s", worker.url, len(jobs), tier, error)
            worker.failed(loop.time())
            self._again(jobs, tier, retries=1)
        else:
            worker.failures = 0
            self._estimates.saw(tier, len(jobs), judged, max(1e-6, loop.time() - began))
            for job, result in zip(jobs, results, strict=True):
                self._take_result(job, tier, worker.url, began, result)
        finally:
            worker.tier = ""
            self._dispatch()

    def _again(self, jobs: list[Job], tier: str, retries: int) -> None:
        for job in jobs:
            job.running = False
            job.retries += retries
            if job.retries > MOST_RETRIES:
                self._fail(job, ServeError(503, "worker_failed", "the workers that were given this image failed", 2))
            elif not job.done:
                self._put(job, tier)

    def _wake_up_when_rested(self, now: float) -> None:
        resting = [w.rests_until for w in self.workers if not w.tier and w.rests_until > now]
        if resting and self._wake is None:
            self._wake = asyncio.get_running_loop().call_at(min(resting), self._woken)

    def _woken(self) -> None:
        self._wake = None
        self._dispatch()

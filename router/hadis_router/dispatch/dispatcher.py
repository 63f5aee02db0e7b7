"""The dispatcher: the one owner of queues, workers and plan. Jobs come in, free workers take batches, answers go out.

    submit -> gate -> placing -> batching -> running -> returns -> endings
                         \\_______ late jobs ________/

What is decided is decided in those modules, and most of it by pure functions on an `Outlook`; this one puts them
together, so that each event (a request, a plan, a list of workers, a batch that ended, a timer) leaves no worker idle
beside work that it can do. It knows no HTTP and reads no clock but the event loop's, so that the replay runs this very
code on a virtual clock. Nothing here awaits but a batch's task; everything else is a short callback on the loop.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable, Mapping

from hadis.planning.plan import Plan
from hadis.planning.profile import Profile
from hadis.protocol.run_state import WorkerAddress

from hadis_router.dispatch import refusals
from hadis_router.dispatch.answer import Answer, Repeat, ServeError
from hadis_router.dispatch.batching import Batching
from hadis_router.dispatch.deadlines import Deadlines
from hadis_router.dispatch.endings import Endings
from hadis_router.dispatch.estimates import Estimates
from hadis_router.dispatch.fair_share import FairShares
from hadis_router.dispatch.fallback import tier_in_place
from hadis_router.dispatch.first_worker import FirstWorker
from hadis_router.dispatch.gate import Gate
from hadis_router.dispatch.job import Job
from hadis_router.dispatch.judging import Judging
from hadis_router.dispatch.lanes import Lanes
from hadis_router.dispatch.late_jobs import LateJobs
from hadis_router.dispatch.outlook import Outlook
from hadis_router.dispatch.placing import Placing
from hadis_router.dispatch.queue import TierQueue
from hadis_router.dispatch.returns import Returns
from hadis_router.dispatch.running import Runner
from hadis_router.dispatch.spare import SpareWork
from hadis_router.dispatch.stages import JobProgress
from hadis_router.dispatch.stats import RecentJobs
from hadis_router.dispatch.transport import Transport
from hadis_router.dispatch.workers import RemoteWorkers


class Dispatcher:
    """Queues by tier, workers, and the plan in force."""

    def __init__(
        self,
        profile: Profile,
        transport: Transport,
        *,
        slo_s: float,
        queue_limit: int,
        first_image_s: float | None = None,
        weights: Mapping[str, float] | None = None,
        on_done: Callable[[Job, str], None] = lambda job, how: None,
    ) -> None:
        """`weights` of the clients by key, 1 where left out.

        Jobs that come while no worker is ready are held for `first_image_s` seconds; None: they are refused.
        `on_done` gets every job that ends and how: by which path, or its error's code (also where it was not even
        admitted), or "cancelled".
        """
        self.slo_s, self._queue_limit = slo_s, queue_limit
        self.plan: Plan | None = None
        self.workers = RemoteWorkers(profile.slots)
        self.lanes = Lanes(profile)
        self.shares = FairShares(weights or {}, slo_s)
        self._gate = Gate(self.shares, self.lanes)
        self._has_discriminator = profile.has_discriminator
        self._queues = {tier: TierQueue(self.shares.weight) for tier in profile.tiers}
        self.estimates = Estimates(profile)
        self._deadlines = Deadlines(slo_s)
        self._runner = Runner(transport, self.estimates)
        self._placing = Placing(self._queues, self._deadlines, self._outlook)
        self._endings = Endings(self._queues, self._deadlines, self._runner, self.lanes, on_done)
        self._spare = SpareWork(self._runner, self._endings, self._outlook)
        judging = Judging(self.lanes, has_discriminator=profile.has_discriminator)
        batching = Batching(
            self._queues, self._placing, judging, self._runner, self._endings, self._spare, self._outlook
        )
        self._dispatch = batching.dispatch
        self._late_jobs = LateJobs(
            self._placing, self._deadlines, self._runner, self._endings, slo_s, self._outlook, self._dispatch
        )
        self._deadlines.owner = self._late_jobs
        self._runner.owner = Returns(self._placing, self._endings, self.lanes, self._outlook, self._dispatch)
        self.first_worker = FirstWorker(first_image_s, queue_limit, self._held_too_long)
        self._last_request_at = -math.inf

    @property
    def queued(self) -> dict[str, int]:
        """Waiting jobs by tier."""
        return {tier: len(queue) for tier, queue in self._queues.items()}

    @property
    def recent(self) -> RecentJobs:
        """How jobs ended."""
        return self._endings.recent

    @property
    def ratios(self) -> dict[str, dict[int, float]]:
        """What batches take, divided by what the profile says, by tier and measured batch size; see `Estimates`."""
        return self.estimates.tier_ratios

    @property
    def worker_ratios(self) -> dict[str, float]:
        """By URL of each worker that made a batch, how many times as long as the middle one it takes."""
        seen = (worker.url for worker in self.workers if self.estimates.knows(worker.url))
        return {url: self.estimates.worker_ratio(url) for url in seen}

    @property
    def idle_s(self) -> float:
        """Seconds since somebody asked for something or was answered; 0 while anything is waited for or made."""
        working = any(worker.tier is not None and worker is not self._spare.worker for worker in self.workers)
        if working or len(self.first_worker) or any(self.queued.values()):
            return 0.0
        return asyncio.get_running_loop().time() - max(self._last_request_at, self._endings.last_at)

    @property
    def queued_s(self) -> dict[str, float]:
        """GPU seconds of the work that waits, by tier, in batches of the plan's size."""
        return self._outlook().queued_s()

    @property
    def clients(self) -> int:
        """How many clients asked for something within the last minute."""
        self.shares.forget_idle(asyncio.get_running_loop().time())
        return len(self.shares)

    # What comes in

    def set_plan(self, plan: Plan) -> None:
        """Follow another plan at once; what waits for a tier that it does not use goes to the tier in its place."""
        self.plan = plan
        outlook = self._outlook()
        for tier, queue in self._queues.items():
            queue.by_turns = outlook.lighter(plan.light, tier)
            if tier not in (plan.light, plan.heavy):
                for job in [job for job in queue.drain() if not job.done]:
                    self._placing.put(job, tier_in_place(job, tier, plan))
        self._take_held()
        self._dispatch()

    def set_workers(self, addresses: Iterable[WorkerAddress]) -> None:
        """Take the list of workers that are ready; batches of those that left go on."""
        self.workers.update(addresses)
        self.estimates.keep_workers({worker.url for worker in self.workers})
        self._take_held()
        self._dispatch()

    def submit(self, *jobs: Job) -> None:
        """Queue the jobs of one request; raise ServeError, with when to try again, for the first that must be refused.

        That is one that cannot be served in time, or whose client has its share; those before it stay queued.
        """
        self._last_request_at = now = asyncio.get_running_loop().time()
        self._spare.stop()
        if self._finds_no_worker:
            for job in jobs:
                self.first_worker.hold(job, now)
            return
        outlook = self._outlook()
        self._gate.check_share(jobs, outlook, self._queue_limit)
        for job in jobs:
            job.admit(self._gate.admit(job, outlook, self._queue_limit))
            self._placing.put(job, job.first_tier)
            self._dispatch()

    def sure_refusal(self, client: str | None) -> ServeError | None:
        """Return what any request of a client would be refused with now, if that is known without a look at it.

        `client` None: of whom it is, only the request's body says.
        """
        self._last_request_at = asyncio.get_running_loop().time()
        if self._finds_no_worker:
            return self.first_worker.refusal(self._last_request_at)
        return self._gate.sure_refusal(client, self._outlook(), self._queue_limit)

    def cancel(self, job: Job, error: ServeError | None = None) -> None:
        """Forget a job that nobody waits for; a batch that runs goes on without it, if it was not the last one.

        `error`: what its client was told in place of an image, where it did not just go away.
        """
        if job.done:
            return
        self.first_worker.forget(job)
        self._endings.cancel(job, error)
        self._dispatch()

    def repeat(self, job: Job, answer: Answer, how: Repeat) -> None:
        """End a job that was never submitted with the answer of one that asks for the same picture."""
        self._endings.repeat(job, answer, how)

    def start_spare(self, job: Job) -> bool:
        """Begin a job that nobody waits for (`spare`); return False where no worker has nothing else to do.

        It is cancelled as soon as a request comes.
        """
        return self._spare.start(job)

    def saved(self, job: Job, error: ServeError | None = None) -> None:
        """Count a job whose image was to be saved first, if it has one; `error`: why it could not be."""
        self._endings.saved(job, error)

    def progress(self, job: Job) -> JobProgress:
        """Return how far an admitted job is."""
        outlook, worker = self._outlook(), self._runner.worker_of(job)
        if worker is not None:
            return JobProgress(0, worker.left_s(outlook.now), worker.progress)
        ahead = max(0, self._queues[job.tier].ahead_of_job(job) - 1)
        left_s = max(0.0, outlook.ends_at(job, job.tier) - outlook.now)
        return JobProgress(ahead, left_s, None)

    @property
    def _finds_no_worker(self) -> bool:
        return self.plan is None or not len(self.workers)

    def _take_held(self) -> None:
        """Admit what waited for a first worker; where none of those that are ready has its tier, it waits on."""
        if self._finds_no_worker:
            return
        for job in self.first_worker.take():
            try:
                job.admit(self._gate.admit(job, self._outlook(), self._queue_limit))
            except ServeError as error:
                if error.code == "no_workers":
                    self.first_worker.put_back(job)
                else:
                    self.cancel(job, error)
            else:
                self._placing.put(job, job.first_tier)

    def _held_too_long(self, job: Job) -> None:
        self.cancel(job, refusals.expired(job.deadline - job.arrived))

    async def drain(self) -> None:
        """Wait for the batches that run."""
        self._spare.stop()
        await self._runner.drain()

    def _outlook(self) -> Outlook:
        now = asyncio.get_running_loop().time()
        return Outlook(self._queues, self.workers, self.estimates, self.plan, self.slo_s, now, self._has_discriminator)

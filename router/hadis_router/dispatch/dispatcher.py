"""The dispatcher: the one owner of queues, workers and plan. Jobs come in, free workers take batches, answers go out.

    submit -> gate -> queue -> choosing -> running -> results -> answer, or the heavy tier's queue
                         \\______ deadlines ______/

It decides nothing itself: each of these modules says what to do, and this one does it. It knows no HTTP and reads no
clock but the event loop's, so that the replay runs this very code on a virtual clock. Nothing here awaits but a batch's
task; everything else is a short callback on the loop.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from hadis.planning.plan import Plan
from hadis.planning.profile import Profile
from hadis.protocol.run_state import WorkerAddress

from hadis_router.dispatch import refusals
from hadis_router.dispatch.answer import ServeError, ServingPath
from hadis_router.dispatch.choosing import Choice, StepDown, choose
from hadis_router.dispatch.deadlines import Deadlines, answer_by
from hadis_router.dispatch.estimates import Estimates
from hadis_router.dispatch.fair_share import FairShares
from hadis_router.dispatch.first_worker import FirstWorker
from hadis_router.dispatch.gate import Gate
from hadis_router.dispatch.job import Job, JobProgress, Stage, TierReason
from hadis_router.dispatch.lanes import Lanes
from hadis_router.dispatch.outlook import Outlook
from hadis_router.dispatch.preemption import lead_s, run_to_stop
from hadis_router.dispatch.queue import TierQueue
from hadis_router.dispatch.results import Answered, Deferred, Failed, Unmade, read_result
from hadis_router.dispatch.running import Batch, Run, Runner
from hadis_router.dispatch.stats import EndedJob, RecentJobs
from hadis_router.dispatch.transport import Result, Transport
from hadis_router.dispatch.workers import RemoteWorkers

MOST_RETRIES = 2
"""How many workers may fail a job before it is given up."""


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
        self.slo_s, self._queue_limit, self._on_done = slo_s, queue_limit, on_done
        self.plan: Plan | None = None
        self.workers = RemoteWorkers(profile.slots)
        self.lanes = Lanes(profile)
        self.recent = RecentJobs()
        self.shares = FairShares(weights or {}, slo_s)
        self._gate = Gate(self.shares, self.lanes)
        self._has_discriminator = profile.has_discriminator
        self._queues = {tier: TierQueue(self.shares.weight) for tier in profile.tiers}
        self._estimates = Estimates(profile)
        self._deadlines = Deadlines(slo_s, self._expired, self._late)
        self._runner = Runner(transport, self._estimates, self)
        self._wake_up: asyncio.TimerHandle | None = None
        self.first_worker = FirstWorker(first_image_s, queue_limit, self._held_too_long)
        self._asked_at = -math.inf

    @property
    def queued(self) -> dict[str, int]:
        """Waiting jobs by tier."""
        return {tier: len(queue) for tier, queue in self._queues.items()}

    @property
    def ratios(self) -> dict[str, dict[int, float]]:
        """What batches take through what the profile says, by tier and measured batch size; see `Estimates`."""
        return self._estimates.tier_ratios

    @property
    def worker_ratios(self) -> dict[str, float]:
        """By URL of each worker that made a batch, how many times as long as the middle one it takes."""
        seen = (worker.url for worker in self.workers if self._estimates.knows(worker.url))
        return {url: self._estimates.worker_ratio(url) for url in seen}

    @property
    def idle_s(self) -> float:
        """Seconds since somebody asked for something or was answered; 0 while anything is waited for or made."""
        working = any(worker.tier is not None for worker in self.workers)
        if working or len(self.first_worker) or any(self.queued.values()):
            return 0.0
        return asyncio.get_running_loop().time() - self._asked_at

    def forget_speeds(self) -> None:
        """Forget what was learnt of how long batches take."""
        self._estimates.forget()

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
                    self._put(job, _tier_in_place(job, tier, plan))
        self._take_held()
        self._dispatch()

    def set_workers(self, addresses: Iterable[WorkerAddress]) -> None:
        """Take the list of workers that are ready; batches of those that left go on."""
        self.workers.update(addresses)
        self._estimates.keep_workers({worker.url for worker in self.workers})
        self._take_held()
        self._dispatch()

    def submit(self, *jobs: Job) -> None:
        """Queue the jobs of one request; raise ServeError, with when to try again, for the first that must be refused.

        That is one that cannot be served in time, or whose client has its share; those before it stay queued.
        """
        self._asked_at = now = asyncio.get_running_loop().time()
        if self._finds_no_worker:
            for job in jobs:
                self.first_worker.hold(job, now)
            return
        self._gate.check_share(jobs, self._outlook(), self._queue_limit)
        for job in jobs:
            job.admit(self._gate.admit(job, self._outlook(), self._queue_limit))
            self._put(job, job.first_tier)
            self._dispatch()

    def sure_refusal(self, client: str | None) -> ServeError | None:
        """Return what any request of a client would be refused with now, if that is known without a look at it.

        `client` None: of whom it is, only the request's body says.
        """
        self._asked_at = asyncio.get_running_loop().time()
        if self._finds_no_worker:
            return self.first_worker.refusal(self._asked_at)
        return self._gate.sure_refusal(client, self._outlook(), self._queue_limit)

    def cancel(self, job: Job, error: ServeError | None = None) -> None:
        """Forget a job that nobody waits for; a batch that runs goes on without it, if it was not the last one.

        `error`: what its client was told in place of an image, where it did not just go away.
        """
        if job.done:
            return
        self.first_worker.forget(job)
        admitted = job.stage is not Stage.NEW
        if error is None:
            job.cancel()
        else:
            job.fail(error)
        if admitted:
            self._leave_for_good(job)
        self._count(job, "cancelled" if error is None else error.code)

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
                self._put(job, job.first_tier)

    def _held_too_long(self, job: Job) -> None:
        self.cancel(job, refusals.expired(job.deadline - job.arrived))

    async def drain(self) -> None:
        """Wait for the batches that run."""
        await self._runner.drain()

    # What a job goes through

    def _put(self, job: Job, tier: str) -> None:
        """Queue a job for a tier, and see to it that it does not wait too long."""
        outlook = self._outlook()
        job.wait_for(tier, outlook.now)
        self._queues[tier].put(job, outlook.first_image_s(job, tier))
        if job.light_image is not None:
            return  # its end is watched already
        if job.needy and self._fallback(tier, running=False) is not None:
            self._deadlines.watch_lateness(job, outlook.longest_s(tier, outlook.batch_s(tier, 1, job.params.size)))
        else:
            self._deadlines.watch(job)

    def _fallback(self, tier: str, *, running: bool) -> str | None:
        """Return the tier that may answer in place of a late one, if there is one.

        A job that waits may go to the plan's light tier. For one that runs, there is least time: the lightest tier.
        """
        names = list(self._queues)
        lighter = [name for name in names[: names.index(tier)] if self.workers.having(name)]
        if not running and self.plan is not None and self.plan.light in lighter:
            return self.plan.light
        return lighter[0] if lighter else None

    def _finish(self, job: Job, image: bytes, path: ServingPath) -> None:
        if job.stands_in_for is not None:
            self._leave(job)
            job.stands_in_for.take_light_image(image, job)
            return
        job.answer(image, path, asyncio.get_running_loop().time())
        self._ended(job, path)

    def _fail(self, job: Job, error: ServeError) -> None:
        """End a job without the image that it waits for: with the light one where it has one, else with the error."""
        if job.done:
            return
        if job.stands_in_for is not None:
            self._leave(job)
            job.cancel()
            if error.code == refusals.content_filtered().code:  # what is refused for the stand-in is for its job
                self._fail(job.stands_in_for, error)
            return
        if job.light_image is not None:
            if job.stand_in is not None:
                job.step_down(job.stand_in.tier)
            self._finish(job, job.light_image, "kept-light")
        else:
            job.fail(error)
            self._ended(job, error.code)

    def _ended(self, job: Job, how: str) -> None:
        self._leave_for_good(job)
        self._count(job, how)

    def _leave_for_good(self, job: Job) -> None:
        self._leave(job)
        if job.stand_in is not None and not job.stand_in.done:
            job.stand_in.cancel()
            self._leave(job.stand_in)

    def _count(self, job: Job, how: str) -> None:
        self._asked_at = now = asyncio.get_running_loop().time()
        outcome = job.outcome
        in_time = outcome == "answered" and now <= job.deadline
        self.recent.add(EndedJob(now, outcome, how, now - job.arrived, in_time))
        self.lanes.ended(job, in_time=in_time)
        self._on_done(job, how)

    def _expired(self, job: Job) -> None:
        self._fail(job, refusals.expired(self.slo_s))

    def _leave(self, job: Job) -> None:
        self._queues[job.tier].remove(job)
        self._deadlines.forget(job)
        self._runner.leave(job)

    def _late(self, job: Job) -> None:
        """Called when a tier can no longer surely answer in time: a lighter one may."""
        tier = self._fallback(job.tier, running=job.stage is Stage.RUNNING)
        if tier is None:
            return
        if job.stage is Stage.WAITING:
            self._step_down(job, tier)
        elif job.stage is Stage.RUNNING:
            if job.stand_in is None:
                self._put(job.make_stand_in(tier, asyncio.get_running_loop().create_future()), tier)
            self._dispatch()
            self._see_to_stand_in(job, tier)
            return
        self._dispatch()

    def _see_to_stand_in(self, job: Job, light: str) -> None:
        """Stop a batch where a stand-in still waits at the last moment for its image."""
        own, outlook = self._runner.run_of(job), self._outlook()
        if own is None or job.stand_in is None or job.stand_in.stage is not Stage.WAITING:
            return
        needs_s = lead_s(outlook, own.batch, light)
        if outlook.now < answer_by(job, self.slo_s) - needs_s:
            self._deadlines.watch_lateness(job, needs_s)
        elif (run := run_to_stop(own, self._runner.runs(), outlook, light)) is not None:
            self._stop(run, light)

    def _stop(self, run: Run, light: str) -> None:
        """Stop a batch; its jobs go on with the light images that they have, or go to the light tier for one."""
        for job in [job for job in run.batch.jobs if job in run.needed_by]:  # in order
            self._leave_for_good(job)
            if job.light_image is None:
                job.stand_in = None
                self._step_down(job, light)
            elif job.deferred:
                self._wait_for_heavy(job, run.batch.tier)
            else:
                self._expired(job)

    def _step_down(self, job: Job, tier: str) -> None:
        self._queues[job.tier].remove(job)
        job.step_down(tier)
        self._put(job, tier)

    # Who takes what

    def _outlook(self) -> Outlook:
        now = asyncio.get_running_loop().time()
        has_discriminator = self._has_discriminator
        return Outlook(self._queues, self.workers, self._estimates, self.plan, self.slo_s, now, has_discriminator)

    def _dispatch(self) -> None:
        """Give every idle worker the most urgent batch that it can make."""
        if self._runner.stopped:
            return
        outlook = self._outlook()
        while (choice := choose(outlook)) is not None:
            if isinstance(choice, StepDown):
                for job in choice.jobs:
                    self._step_down(job, choice.tier)
            else:
                self._start(choice, outlook)
        self._wake_up_after_backoff(outlook.now)

    def _start(self, choice: Choice, outlook: Outlook) -> None:
        worker, tier, size = choice
        jobs = self._queues[tier].take(size)
        image_size = jobs[0].params.size
        expected_s = outlook.batch_s(tier, len(jobs), image_size) * self._estimates.worker_ratio(worker.url)
        lighter = self._fallback(tier, running=True)
        longest_s, discriminate = outlook.longest_s(tier, expected_s), outlook.discriminates(tier)
        batch = Batch(worker, tier, jobs, discriminate, expected_s, longest_s, outlook.now)
        if lighter is not None:
            # One batch of the lighter tier may have begun just then; the stand-in is in the next.
            lighter_s = outlook.batch_s(lighter, outlook.batch_limit(lighter, image_size), image_size)
            ahead_s = 2 * outlook.longest_s(lighter, lighter_s)
            for job in jobs:
                if job.needy:
                    needs_s = lead_s(outlook, batch, lighter)
                    # Before that, a stand-in would only take the time of those who have nothing else to hope for.
                    not_before = batch.overdue_at
                    if self._estimates.overruns(tier):
                        not_before = min(not_before, answer_by(job, self.slo_s) - needs_s)
                    self._deadlines.watch_lateness(job, max(ahead_s, needs_s), not_before)
        self._runner.start(batch)

    def _wake_up_after_backoff(self, now: float) -> None:
        """Dispatch again when a worker that is left alone now may be given something."""
        end = self.workers.next_backoff_end(now)
        if end is not None and (self._wake_up is None or end < self._wake_up.when()):
            if self._wake_up is not None:
                self._wake_up.cancel()
            self._wake_up = asyncio.get_running_loop().call_at(end, self._woken)

    def _woken(self) -> None:
        self._wake_up = None
        self._dispatch()

    # What comes back (running.BatchOwner)

    def take_results(self, batch: Batch, results: Sequence[Result]) -> None:
        """See to each job of a batch by its result."""
        outlook = self._outlook()
        for job, result in zip(batch.jobs, results, strict=True):
            if not job.done:
                self._take_result(job, batch, result, outlook)

    def retry(self, batch: Batch, *, failed: bool) -> None:
        """Queue the jobs of a batch again; `failed`: unless workers have failed them too often."""
        for job in batch.jobs:
            self._retry(job, batch.tier, failed=failed)

    def _retry(self, job: Job, tier: str, *, failed: bool) -> None:
        job.retries += failed
        if job.done:
            return
        if job.retries <= MOST_RETRIES:
            self._put(job, tier)
        elif job.needy and (lighter := self._fallback(tier, running=False)) is not None:
            self._step_down(job, lighter)  # whatever is wrong with the heavier workers, others may be well
        else:
            self._fail(job, refusals.workers_failed())

    def freed(self) -> None:
        """Give the worker of a batch that ended something else to do."""
        self._dispatch()

    def _take_result(self, job: Job, batch: Batch, result: Result, outlook: Outlook) -> None:
        report, _ = result
        if report.error is None and not job.deferred:
            job.confidence = report.confidence
        decider, seen = self.lanes.decides(job, outlook)
        is_first = not job.deferred
        step = read_result(job, result, seen, decider, self.slo_s)
        if is_first and seen.plan is not None:
            self.lanes.judged(job, seen.plan, deferred=isinstance(step, Deferred))
        if isinstance(step, Answered | Deferred):
            job.add_attempt(batch.tier, batch.worker.url, batch.began, report)
        match step:
            case Answered(image, path):
                self._finish(job, image, path)
            case Deferred(image, cascade, in_time):
                job.defer(image, cascade)
                if in_time:
                    self._await_heavy(job, cascade[1])
                else:
                    self._finish(job, image, "kept-light")
            case Failed(error):
                self._fail(job, error)
            case Unmade():
                self._retry(job, batch.tier, failed=True)

    def _await_heavy(self, job: Job, heavy: str) -> None:
        if job.on_light is not None:
            job.on_light()
        self._wait_for_heavy(job, heavy)

    def _wait_for_heavy(self, job: Job, heavy: str) -> None:
        self._deadlines.watch_deferral(job, self._estimates.latency_s(heavy, 1, image_size=job.params.size))
        self._put(job, heavy)


def _tier_in_place(job: Job, tier: str, plan: Plan) -> str:
    """Return where a job goes that waits for a tier which a new plan does not use; the tier itself where it stays."""
    if job.tier_reason is TierReason.STEPPED_DOWN:
        return tier
    instead = (plan.heavy,) if job.deferred else (plan.light, plan.heavy)
    return next((other for other in instead if job.may_go_to(other)), tier)

"""Batches that nobody needs any more, on a virtual clock: when they are cancelled, and what is learnt from them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from fake_workers import SLO_S, FakeWorkers, make_dispatcher, make_job, make_plan
from hadis.planning.profile import Profile
from hadis.protocol.run_state import WorkerAddress
from hadis.protocol.worker import Progress
from hadis_router.dispatch.answer import ServeError
from hadis_router.dispatch.dispatcher import Dispatcher
from hadis_router.dispatch.job import Job
from hadis_router.dispatch.transport import OnProgress, Result, WorkerGone
from virtual import virtual


class StoppableWorkers(FakeWorkers):
    """Notes when batches are cancelled; heavy ones hang if so told, `silent` ones without having been taken."""

    def __init__(self, confidence: float = 1.0, hangs: bool = False, silent: bool = False) -> None:
        super().__init__(confidence)
        self.hangs, self.silent = hangs, silent
        self.cancelled_at: list[float] = []
        self.on_progress: OnProgress | None = None

    async def generate(
        self, url: str, tier: str, jobs: Sequence[Job], discriminate: bool, timeout_s: float, on_progress: OnProgress
    ) -> list[Result]:
        self.on_progress = on_progress
        try:
            if self.hangs and tier == "heavy":
                if not self.silent:
                    on_progress(Progress(done=0, steps=4))
                await asyncio.sleep(timeout_s)
            return await super().generate(url, tier, jobs, discriminate, timeout_s, on_progress)
        except asyncio.CancelledError:
            self.cancelled_at.append(round(asyncio.get_running_loop().time(), 6))
            raise


def submit_heavy(dispatcher: Dispatcher, *names: str) -> list[Job]:
    """Submit jobs that no other tier may make."""
    jobs = [make_job(name, tier="heavy") for name in names]
    dispatcher.submit(*jobs)
    return jobs


@virtual
async def test_a_batch_whose_only_job_is_cancelled_frees_its_worker(profile: Profile) -> None:
    workers = StoppableWorkers()
    dispatcher = make_dispatcher(profile, workers, make_plan())
    [left, waits] = submit_heavy(dispatcher, "left", "waits")
    await asyncio.sleep(0.3)
    dispatcher.cancel(left)
    answer = await waits.future
    assert workers.cancelled_at == [0.3]
    assert answer.latency_s == pytest.approx(1.3)
    assert answer.retries == 0
    [worker] = dispatcher.workers
    assert (worker.failures, worker.refusals) == (0, 0)
    assert dispatcher.ratios["heavy"][1] == pytest.approx(1.0), "nothing is learnt from 0.3 s"


@virtual
async def test_a_batch_with_one_job_left_goes_on(profile: Profile) -> None:
    workers = StoppableWorkers()
    dispatcher = make_dispatcher(profile, workers, make_plan(batch=2))
    [first, left, stays] = submit_heavy(dispatcher, "first", "left", "stays")
    await first.future
    dispatcher.cancel(left)
    assert (await stays.future).path == "heavy"
    assert workers.cancelled_at == []


@virtual
async def test_a_batch_is_cancelled_when_its_last_job_leaves(profile: Profile) -> None:
    workers = StoppableWorkers()
    dispatcher = make_dispatcher(profile, workers, make_plan(batch=2))
    [first, *others] = submit_heavy(dispatcher, "first", "left", "leaves later")
    await first.future
    for seconds, job in zip((0.2, 0.4), others, strict=True):
        await asyncio.sleep(seconds)
        dispatcher.cancel(job)
    await dispatcher.drain()
    assert workers.cancelled_at == [1.6]


@virtual
async def test_a_job_that_leaves_in_the_moment_it_began_frees_its_worker(profile: Profile) -> None:
    dispatcher = make_dispatcher(profile, StoppableWorkers(), make_plan())
    [job] = submit_heavy(dispatcher, "left")
    dispatcher.cancel(job)
    await dispatcher.drain()
    assert [worker.tier for worker in dispatcher.workers] == [None]


@virtual
async def test_a_hung_batch_is_cancelled_at_its_deadline_and_is_evidence(profile: Profile) -> None:
    workers = StoppableWorkers(hangs=True)
    dispatcher = make_dispatcher(profile, workers, make_plan())
    [job] = submit_heavy(dispatcher, "late")
    with pytest.raises(ServeError, match="no image within"):
        await job.future
    await dispatcher.drain()
    assert workers.cancelled_at == [SLO_S]
    assert dispatcher.ratios["heavy"][1] > 1.2
    [worker] = dispatcher.workers
    assert (worker.failures, worker.idle(SLO_S)) == (0, True)


@virtual
async def test_a_worker_that_never_took_the_batch_has_failed(profile: Profile) -> None:
    workers = StoppableWorkers(hangs=True, silent=True)
    dispatcher = make_dispatcher(profile, workers, make_plan())
    [job] = submit_heavy(dispatcher, "late")
    await asyncio.wait({job.future})
    await dispatcher.drain()
    [worker] = dispatcher.workers
    assert (worker.failures, worker.idle(SLO_S)) == (1, False)


@virtual
async def test_a_heavy_batch_is_cancelled_when_its_job_is_answered_with_the_light_image(profile: Profile) -> None:
    workers = StoppableWorkers(confidence=0.1, hangs=True)
    dispatcher, job = make_dispatcher(profile, workers, make_plan(deferral=0.5)), make_job()
    dispatcher.submit(job)
    assert (await job.future).path == "kept-light"
    await dispatcher.drain()
    assert workers.cancelled_at == [0.98 * SLO_S]


@virtual
async def test_progress_corrects_the_seconds_left(profile: Profile) -> None:
    workers = StoppableWorkers()
    dispatcher = make_dispatcher(profile, workers, make_plan())
    [job, waits] = submit_heavy(dispatcher, "runs", "waits")
    await asyncio.sleep(0)
    assert workers.on_progress is not None
    assert dispatcher.progress(job).left_s == pytest.approx(1.0)
    assert dispatcher.progress(waits).steps is None
    await asyncio.sleep(0.8)
    workers.on_progress(Progress(done=1, steps=3))
    progress = dispatcher.progress(job)
    assert progress.steps == Progress(done=1, steps=3)
    # A quarter took 0.8 s, the whole at that pace 3.2 s; one step says as much as the 1 s that was expected.
    assert progress.left_s == pytest.approx(0.75 * (3.2 + 1.0) / 2)
    await asyncio.sleep(0.1)
    assert dispatcher.progress(job).left_s == pytest.approx(0.75 * (3.2 + 1.0) / 2 - 0.1)


@virtual
async def test_a_batch_whose_worker_is_given_up_teaches_how_long_it_took_at_least(profile: Profile) -> None:
    class Gone(FakeWorkers):
        async def generate(
            self,
            url: str,
            tier: str,
            jobs: Sequence[Job],
            discriminate: bool,
            timeout_s: float,
            on_progress: OnProgress,
        ) -> list[Result]:
            await asyncio.sleep(timeout_s)
            raise WorkerGone("no answer")

    dispatcher = Dispatcher(profile, Gone(), slo_s=60.0, queue_limit=100)
    dispatcher.set_workers([WorkerAddress("w0", ("light", "heavy"))])
    dispatcher.set_plan(make_plan())
    dispatcher.submit(make_job(tier="heavy", slo_s=60.0))
    await asyncio.sleep(14.9)
    assert dispatcher.ratios == {}
    await asyncio.sleep(0.2)  # it was expected to take 1 s, and is given up after 15 s
    assert dispatcher.ratios["heavy"][1] > 5

"""A job whose heavy batch lasts too long: a light image at the last moment, if a batch must stop for it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from documents import profile_document
from fake_workers import SLO_S, FakeWorkers, make_job, make_outlook, make_plan
from hadis.api.resources import CascadeProfile
from hadis.planning.profile import Profile
from hadis.protocol.run_state import WorkerAddress
from hadis.protocol.worker import JobResult, Progress
from hadis_router.dispatch.answer import ServeError
from hadis_router.dispatch.deadlines import MARGIN
from hadis_router.dispatch.dispatcher import Dispatcher
from hadis_router.dispatch.estimates import Estimates
from hadis_router.dispatch.job import Job
from hadis_router.dispatch.preemption import lead_s, run_to_stop
from hadis_router.dispatch.running import Batch, BatchRun
from hadis_router.dispatch.transport import OnProgress, Result, WorkerGone
from hadis_router.dispatch.workers import RemoteWorker
from virtual import virtual

BOTH = ("light", "heavy")
DUE_S = 1.65
"""A heavy batch that is expected to take 1 s may take 1.3 s: then there is no time left for a light image."""


@pytest.fixture
def profile() -> Profile:
    """Return the profile with some steps to stop at."""
    document = profile_document()
    document["spec"]["tiers"][1]["steps"] = 9
    return Profile(CascadeProfile.read(document))


class SlowHeavy(FakeWorkers):
    """Heavy batches take `heavy_s`; notes which are stopped, and when."""

    def __init__(self, heavy_s: float, confidence: float = 1.0) -> None:
        super().__init__(confidence)
        self._heavy_s = heavy_s
        self.stopped: list[tuple[float, list[str]]] = []

    async def generate(
        self, url: str, tier: str, jobs: Sequence[Job], discriminate: bool, timeout_s: float, on_progress: OnProgress
    ) -> list[Result]:
        on_progress(Progress(done=0, steps=4))
        try:
            if tier == "heavy":
                await asyncio.sleep(self._heavy_s - len(jobs))
            return await super().generate(url, tier, jobs, discriminate, timeout_s, on_progress)
        except asyncio.CancelledError:
            self.stopped.append((asyncio.get_running_loop().time(), [job.id for job in jobs]))
            raise


def dispatcher_of(
    profile: Profile, transport: FakeWorkers, workers: int, *, overran: bool, batch: int = 1
) -> Dispatcher:
    """Return a dispatcher; `overran`: a heavy batch lasted longer than what was set aside for it a moment ago."""
    dispatcher = Dispatcher(profile, transport, slo_s=SLO_S, queue_limit=100)
    dispatcher.set_workers([WorkerAddress(f"w{i}", BOTH) for i in range(workers)])
    dispatcher.set_plan(make_plan(1.0, batch=batch, counts=(workers, workers)))
    if overran:
        dispatcher.estimates.note_end("heavy", overran=True)
    return dispatcher


def last_s(profile: Profile) -> float:
    """Return the last moment at which a heavy batch can be stopped for a light image in time."""
    step_s = 1.0 / (profile.tiers["heavy"].steps + 1)
    return DUE_S - MARGIN * SLO_S - 2 * step_s - 1.3 * 0.1


@virtual
async def test_with_an_idle_worker_a_stand_in_is_made_while_a_light_image_still_fits(profile: Profile) -> None:
    workers = SlowHeavy(heavy_s=9.0)
    dispatcher, job = dispatcher_of(profile, workers, 2, overran=True), make_job(difficulty=19, slo_s=DUE_S)
    dispatcher.submit(job)
    answer = await job.future
    assert (answer.path, answer.image) == ("kept-light", b"light")
    assert workers.calls[-1][0] == pytest.approx(last_s(profile))
    await asyncio.sleep(0.1)
    [(at_s, _)] = workers.stopped
    assert at_s == pytest.approx(DUE_S - MARGIN * SLO_S), "only when it is answered"


@virtual
async def test_without_one_its_batch_is_stopped_and_its_worker_makes_the_light_image(profile: Profile) -> None:
    workers = SlowHeavy(heavy_s=9.0)
    dispatcher, job = dispatcher_of(profile, workers, 1, overran=False), make_job(difficulty=19, slo_s=DUE_S + 0.2)
    dispatcher.submit(job)
    answer = await job.future
    assert (answer.path, answer.image) == ("light", b"light")
    [(at_s, _)] = workers.stopped
    assert at_s == pytest.approx(last_s(profile) + 0.2), "longer than it may, and the last moment"
    assert answer.latency_s == pytest.approx(at_s + 0.1)
    assert dispatcher.queued == {"light": 0, "heavy": 0}


@virtual
async def test_a_tier_that_keeps_within_its_bound_is_not_stopped(profile: Profile) -> None:
    workers = SlowHeavy(heavy_s=1.3)
    dispatcher, job = dispatcher_of(profile, workers, 1, overran=False), make_job(difficulty=19, slo_s=DUE_S)
    dispatcher.submit(job)
    assert (await job.future).path == "heavy"
    assert workers.stopped == []


@virtual
async def test_all_of_a_stopped_batch_get_light_images(profile: Profile) -> None:
    workers = SlowHeavy(heavy_s=9.0)
    dispatcher = dispatcher_of(profile, workers, 1, overran=True, batch=2)
    first, second, third = (make_job(name, difficulty=19, slo_s=3.6) for name in "abc")
    dispatcher.submit(first, second, third)
    answers = [await job.future for job in (first, second, third)]
    assert {answer.image for answer in answers} == {b"light"}
    assert max(answer.latency_s for answer in answers) < 3.6 - MARGIN * SLO_S
    assert first.stand_in is None


def run_of(
    name: str, job: Job, ends_s: float, *, began: float = 0.0, tiers: Sequence[str] = BOTH, taken: bool = True
) -> BatchRun:
    """Return the run of one job, expected to end at a time."""
    worker, expected_s = RemoteWorker(name, tuple(tiers)), ends_s - began
    worker.begin("heavy", began, ends_s)
    worker.progress = Progress(done=0, steps=4) if taken else None
    return BatchRun(Batch(worker, "heavy", [job], False, expected_s, 1.3 * expected_s, began), {job})


@virtual
async def test_only_a_batch_of_which_no_image_is_expected_in_time_is_stopped(profile: Profile) -> None:
    outlook = make_outlook(profile, make_plan())
    late, deferred, needy = make_job("late"), make_job("deferred"), make_job("needy")
    deferred.light_image = b"light"
    in_time, too_late = 3.0, 5.0
    overdue = run_of("w0", late, 0.0, began=-1.5)
    assert run_to_stop(late, overdue, [overdue], outlook, "light") is None, "0.15 s more is the guess"
    overdue = run_of("w0", late, -0.5, began=-1.5)
    assert run_to_stop(late, overdue, [overdue], outlook, "light") is overdue
    own_late, own_in_time = run_of("w0", late, too_late), run_of("w0", late, in_time)
    others = [run_of("w1", deferred, in_time), run_of("w2", needy, too_late)]
    assert run_to_stop(late, own_late, [*others, own_late], outlook, "light") is own_late
    assert run_to_stop(late, own_in_time, [*others, own_in_time], outlook, "light") is None
    spared = run_of("w3", deferred, too_late)
    assert run_to_stop(late, own_in_time, [own_in_time, *others, spared], outlook, "light") is spared


@virtual
async def test_a_batch_stops_for_one_that_goes_without_an_image_if_all_in_it_get_a_light_one(profile: Profile) -> None:
    outlook = make_outlook(profile, make_plan())
    first, second, named = make_job("first", slo_s=2.0), make_job("second", slo_s=4.0), make_job("named", tier="heavy")
    own = run_of("w0", first, 3.0)
    own.needed_by.add(second)
    assert run_to_stop(first, own, [own], outlook, "light") is own
    assert run_to_stop(second, own, [own], outlook, "light") is None, "its own image comes in time"
    own.needed_by.add(named)
    assert run_to_stop(first, own, [own], outlook, "light") is None, "its client takes no light image"


@virtual
async def test_what_steps_tell_of_a_slow_batch_is_believed(profile: Profile) -> None:
    outlook, job = make_outlook(profile, make_plan()), make_job(slo_s=4.0)
    slow = run_of("w0", job, 1.0)
    worker = slow.batch.worker
    assert run_to_stop(job, slow, [slow], outlook, "light") is None
    before_s = lead_s(outlook, slow.batch, "light")
    worker.advance(Progress(done=3, steps=9), 1.0, now=2.4)
    assert worker.free_at == pytest.approx(2.4 + 0.7 * (3 * 8.0 + 1.0) / 4), "8 s at this pace, 1 s was expected"
    assert run_to_stop(job, slow, [slow], outlook, "light") is slow
    assert lead_s(outlook, slow.batch, "light") - before_s == pytest.approx(2 * (0.8 - 0.1))


def test_a_worker_that_is_at_a_step_of_a_cancelled_batch_is_asked_at_the_steps_end() -> None:
    worker = RemoteWorker("w0", BOTH)
    worker.begin("heavy", 0.0, 1.0)
    worker.advance(Progress(done=2, steps=9), 1.0, now=0.8)
    worker.stopped(worker.step_s(0.1))
    worker.end()
    now, tries_s = 0.9, list[float]()
    while len(tries_s) < 5:
        worker.refused(now)
        now = worker.backoff_until
        tries_s.append(round(now, 3))
    assert tries_s == [1.205, 1.605, 2.005, 2.405, 3.205], "three ends of steps of 0.4 s, then ever less often"
    worker.succeeded()
    worker.refused(5.0)
    assert worker.backoff_until == pytest.approx(5.05)


class SlowSteps(FakeWorkers):
    """Every batch takes nine steps; heavy ones take `times` times as long as expected, and tell of each step."""

    def __init__(self, times: float) -> None:
        super().__init__()
        self._times = times
        self.ended: list[tuple[float, str, str]] = []

    async def generate(
        self, url: str, tier: str, jobs: Sequence[Job], discriminate: bool, timeout_s: float, on_progress: OnProgress
    ) -> list[Result]:
        step_s = (self._times * 1.0 if tier == "heavy" else 0.1) * len(jobs) / 10
        for done in range(10):
            on_progress(Progress(done=done, steps=9))
            await asyncio.sleep(step_s)
        self.ended.append((asyncio.get_running_loop().time(), url, tier))
        return [(JobResult(id=job.id, service_s=10 * step_s), tier.encode()) for job in jobs]


@virtual
async def test_all_in_a_slow_batch_get_an_image_in_time_though_some_would_have_had_theirs(profile: Profile) -> None:
    """No heavy batch was slow before; at four times the time the batch of two ends after the first one's deadline."""
    workers = SlowSteps(4.0)
    dispatcher = dispatcher_of(profile, workers, 1, overran=False, batch=2)
    before = make_job("before", tier="light")
    jobs = [make_job("a", difficulty=19, slo_s=4.0), make_job("b", difficulty=19, slo_s=20.0)]
    dispatcher.submit(before, *jobs)
    answers = [await job.future for job in jobs]
    assert [answer.image for answer in answers] == [b"light", b"light"]
    assert answers[0].latency_s <= 4.0


@virtual
async def test_one_that_would_come_at_the_last_moment_is_not_waited_for(profile: Profile) -> None:
    dispatcher, job = dispatcher_of(profile, SlowSteps(4.0), 1, overran=False), make_job(difficulty=19)
    dispatcher.submit(job)
    answer = await job.future
    assert (answer.image, answer.latency_s < SLO_S) == (b"light", True)


@virtual
async def test_a_batch_is_not_stopped_where_that_helps_nobody(profile: Profile) -> None:
    outlook, job, deferred = make_outlook(profile, make_plan()), make_job(), make_job("deferred")
    deferred.light_image = b"light"
    done = run_of("w0", make_job(slo_s=0.04), 0.05, began=-0.95)
    endpoint, hung = run_of("w0", job, 5.0, tiers=["heavy"]), run_of("w0", job, 5.0, taken=False)
    other = run_of("w1", deferred, 5.0)
    named = run_of("w0", make_job(tier="heavy"), 5.0)  # its client takes no light image
    for own in (endpoint, hung, done, named):
        assert run_to_stop(job, own, [own], outlook, "light") is None
        assert run_to_stop(job, own, [own, other], outlook, "light") is other


@virtual
async def test_the_lead_is_two_steps_and_a_light_batch(profile: Profile) -> None:
    outlook, run = make_outlook(profile, make_plan()), run_of("w0", make_job(), 1.0)
    assert lead_s(outlook, run.batch, "light") == pytest.approx(DUE_S - MARGIN * SLO_S - last_s(profile))


def test_after_an_overrun_a_tier_is_trusted_again_when_many_batches_kept_within_it(profile: Profile) -> None:
    estimates = Estimates(profile)
    assert not estimates.overruns("heavy")
    estimates.note_end("heavy", overran=True)
    for _ in range(499):
        estimates.note_end("heavy", overran=False)
    assert estimates.overruns("heavy")
    assert not estimates.overruns("light")
    estimates.note_end("heavy", overran=False)
    assert not estimates.overruns("heavy")


async def stopped_beside_its_stand_in(profile: Profile, workers: FakeWorkers) -> Job:
    """Return a job whose stand-in's batch has begun on another worker when its own is stopped."""
    dispatcher, job = dispatcher_of(profile, workers, 2, overran=False), make_job(difficulty=19)
    dispatcher.submit(job)
    await asyncio.sleep(0.01)
    dispatcher._late_jobs.late(job)
    [own, _] = dispatcher._runner.runs()
    dispatcher._late_jobs.stop_batch(own, "light")
    assert (dispatcher._runner.run_of(job), job.stand_in is not None) == (None, True)
    return job


@virtual
async def test_a_stand_in_that_runs_when_its_jobs_batch_is_stopped_is_the_answer_once_it_is_made(
    profile: Profile,
) -> None:
    job = await stopped_beside_its_stand_in(profile, workers := SlowHeavy(9.0))
    answer = await job.future
    assert (answer.path, answer.image, answer.attempts[-1].tier) == ("kept-light", b"light", "light")
    assert answer.latency_s == pytest.approx(0.01 + 0.1), "nothing else is waited for"
    assert [tier for _, _, tier, _ in workers.calls] == ["light"], "the heavy batch came to no result"


@virtual
async def test_one_whose_batch_is_stopped_fails_with_a_stand_in_that_no_worker_makes(profile: Profile) -> None:
    workers = SlowHeavy(9.0)
    workers.faults = [WorkerGone("away") for _ in range(9)]
    job = await stopped_beside_its_stand_in(profile, workers)
    with pytest.raises(ServeError) as caught:
        await job.future
    assert caught.value.code == "worker_failed"
    assert asyncio.get_running_loop().time() < SLO_S / 2, "not at its deadline"


@virtual
async def test_a_batch_that_ends_as_it_is_stopped_says_nothing_of_jobs_that_went_on(profile: Profile) -> None:
    """Its answer, or its worker's failure, may be on its way when it is stopped."""
    dispatcher, job = dispatcher_of(profile, SlowHeavy(9.0), 1, overran=False), make_job(difficulty=19, slo_s=9.0)
    dispatcher.submit(job)
    await asyncio.sleep(0.01)
    [run] = dispatcher._runner.runs()
    dispatcher._late_jobs.stop_batch(run, "light")
    runner = dispatcher._runner
    runner.owner.retry(run.batch, run.needed_by, failed=True)
    runner.owner.take_results(run.batch, [(JobResult(id=job.id, service_s=1.0), b"heavy")], run.needed_by)
    assert dispatcher.queued == {"light": 1, "heavy": 0}
    assert (await job.future).image == b"light"
    await dispatcher.drain()

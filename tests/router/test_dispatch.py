"""The dispatcher on a virtual clock: who is served when, and by what path. Times are exact."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from documents import profile_document
from fake_workers import SLO_S, FakeWorkers, make_dispatcher, make_job, make_plan
from hadis.api.resources import CascadeProfile
from hadis.planning.profile import Profile
from hadis.planning.reserve import SLACK
from hadis.protocol.run_state import WorkerAddress
from hadis.protocol.worker import JobResult
from hadis_router.dispatch.answer import Answer, ServeError
from hadis_router.dispatch.dispatcher import Dispatcher
from hadis_router.dispatch.job import Job
from hadis_router.dispatch.transport import OnProgress, Result, WorkerBusy, WorkerGone
from virtual import virtual


async def serve(dispatcher: Dispatcher, job: Job) -> Answer:
    dispatcher.submit(job)
    return await job.future


@virtual
async def test_an_easy_prompt_is_answered_by_light(profile: Profile) -> None:
    answer = await serve(make_dispatcher(profile, FakeWorkers(), make_plan()), make_job())
    assert (answer.path, answer.image, answer.latency_s) == ("light", b"light", pytest.approx(0.1))


@virtual
async def test_a_hard_prompt_goes_straight_to_heavy(profile: Profile) -> None:
    answer = await serve(make_dispatcher(profile, FakeWorkers(), make_plan(direct=0.5)), make_job(difficulty=19))
    assert (answer.path, answer.latency_s) == ("heavy", pytest.approx(1.0))


@virtual
async def test_a_doubtful_light_image_is_made_again(profile: Profile) -> None:
    answer = await serve(make_dispatcher(profile, FakeWorkers(0.1), make_plan(deferral=0.5)), make_job())
    assert (answer.path, answer.image, answer.latency_s) == ("deferred", b"heavy", pytest.approx(1.1))
    assert [a.tier for a in answer.attempts] == ["light", "heavy"]
    assert answer.confidence == 0.1


@virtual
async def test_where_there_is_no_discriminator_nobody_is_asked_to_judge() -> None:
    workers = FakeWorkers()
    workers.discriminates = False
    rows = [row for row in profile_document()["spec"]["configurations"] if not row["deferralRatio"]]
    profile = Profile(CascadeProfile.read(profile_document(discriminator=None, configurations=rows)))
    answer = await serve(make_dispatcher(profile, workers, make_plan(direct=0.5)), make_job())
    assert (answer.path, answer.confidence, answer.retries) == ("light", None, 0)


@virtual
async def test_a_filtered_light_image_is_not_made_again_by_heavy(profile: Profile) -> None:
    workers = FakeWorkers()

    async def filtered(
        url: str, tier: str, jobs: Sequence[Job], discriminate: bool, timeout_s: float, on_progress: OnProgress
    ) -> list[Result]:
        workers.calls.append((0.0, url, tier, []))
        return [(JobResult(id=job.id, error="filtered", error_code="content_filtered"), None) for job in jobs]

    workers.generate = filtered  # type: ignore[method-assign]  # a fake that fails
    with pytest.raises(ServeError) as refused:
        await serve(make_dispatcher(profile, workers, make_plan(deferral=1.0)), make_job())
    assert (refused.value.status, refused.value.code) == (400, "content_policy_violation")
    assert [tier for _, _, tier, _ in workers.calls] == ["light"]


@virtual
async def test_the_light_image_is_the_answer_when_heavy_would_be_too_late(profile: Profile) -> None:
    dispatcher = make_dispatcher(profile, FakeWorkers(0.1), make_plan(deferral=0.5))
    answer = await serve(dispatcher, make_job(slo_s=1.0))
    assert (answer.path, answer.image, answer.latency_s) == ("kept-light", b"light", pytest.approx(0.1))


@virtual
async def test_a_kept_light_image_is_sent_before_the_deadline_when_heavy_overruns(profile: Profile) -> None:
    workers = FakeWorkers(0.1)
    dispatcher = make_dispatcher(profile, workers, make_plan(deferral=0.5))
    slow = asyncio.Event()
    plain = workers.generate

    async def stuck(
        url: str, tier: str, jobs: Sequence[Job], discriminate: bool, timeout_s: float, on_progress: OnProgress
    ) -> list[Result]:
        if tier == "heavy":
            await slow.wait()
        return await plain(url, tier, jobs, discriminate, timeout_s, on_progress)

    workers.generate = stuck  # type: ignore[method-assign]  # a fake made slower
    answer = await serve(dispatcher, make_job())
    assert (answer.path, answer.latency_s) == ("kept-light", pytest.approx(SLO_S * 0.98))
    slow.set()
    await dispatcher.drain()


@virtual
async def test_the_earliest_deadline_is_served_first(profile: Profile) -> None:
    dispatcher = make_dispatcher(profile, FakeWorkers(), make_plan())
    jobs = [make_job("running"), make_job("late", slo_s=4), make_job("early", slo_s=2)]
    ended: list[str] = []
    for job in jobs:
        dispatcher.submit(job)
        job.future.add_done_callback(functools.partial(lambda name, _: ended.append(name), job.id))
    await asyncio.gather(*(job.future for job in jobs))
    assert ended == ["running", "early", "late"]


@virtual
async def test_waiting_jobs_are_batched_up_to_the_plan(profile: Profile) -> None:
    workers = FakeWorkers()
    dispatcher = make_dispatcher(profile, workers, make_plan(batch=4))
    jobs = [make_job(str(i)) for i in range(6)]
    for job in jobs:
        dispatcher.submit(job)
    await asyncio.gather(*(job.future for job in jobs))
    assert [ids for _, _, _, ids in workers.calls] == [["0"], ["1", "2", "3", "4"], ["5"]]


@virtual
async def test_a_job_that_cannot_be_in_time_is_refused_with_when_to_come_again(profile: Profile) -> None:
    dispatcher = make_dispatcher(profile, FakeWorkers(), make_plan())
    for i in range(3):
        dispatcher.submit(make_job(f"h{i}", tier="heavy"))
    with pytest.raises(ServeError) as refused:
        dispatcher.submit(make_job("one too many", slo_s=1.5, tier="heavy"))
    assert (refused.value.status, refused.value.retry_after_s) == (429, 1)


@virtual
async def test_a_full_queue_refuses(profile: Profile) -> None:
    dispatcher = make_dispatcher(profile, FakeWorkers(), make_plan(), limit=2)
    for i in range(3):
        dispatcher.submit(make_job(str(i)))
    with pytest.raises(ServeError, match="the queue is full, with"):
        dispatcher.submit(make_job("x"))


@virtual
async def test_a_hard_prompt_is_drawn_light_rather_than_refused(profile: Profile) -> None:
    dispatcher = make_dispatcher(profile, FakeWorkers(), make_plan(direct=1.0))
    answer = await serve(dispatcher, make_job(difficulty=19, slo_s=0.5))
    assert answer.path == "light"


@virtual
async def test_a_batch_of_a_dead_worker_goes_to_another(profile: Profile, caplog: pytest.LogCaptureFixture) -> None:
    workers, job = FakeWorkers(), make_job()
    workers.faults, job.request_id = [WorkerGone("killed")], "its-own"
    answer = await serve(make_dispatcher(profile, workers, make_plan(), workers=2), job)
    assert (answer.path, answer.retries, answer.attempts[0].worker) == ("light", 1, "w1")
    assert caplog.messages == ["worker w0 failed a batch of 1 on light, for requests its-own: killed"]


@virtual
async def test_a_job_is_given_up_after_two_retries(profile: Profile) -> None:
    workers = FakeWorkers()
    workers.faults = [WorkerGone("killed")] * 3
    with pytest.raises(ServeError, match="failed") as failed:
        await serve(make_dispatcher(profile, workers, make_plan(), workers=3), make_job())
    assert failed.value.status == 503


@virtual
async def test_a_job_that_heavy_workers_fail_is_answered_with_a_light_image(profile: Profile) -> None:
    workers = FakeWorkers()
    workers.faults = [WorkerGone("away")] * 3
    dispatcher = make_dispatcher(profile, workers, make_plan(direct=1.0), workers=4)
    answer = await serve(dispatcher, make_job(difficulty=19))
    assert (answer.path, answer.retries) == ("light", 3)
    assert [call[2] for call in workers.calls] == ["heavy", "heavy", "heavy", "light"]


@virtual
async def test_what_is_filtered_in_place_of_a_late_image_is_refused(profile: Profile) -> None:
    class Filtered(FakeWorkers):
        async def generate(self, url: str, tier: str, jobs: Sequence[Job], *rest: Any) -> list[Result]:
            results = await super().generate(url, tier, jobs, *rest)
            if tier == "heavy":
                await asyncio.sleep(100)
                return results
            return [(JobResult(id=job.id, error="filtered", error_code="content_filtered"), None) for job in jobs]

    workers = Filtered()
    dispatcher = make_dispatcher(profile, workers, make_plan(direct=1.0), workers=2)
    with pytest.raises(ServeError) as refused:
        await serve(dispatcher, make_job(difficulty=19))
    assert (refused.value.status, refused.value.code) == (400, "content_policy_violation")
    assert [call[2] for call in workers.calls] == ["heavy", "light"]


@virtual
async def test_what_an_endpoint_was_away_for_is_made_again_and_then_steps_down(profile: Profile) -> None:
    class Away(FakeWorkers):
        async def generate(self, url: str, tier: str, jobs: Sequence[Job], *rest: Any) -> list[Result]:
            results = await super().generate(url, tier, jobs, *rest)
            away: list[Result] = [(JobResult(id=job.id, error="away", error_code="unavailable"), None) for job in jobs]
            return results if tier == "light" else away

    workers = Away()
    dispatcher = make_dispatcher(profile, workers, make_plan(direct=1.0), workers=2)
    answer = await serve(dispatcher, make_job(difficulty=19, slo_s=9.0))
    assert (answer.path, answer.retries) == ("light", 3)
    assert [call[2] for call in workers.calls] == ["heavy", "heavy", "heavy", "light"]


@virtual
async def test_a_busy_worker_costs_no_retry_and_is_asked_less_and_less_often(profile: Profile) -> None:
    workers = FakeWorkers()
    workers.faults = [WorkerBusy()] * 3
    dispatcher = make_dispatcher(profile, workers, make_plan())
    assert (await serve(dispatcher, make_job("first"))).retries == 0
    assert [call[0] for call in workers.calls] == pytest.approx([0, 0.05, 0.15, 0.35], abs=1e-4)
    workers.faults = [WorkerBusy()]
    await serve(dispatcher, make_job("second"))
    waits = workers.calls[-1][0] - workers.calls[-2][0]
    assert waits == pytest.approx(0.05, abs=1e-4), "a batch that was made begins it anew"


@virtual
async def test_a_deadline_that_passes_is_a_504(profile: Profile) -> None:
    workers = FakeWorkers()
    workers.faults = [WorkerBusy()] * 1000
    with pytest.raises(ServeError) as expired:
        await serve(make_dispatcher(profile, workers, make_plan()), make_job())
    assert expired.value.status == 504
    assert asyncio.get_running_loop().time() == pytest.approx(SLO_S)


@virtual
async def test_a_cancelled_job_costs_no_worker_time(profile: Profile) -> None:
    workers = FakeWorkers()
    dispatcher = make_dispatcher(profile, workers, make_plan())
    jobs = [make_job("runs"), make_job("cancelled"), make_job("after")]
    for job in jobs:
        dispatcher.submit(job)
    dispatcher.cancel(jobs[1])
    await asyncio.gather(jobs[0].future, jobs[2].future)
    assert [ids for _, _, _, ids in workers.calls] == [["runs"], ["after"]]
    assert dispatcher.queued == {"light": 0, "heavy": 0}


@virtual
async def test_heavy_keeps_to_its_count_while_light_waits(profile: Profile) -> None:
    """Two workers, one of them for heavy at most: three heavy jobs do not hold up a light one."""
    dispatcher = make_dispatcher(profile, FakeWorkers(), make_plan(), workers=2)
    heavy = [make_job(f"h{i}", tier="heavy") for i in range(3)]
    light = [make_job(f"l{i}") for i in range(3)]
    for job in (*heavy, *light):
        dispatcher.submit(job)
    # The idle second worker took a heavy job too; after it, light is served before the third.
    answers = await asyncio.gather(*(job.future for job in light))
    assert [round(a.latency_s, 3) for a in answers] == [1.1, 1.2, 1.3]


@virtual
async def test_no_workers_no_plan(profile: Profile) -> None:
    dispatcher = Dispatcher(profile, FakeWorkers(), slo_s=SLO_S, queue_limit=10)
    with pytest.raises(ServeError) as refused:
        dispatcher.submit(make_job())
    assert refused.value.status == 503


@virtual
async def test_a_worker_in_backoff_is_used_again_while_another_idles_without_the_tier(profile: Profile) -> None:
    workers = FakeWorkers()
    workers.faults = [WorkerGone("killed")]
    dispatcher = Dispatcher(profile, workers, slo_s=SLO_S, queue_limit=10)
    dispatcher.set_workers([WorkerAddress("l", ("light",)), WorkerAddress("h", ("heavy",))])
    dispatcher.set_plan(make_plan())
    answer = await serve(dispatcher, make_job(tier="heavy"))
    assert (answer.path, answer.latency_s) == ("heavy", pytest.approx(0.5 + 1.0))


@virtual
async def test_a_busy_worker_is_asked_again_before_one_with_a_longer_backoff(profile: Profile) -> None:
    workers = FakeWorkers()
    workers.faults = [WorkerGone("killed"), WorkerBusy()]
    dispatcher = make_dispatcher(profile, workers, make_plan(), workers=2)
    answer = await serve(dispatcher, make_job())
    assert (answer.path, answer.latency_s) == ("light", pytest.approx(0.05 + 0.1, abs=1e-4))


@virtual
async def test_a_hard_prompt_that_waits_steps_down_at_the_last_moment(profile: Profile) -> None:
    """Workers are busy for longer than they said when the job was admitted."""
    workers, release = FakeWorkers(), asyncio.Event()
    generate = workers.generate

    async def slow(
        url: str, tier: str, jobs: Sequence[Job], discriminate: bool, timeout_s: float, on_progress: OnProgress
    ) -> list[Result]:
        if jobs[0].id == "slow":
            await release.wait()
        return await generate(url, tier, jobs, discriminate, timeout_s, on_progress)

    workers.generate = slow  # type: ignore[method-assign]  # a fake made slower
    dispatcher = make_dispatcher(profile, workers, make_plan(direct=1.0))
    slow_job, job = make_job("slow", difficulty=19, slo_s=9), make_job("steps down", difficulty=19)
    dispatcher.submit(slow_job)
    dispatcher.submit(job)
    last_moment = SLO_S - 0.02 * SLO_S - SLACK * 1.0
    await asyncio.sleep(last_moment - 0.01)
    assert dispatcher.queued == {"light": 0, "heavy": 1}
    await asyncio.sleep(0.02)
    assert dispatcher.queued == {"light": 1, "heavy": 0}
    dispatcher.set_workers([WorkerAddress(name, ("light", "heavy")) for name in ("w0", "new")])
    answer = await job.future
    assert (answer.path, job.first_tier) == ("light", "light")
    dispatcher.cancel(slow_job)
    release.set()
    await dispatcher.drain()


@virtual
async def test_another_plan_moves_what_waits_but_not_what_a_client_forced(profile: Profile) -> None:
    dispatcher = make_dispatcher(profile, FakeWorkers(), make_plan(direct=1.0))
    for job in (make_job("runs"), make_job("moves", difficulty=19), make_job("stays", tier="heavy")):
        dispatcher.submit(job)
    assert dispatcher.queued == {"light": 0, "heavy": 2}
    dispatcher.set_plan(replace(make_plan(), heavy="light", direct_ratio=0.0))
    assert dispatcher.queued == {"light": 1, "heavy": 1}
    await dispatcher.drain()

"""Spare work: begun where nothing waits, stopped by any request, counted nowhere."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from fake_workers import SLO_S, FakeWorkers, make_dispatcher, make_job, make_plan
from hadis.planning.profile import Profile
from hadis.protocol.run_state import WorkerAddress
from hadis_router.dispatch.answer import ServeError
from hadis_router.dispatch.dispatcher import Dispatcher
from hadis_router.dispatch.image_params import ImageParams
from hadis_router.dispatch.job import Job
from hadis_router.dispatch.spare import spare_job
from hadis_router.dispatch.transport import WorkerBusy, WorkerGone
from virtual import virtual

PLAN = make_plan()


def spare() -> Job:
    return spare_job(ImageParams("p", 7), "heavy", SLO_S)


def counted(dispatcher: Dispatcher) -> int:
    return sum(sum(counts.values()) for counts in dispatcher.recent.totals.values())


@virtual
async def test_an_idle_worker_makes_and_judges_it(profile: Profile) -> None:
    workers = FakeWorkers(confidence=0.7)
    dispatcher = make_dispatcher(profile, workers, PLAN)
    await dispatcher_was_used(dispatcher)
    idle_s, job = dispatcher.idle_s, spare()
    assert dispatcher.start_spare(job)
    assert not dispatcher.start_spare(spare()), "one at a time"
    await asyncio.sleep(0.5)
    assert dispatcher.idle_s == pytest.approx(idle_s + 0.5), "it keeps no GPU"
    answer = await job.future
    assert (answer.confidence, answer.image, workers.calls[-1][2]) == (0.7, b"heavy", "heavy")
    assert counted(dispatcher) == 1
    assert dispatcher.idle_s == pytest.approx(idle_s + 1.0)


async def dispatcher_was_used(dispatcher: Dispatcher) -> None:
    job = make_job()
    dispatcher.submit(job)
    await job.future


@virtual
async def test_a_request_stops_it_and_is_served_as_if_it_had_not_been(profile: Profile) -> None:
    workers = FakeWorkers()
    dispatcher = make_dispatcher(profile, workers, PLAN)
    job = spare()
    assert dispatcher.start_spare(job)
    await asyncio.sleep(0.3)
    request = make_job("request")
    dispatcher.submit(request)
    assert request.admission.tier == "light"
    assert (await request.future).latency_s == pytest.approx(0.1)
    assert job.future.cancelled()
    assert counted(dispatcher) == 1


@virtual
async def test_a_request_that_has_time_for_little_more_than_a_step_is_not_refused_for_it(profile: Profile) -> None:
    dispatcher = make_dispatcher(profile, FakeWorkers(), PLAN)
    for _ in range(2):
        assert dispatcher.start_spare(spare())
        await asyncio.sleep(0.1)
        request = make_job(slo_s=0.9)  # the whole of the spare batch would leave it too late
        dispatcher.submit(request)
        assert (await request.future).latency_s == pytest.approx(0.1)


@virtual
async def test_it_waits_for_workers_to_spare(profile: Profile) -> None:
    dispatcher = make_dispatcher(profile, FakeWorkers(), PLAN, workers=2)
    busy = make_job("busy", tier="heavy")
    dispatcher.submit(busy)
    assert not dispatcher.start_spare(spare()), "a request that comes would find no idle worker"
    dispatcher.set_workers([WorkerAddress(f"w{i}", ("light", "heavy")) for i in range(3)])
    assert dispatcher.start_spare(spare())
    await busy.future


@virtual
async def test_nor_does_it_begin_beside_work_that_waits_or_a_plan_that_does_not_keep_up(profile: Profile) -> None:
    dispatcher = make_dispatcher(profile, FakeWorkers(), make_plan())
    first, second = make_job("a"), make_job("b")
    dispatcher.submit(first, second)
    assert not dispatcher.start_spare(spare())
    await asyncio.gather(first.future, second.future)
    assert not make_dispatcher(profile, FakeWorkers(), PLAN, workers=0).start_spare(spare())
    dispatcher.set_plan(replace(PLAN, feasible=False))
    assert not dispatcher.start_spare(spare())


@pytest.mark.parametrize("fault", [WorkerGone("gone"), WorkerBusy("busy")])
def test_where_it_fails_it_is_not_tried_again(profile: Profile, fault: Exception) -> None:
    @virtual
    async def run() -> None:
        workers = FakeWorkers()
        workers.faults = [fault]
        dispatcher = make_dispatcher(profile, workers, PLAN)
        job = spare()
        assert dispatcher.start_spare(job)
        with pytest.raises(ServeError):
            await job.future
        await asyncio.sleep(SLO_S)
        assert (len(workers.calls), sum(dispatcher.queued.values()), counted(dispatcher)) == (1, 0, 0)

    run()


@virtual
async def test_a_router_that_ends_does_not_wait_for_it(profile: Profile) -> None:
    dispatcher = make_dispatcher(profile, FakeWorkers(), PLAN)
    job = spare()
    assert dispatcher.start_spare(job)
    await asyncio.sleep(0.2)
    await dispatcher.drain()
    assert asyncio.get_running_loop().time() == pytest.approx(0.2)
    assert job.future.cancelled()

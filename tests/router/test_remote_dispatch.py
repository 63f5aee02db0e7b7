"""Dispatching where an endpoint makes the heavy tier: it neither delays nor endangers light images."""

from __future__ import annotations

import pytest
from documents import profile_document
from fake_workers import SLO_S, FakeWorkers, make_job, make_outlook, make_plan
from hadis.api.resources import CascadeProfile
from hadis.planning.profile import Profile
from hadis.protocol.run_state import WorkerAddress
from hadis_router.dispatch.admission import admit
from hadis_router.dispatch.answer import ServeError
from hadis_router.dispatch.cascade import CascadeRouting
from hadis_router.dispatch.dispatcher import Dispatcher
from hadis_router.dispatch.transport import WorkerGone
from hadis_router.http.capabilities import able_tiers
from hadis_router.http.images import GenerateRequest
from virtual import virtual

WORKERS = (("light",), ("heavy",), ("heavy",), ("heavy",))


def remote_profile() -> Profile:
    document = profile_document()
    document["spec"]["tiers"][1] |= {"remote": {"url": "http://engine/v1", "slots": 3}, "tunable": False}
    return Profile(CascadeProfile.read(document))


def make_dispatcher(workers: FakeWorkers, direct: float = 0.0, deferral: float = 0.0) -> Dispatcher:
    dispatcher = Dispatcher(remote_profile(), workers, slo_s=SLO_S, queue_limit=100)
    dispatcher.set_workers([WorkerAddress(f"w{i}", tiers) for i, tiers in enumerate(WORKERS)])
    dispatcher.set_plan(make_plan(direct, deferral, counts=(1, 3)))
    return dispatcher


@virtual
async def test_light_images_are_promised_as_on_shared_workers() -> None:
    outlook = make_outlook(remote_profile(), make_plan(), WORKERS)
    assert outlook.guards_light
    assert not make_outlook(remote_profile(), make_plan(), (("heavy",),)).guards_light


@virtual
async def test_a_light_job_does_not_wait_for_what_the_endpoint_makes() -> None:
    outlook = make_outlook(remote_profile(), make_plan(), WORKERS)
    light, *heavies = outlook.workers
    light.begin("light", 0.0, 0.5)
    for worker in heavies:
        worker.begin("heavy", 0.0, 30.0)
    for i in range(9):
        outlook.queues["heavy"].put(make_job(f"h{i}"))
    assert outlook.ends_at(make_job(slo_s=4.0), "light") == pytest.approx(0.5 + 0.1)
    outlook.queues["light"].put(make_job("l"))
    assert outlook.ends_at(make_job(slo_s=9.0), "heavy") == pytest.approx((3 * 30 + 9 * 1) / 3 + 1)
    assert admit(make_job(), outlook, CascadeRouting(remote_profile()), 100).tier == "light"


@virtual
async def test_all_slots_work_at_one_time_beside_the_light_worker() -> None:
    workers = FakeWorkers()
    dispatcher = make_dispatcher(workers, direct=0.5)
    jobs = [make_job(f"{i}", difficulty=19 if i else 1) for i in range(4)]
    dispatcher.submit(*jobs)
    answers = [await job.future for job in jobs]
    assert [answer.path for answer in answers] == ["light", "heavy", "heavy", "heavy"]
    assert {call[1] for call in workers.calls} == {"w0", "w1", "w2", "w3"}
    assert max(answer.latency_s for answer in answers) == pytest.approx(1.0)


@virtual
async def test_an_endpoint_that_fails_costs_nobody_his_image() -> None:
    workers = FakeWorkers(confidence=0.0)
    dispatcher = make_dispatcher(workers, direct=0.5, deferral=1.0)
    for worker in list(dispatcher.workers)[1:]:
        worker.failed(0.0)
    jobs = [make_job(f"{i}", difficulty=19 * (i % 2)) for i in range(6)]
    workers.faults = [WorkerGone("cut off") if call else None for call in (0, 1, 1, 1)]
    dispatcher.submit(*jobs)
    answers = [await job.future for job in jobs]
    assert {answer.path for answer in answers} <= {"light", "kept-light", "deferred", "heavy"}
    assert all(answer.latency_s <= SLO_S for answer in answers)


@pytest.mark.parametrize(("accepts", "able"), [(["seed"], None), (["negative_prompt"], ["heavy"])])
def test_an_endpoint_that_is_told_of_no_negative_prompts_takes_none(accepts: list[str], able: list[str] | None) -> None:
    document = profile_document()
    fields = {"url": "http://engine/v1", "slots": 3, "accepts": accepts}
    document["spec"]["tiers"][1] |= {"remote": fields, "tunable": False, "negativePrompts": None}
    tiers = CascadeProfile.read(document).spec.tiers
    request = GenerateRequest(prompt="p", negative_prompt="blur")
    if able is None:
        with pytest.raises(ServeError, match="negative_prompt: is not taken by light, heavy"):
            able_tiers(request, tiers, forced=False)
    else:
        assert [tier.name for tier in able_tiers(request, tiers, forced=False)] == able


@virtual
async def test_a_client_that_names_the_tier_waits_for_its_endpoint_alone() -> None:
    outlook = make_outlook(remote_profile(), make_plan(), (("light",),))
    with pytest.raises(ServeError, match="no worker has the tier 'heavy'"):
        admit(make_job(tier="heavy"), outlook, CascadeRouting(remote_profile()), 100)

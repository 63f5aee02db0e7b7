"""A request goes only to tiers that can make it, whatever plan, difficulty and deadlines say; times are exact."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from documents import profile_document
from fake_workers import SLO_S, FakeWorkers, make_dispatcher, make_job, make_plan
from hadis.api.resources import CascadeProfile
from hadis.planning.profile import Profile
from hadis.protocol.run_state import WorkerAddress
from hadis.protocol.worker import JobResult
from hadis_router.dispatch.answer import ServeError
from hadis_router.dispatch.job import Job
from hadis_router.dispatch.transport import OnProgress, Result
from hadis_router.http.capabilities import able_tiers
from hadis_router.http.images import GenerateRequest
from virtual import virtual

HEAVY_ALONE = frozenset({"heavy"})


def able_of(profile: Profile, model: str = "auto", **fields: Any) -> list[str]:
    tiers = list(profile.tiers.values()) if model == "auto" else [profile.tiers[model]]
    request = GenerateRequest(prompt="a", model=model, **fields)
    return [tier.name for tier in able_tiers(request, tiers, model != "auto")]


def with_tiers(**changes: Sequence[Any]) -> Profile:
    """Return a profile whose tiers have these values of a field, from light to heavy."""
    tiers = profile_document()["spec"]["tiers"]
    for field, values in changes.items():
        for tier, value in zip(tiers, values, strict=True):
            tier[field] = value
    return Profile(CascadeProfile.read(profile_document(tiers=tiers)))


def test_tiers_are_chosen_by_what_they_take_and_make(profile: Profile) -> None:
    assert able_of(profile) == able_of(profile, negative_prompt="") == ["light", "heavy"]
    assert able_of(profile, negative_prompt="blue") == ["heavy"]
    unknown = with_tiers(negativePrompts=[None, None])
    assert able_of(unknown, negative_prompt="blue") == ["light", "heavy"], "their workers will say"
    sizes = with_tiers(size=["32x32", "64x64"])
    assert able_of(sizes, size="64x64") == ["heavy"]
    assert able_of(sizes, size="auto") == ["light", "heavy"]
    several = with_tiers(size=["32x32", "32x32"], sizes=[["32x32"], ["32x32", "64x64"]])
    assert able_of(several, size="64x64") == ["heavy"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"size": "48x48"}, "size: no tier makes '48x48'; write 32x32, 64x64 or auto"),
        ({"size": "32x32", "negative_prompt": "b"}, "negative_prompt: is not taken by light; leave it out"),
        ({"model": "light", "size": "64x64"}, "size: light does not make '64x64'; write 32x32 or auto"),
    ],
)
def test_what_no_tier_can_make_is_refused_with_what_to_write(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ServeError) as refused:
        able_of(with_tiers(size=["32x32", "64x64"]), **fields)
    assert (refused.value.status, refused.value.message) == (400, message)


@virtual
async def test_an_easy_prompt_goes_to_the_tier_that_can_make_it(profile: Profile) -> None:
    dispatcher = make_dispatcher(profile, FakeWorkers(), make_plan())
    job = make_job(able=HEAVY_ALONE)
    dispatcher.submit(job)
    assert (await job.future).path == "heavy"
    assert (await job.future).latency_s == pytest.approx(1.0)


@virtual
async def test_also_where_the_plan_has_no_such_tier(profile: Profile) -> None:
    dispatcher = make_dispatcher(profile, FakeWorkers(), replace(make_plan(), heavy="light"))
    job = make_job(able=HEAVY_ALONE)
    dispatcher.submit(job)
    assert (await job.future).image == b"heavy"
    dispatcher.set_workers([WorkerAddress("w0", ("light",))])
    with pytest.raises(ServeError, match="no worker has the tier 'heavy'"):
        dispatcher.submit(make_job("b", able=HEAVY_ALONE))


@virtual
async def test_it_is_refused_rather_than_made_by_one_that_cannot(profile: Profile) -> None:
    dispatcher = make_dispatcher(profile, FakeWorkers(), make_plan(direct=1.0))
    with pytest.raises(ServeError) as refused:
        dispatcher.submit(make_job(slo_s=0.5, able=HEAVY_ALONE))
    assert (refused.value.status, refused.value.code) == (429, "too_late")


@virtual
async def test_it_never_steps_down_to_one_that_cannot_nor_gets_a_stand_in(profile: Profile) -> None:
    workers, release = FakeWorkers(), asyncio.Event()

    async def stuck(
        url: str, tier: str, jobs: Sequence[Job], discriminate: bool, timeout_s: float, on_progress: OnProgress
    ) -> list[Result]:
        workers.calls.append((0.0, url, tier, [job.id for job in jobs]))
        await release.wait()
        return [(JobResult(id=job.id), tier.encode()) for job in jobs]

    workers.generate = stuck  # type: ignore[method-assign]  # a fake made slower
    dispatcher = make_dispatcher(profile, workers, make_plan(direct=1.0))
    jobs = [make_job(name, able=HEAVY_ALONE) for name in ("runs", "waits")]
    dispatcher.submit(*jobs)
    dispatcher.set_plan(replace(make_plan(), heavy="light"))
    await asyncio.sleep(SLO_S - 0.01)
    assert dispatcher.queued == {"light": 0, "heavy": 1}
    results = await asyncio.gather(*(job.future for job in jobs), return_exceptions=True)
    assert [getattr(result, "code", None) for result in results] == ["deadline_expired"] * 2
    release.set()
    await dispatcher.drain()
    assert [tier for _, _, tier, _ in workers.calls] == ["heavy"]


@virtual
async def test_a_doubtful_image_is_the_answer_where_heavy_cannot_make_it(profile: Profile) -> None:
    dispatcher = make_dispatcher(profile, FakeWorkers(0.1), make_plan(deferral=1.0))
    job = make_job(able=frozenset({"light"}))
    dispatcher.submit(job)
    answer = await job.future
    assert (answer.path, answer.image) == ("light", b"light")


@virtual
@pytest.mark.parametrize("code", ["invalid", "failed", "out_of_memory", "content_filtered"])
async def test_what_the_heavy_tier_refuses_or_fails_is_answered_with_its_light_image(
    profile: Profile, code: Any
) -> None:
    workers = FakeWorkers(0.1)
    plain = workers.generate

    async def no_heavy(
        url: str, tier: str, jobs: Sequence[Job], discriminate: bool, timeout_s: float, on_progress: OnProgress
    ) -> list[Result]:
        if tier == "heavy":
            return [(JobResult(id=job.id, error="no", error_code=code), None) for job in jobs]
        return await plain(url, tier, jobs, discriminate, timeout_s, on_progress)

    workers.generate = no_heavy  # type: ignore[method-assign]  # a fake that fails
    dispatcher = make_dispatcher(profile, workers, make_plan(deferral=1.0))
    job = make_job()
    dispatcher.submit(job)
    answer = await job.future
    assert (answer.path, answer.image) == ("kept-light", b"light")

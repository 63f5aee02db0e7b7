"""Admission without HTTP: where a job goes by what runs and waits, and when a refused client should try again."""

from __future__ import annotations

import pytest
from fake_workers import make_job, make_outlook, make_plan
from hadis.planning.profile import Profile
from hadis_router.dispatch.admission import admit
from hadis_router.dispatch.answer import ServeError
from hadis_router.dispatch.cascade import CascadeRouting
from hadis_router.dispatch.job import Job
from hadis_router.dispatch.outlook import Outlook
from hadis_router.dispatch.stages import Admission, TierReason
from virtual import virtual

ALL_HEAVY = make_plan(direct=1.0)


def admitted(profile: Profile, job: Job, outlook: Outlook, limit: int = 100) -> Admission:
    return admit(job, outlook, CascadeRouting(profile), limit)


def refused(profile: Profile, job: Job, outlook: Outlook, limit: int = 100) -> tuple[int, str, int | None]:
    with pytest.raises(ServeError) as error:
        admit(job, outlook, CascadeRouting(profile), limit)
    return error.value.status, error.value.code, error.value.retry_after_s


@virtual
async def test_difficulty_preference_and_force_choose_the_tier(profile: Profile) -> None:
    outlook = make_outlook(profile, make_plan(direct=0.5))
    preferring = make_job(difficulty=19)
    preferring.preference = "light"
    jobs = make_job(difficulty=1), make_job(difficulty=19), preferring, make_job(tier="heavy", difficulty=1)
    admissions = [admitted(profile, job, outlook) for job in jobs]
    assert [admission.tier for admission in admissions] == ["light", "heavy", "light", "heavy"]
    assert {admission.tier_reason for admission in admissions} == {TierReason.PLANNED}
    assert {(admission.cascade, admission.plan_generation) for admission in admissions} == {(("light", "heavy"), 1)}


@virtual
async def test_without_plan_or_worker_a_client_comes_again_soon(profile: Profile) -> None:
    no_plan, no_worker = make_outlook(profile, None), make_outlook(profile, make_plan(), tiers=())
    only_light = make_outlook(profile, make_plan(), tiers=(("light",),))
    assert refused(profile, make_job(), no_plan) == (503, "no_workers", 2)
    assert refused(profile, make_job(), no_worker) == (503, "no_workers", 2)
    assert refused(profile, make_job(tier="heavy"), only_light) == (503, "no_workers", 2)


@virtual
async def test_a_full_queue_says_when_it_will_be_empty(profile: Profile) -> None:
    outlook = make_outlook(profile, make_plan())
    for i in range(3):
        outlook.queues["heavy"].put(make_job(str(i)))
    assert refused(profile, make_job(), outlook, limit=3) == (429, "queue_full", 3)
    assert admitted(profile, make_job(), outlook, limit=4).tier == "light"


@virtual
async def test_the_other_tier_of_the_plan_stands_in_while_no_worker_has_the_chosen_one(profile: Profile) -> None:
    outlook = make_outlook(profile, ALL_HEAVY, tiers=(("light",),))
    admission = admitted(profile, make_job(), outlook)
    assert (admission.tier, admission.tier_reason) == ("light", TierReason.PLANNED)


@virtual
async def test_where_heavy_would_be_late_light_is_taken(profile: Profile) -> None:
    admission = admitted(profile, make_job(slo_s=0.5), make_outlook(profile, ALL_HEAVY))
    assert (admission.tier, admission.cascade) == ("light", ("light", "heavy"))
    assert admission.tier_reason is TierReason.PLANNED


@virtual
async def test_a_tier_outside_of_the_plan_is_a_step_down(profile: Profile) -> None:
    only_heavy = make_plan(light="heavy")
    admission = admitted(profile, make_job(slo_s=0.5), make_outlook(profile, only_heavy))
    assert (admission.tier, admission.cascade) == ("light", ("light", "light"))
    assert admission.tier_reason is TierReason.STEPPED_DOWN


@virtual
async def test_nobody_is_refused_for_those_who_could_do_with_a_lighter_tier(profile: Profile) -> None:
    """The plan's light tier is full with what waits, and each of those could step down to one that has room."""
    outlook = make_outlook(profile, make_plan(light="heavy"))
    taken = 0
    while (admission := admitted(profile, make_job(), outlook)).tier == "heavy":
        outlook.queues["heavy"].put(make_job(f"heavy{taken}"))
        taken += 1
    assert taken > 1
    assert (admission.tier, admission.tier_reason) == ("light", TierReason.STEPPED_DOWN)
    for i in range(100):
        outlook.queues["heavy"].put(make_job(f"more{i}"))
    assert refused(profile, make_job(), outlook, limit=1000)[:2] == (429, "too_late"), "not all of them could"


@virtual
async def test_what_no_tier_can_answer_in_time_comes_again_when_it_could_be(profile: Profile) -> None:
    busy, idle = make_outlook(profile, make_plan(), busy_s=7.5), make_outlook(profile, make_plan())
    # 7.5 s of work before it and 0.1 s of its own, 4 s until its deadline.
    assert refused(profile, make_job(), busy) == (429, "too_late", 4)
    assert refused(profile, make_job(tier="heavy", slo_s=0.5), idle) == (429, "too_late", 1)


@virtual
async def test_one_slow_batch_is_no_queue_for_all(profile: Profile) -> None:
    """What waits goes to the worker that is free first: the hour that the other one is busy is not shared."""
    outlook = make_outlook(profile, make_plan(), tiers=(("light", "heavy"),) * 2)
    soon, late = outlook.workers
    soon.begin("heavy", 0.0, 0.1)
    late.begin("heavy", 0.0, 3600.0)
    assert admitted(profile, make_job(), outlook).tier == "light"
    soon.free_at = 3600.0
    assert refused(profile, make_job(), outlook)[1] == "too_late"
